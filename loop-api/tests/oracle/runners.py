"""run and Runner: what is done for a program, and what is left when it ends."""

import asyncio
import contextvars

from scenario import attempt, reports, scenario, trace


async def stubborn(name, passes):
    """Refuses to end at once when it is cancelled."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        for _ in range(passes):
            await asyncio.sleep(0)
        trace(name, "has cleaned up")


@scenario("RUN-01")
def run_gives_the_value():
    async def main():
        trace("main")
        await asyncio.sleep(0)
        return 7

    attempt("run", asyncio.run, main())


@scenario("RUN-01")
def run_raises_the_error_and_closes_the_loop():
    async def main():
        loops.append(asyncio.get_running_loop())
        raise ValueError("x")

    loops = []
    attempt("run", asyncio.run, main())
    trace("closed:", loops[0].is_closed())


@scenario("RUN-03")
def run_within_a_running_loop_is_refused(loop):
    async def main():
        trace("never")

    def nested():
        coroutine = main()
        attempt("run", asyncio.run, coroutine)
        coroutine.close()
        loop.stop()

    loop.call_soon(nested)
    loop.run_forever()


@scenario("RUN-04")
def what_is_left_is_cancelled_and_awaited():
    async def main():
        tasks.append(asyncio.create_task(stubborn("one", 3)))
        tasks.append(asyncio.create_task(stubborn("two", 1)))
        await asyncio.sleep(0)
        trace("main ends")

    tasks = []
    asyncio.run(main())
    trace("done:", tasks[0].done(), tasks[1].done())


@scenario("RUN-05")
def what_is_left_is_cancelled_also_when_main_fails():
    async def main():
        tasks.append(asyncio.create_task(stubborn("one", 2)))
        await asyncio.sleep(0)
        raise ValueError("x")

    tasks = []
    attempt("run", asyncio.run, main())


@scenario("RUN-06")
def a_left_over_task_that_fails_is_reported():
    async def fails():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise ValueError("x") from None

    async def main():
        reports(asyncio.get_running_loop())
        tasks.append(asyncio.create_task(fails()))
        await asyncio.sleep(0)
        return 1

    tasks = []
    attempt("run", asyncio.run, main())


@scenario("RUN-08")
def callbacks_that_are_left_are_dropped():
    async def main():
        asyncio.get_running_loop().call_later(60, trace, "never")
        asyncio.get_running_loop().call_later(3600, trace, "never")
        trace("main ends")

    asyncio.run(main())
    trace("after run")


@scenario("RUN-11")
def a_main_that_was_cancelled_leaves_run_as_that():
    async def main():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)
        trace("never")

    attempt("run", asyncio.run, main())


@scenario("RUN-09")
def debug_is_set_for_the_run():
    async def main():
        trace("debug:", asyncio.get_running_loop().get_debug())

    asyncio.run(main(), debug=True)
    asyncio.run(main(), debug=False)


@scenario("RUN-16")
def a_runner_keeps_its_loop_and_its_context():
    async def first():
        variable.set("set by the first")
        tasks.append(asyncio.create_task(background()))
        return asyncio.get_running_loop()

    async def second():
        trace("variable:", variable.get())
        await tasks[0]
        return asyncio.get_running_loop()

    async def background():
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        trace("background ends")

    variable = contextvars.ContextVar("variable")
    tasks = []
    with asyncio.Runner() as runner:
        one = runner.run(first())
        trace("between the runs")
        two = runner.run(second())
        trace("same loop:", one is two, runner.get_loop() is one)


@scenario("RUN-18")
def a_closed_runner_is_of_no_use():
    async def main():
        trace("never")

    runner = asyncio.Runner()
    runner.get_loop()
    attempt("close", runner.close)
    attempt("again", runner.close)
    coroutine = main()
    attempt("run", runner.run, coroutine)
    coroutine.close()
    attempt("get_loop", runner.get_loop)


@scenario("RUN-19")
def closing_an_unused_runner_does_nothing():
    async def main():
        trace("main")

    runner = asyncio.Runner()
    attempt("close", runner.close)
    attempt("run", runner.run, main())
    runner.close()


@scenario("RUN-17")
def a_runner_within_a_running_loop_is_refused():
    async def main():
        inner = asyncio.Runner()
        inner.get_loop()
        coroutine = never()
        attempt("run", inner.run, coroutine)
        coroutine.close()

    async def never():
        trace("never")

    asyncio.run(main())


@scenario("RUN-01", "LIFE-17")
def a_stop_ends_main_before_its_time():
    async def main():
        asyncio.get_running_loop().stop()
        await asyncio.get_running_loop().create_future()

    attempt("run", asyncio.run, main())


@scenario("RUN-04", "RUN-07")
def what_refuses_to_end_is_waited_for():
    async def refuses():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            trace("refuses")
            asyncio.get_running_loop().call_soon(futures[0].set_result, None)
            await futures[0]
            trace("ends of its own")

    async def main():
        futures.append(asyncio.get_running_loop().create_future())
        tasks.append(asyncio.create_task(refuses()))
        await asyncio.sleep(0)

    futures, tasks = [], []
    asyncio.run(main())
    trace("cancelled:", tasks[0].cancelled())

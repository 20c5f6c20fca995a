"""Which loop is running, and which is current."""

import asyncio
import threading

from scenario import attempt, one_pass, scenario, trace


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@scenario("POL-01")
def the_running_loop_is_the_one_that_runs(loop):
    async def work():
        trace("in a coroutine:", asyncio.get_running_loop() is loop)

    loop.call_soon(lambda: trace("in a callback:", asyncio.get_running_loop() is loop))
    loop.run_until_complete(work())


@scenario("POL-02", "POL-04")
def there_is_no_running_loop_at_rest(loop):
    attempt("before", asyncio.get_running_loop)
    one_pass(loop)
    attempt("after", asyncio.get_running_loop)


@scenario("POL-02")
async def a_worker_thread_has_no_running_loop():
    def work():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return "none"
        return "one"

    trace("in the worker:", await asyncio.get_running_loop().run_in_executor(None, work))


@scenario("POL-03")
def two_threads_run_a_loop_each(loop):
    def elsewhere():
        other = asyncio.new_event_loop()
        other.call_soon(lambda: seen.append(asyncio.get_running_loop() is other))
        one_pass(other)

    def meanwhile():
        in_a_thread(elsewhere)
        trace("the other thread saw its own:", seen[0])
        trace("this one sees its own:", asyncio.get_running_loop() is loop)

    seen = []
    loop.call_soon(meanwhile)
    one_pass(loop)


@scenario("POL-04", "LIFE-22")
def the_slot_is_cleared_whatever_ends_the_run(loop):
    def leave():
        raise SystemExit(1)

    loop.call_soon(leave)
    attempt("run", loop.run_forever)
    attempt("running loop", asyncio.get_running_loop)


@scenario("POL-05")
def the_running_loop_goes_before_the_current_one(loop):
    current = asyncio.new_event_loop()
    asyncio.set_event_loop(current)
    loop.call_soon(lambda: trace("inside:", asyncio.get_event_loop() is loop))
    one_pass(loop)
    trace("outside:", asyncio.get_event_loop() is current)


@scenario("POL-06")
def the_current_loop_may_be_closed(loop):
    asyncio.set_event_loop(loop)
    loop.close()
    trace("same:", asyncio.get_event_loop() is loop, "closed:", asyncio.get_event_loop().is_closed())


@scenario("POL-08", "POL-09")
def set_event_loop_none_turns_making_one_off():
    asyncio.set_event_loop(None)
    attempt("get_event_loop", asyncio.get_event_loop)


@scenario("POL-10")
def the_current_loop_is_each_threads_own(loop):
    def elsewhere():
        asyncio.set_event_loop(asyncio.new_event_loop())
        seen.append(asyncio.get_event_loop() is loop)

    seen = []
    asyncio.set_event_loop(loop)
    in_a_thread(elsewhere)
    trace("the other thread sees this one's:", seen[0])
    trace("this thread's is unchanged:", asyncio.get_event_loop() is loop)


@scenario("POL-10")
def swapping_the_current_loop_closes_neither(loop):
    other = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncio.set_event_loop(other)
    trace("current:", asyncio.get_event_loop() is other)
    trace("closed:", loop.is_closed(), other.is_closed())


@scenario("POL-12")
def a_new_loop_is_nobodys():
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    trace("same:", one is two)
    trace("running:", one.is_running(), "closed:", one.is_closed())
    one.call_soon(trace, "only in one")
    one_pass(two)
    trace("two ran")
    one_pass(one)


@scenario("POL-13", "RUN-04")
def run_leaves_no_current_loop():
    async def main():
        trace("main")

    asyncio.set_event_loop(asyncio.new_event_loop())
    asyncio.run(main())
    attempt("get_event_loop", asyncio.get_event_loop)


@scenario("POL-13", "RUN-10")
def a_loop_factory_leaves_the_current_loop():
    async def main():
        trace("running:", asyncio.get_running_loop() is made[0])

    def factory():
        made.append(asyncio.new_event_loop())
        return made[0]

    made = []
    current = asyncio.new_event_loop()
    asyncio.set_event_loop(current)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    trace("current is unchanged:", asyncio.get_event_loop() is current)
    trace("closed:", made[0].is_closed())

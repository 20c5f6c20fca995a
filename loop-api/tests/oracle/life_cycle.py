"""A loop's life: run, stop, run again, close."""

import asyncio

from scenario import attempt, one_pass, scenario, trace


@scenario("LIFE-01", "LIFE-24")
def a_loop_tells_what_it_does(loop):
    trace("new:", loop.is_running(), loop.is_closed())
    loop.call_soon(lambda: trace("inside:", loop.is_running(), loop.is_closed()))
    one_pass(loop)
    trace("at rest:", loop.is_running(), loop.is_closed())
    loop.close()
    trace("closed:", loop.is_running(), loop.is_closed())


@scenario("LIFE-03")
def stop_lets_the_pass_end(loop):
    loop.call_soon(trace, "before")
    loop.call_soon(loop.stop)
    loop.call_soon(trace, "behind")
    loop.run_forever()
    trace("stopped")


@scenario("LIFE-04")
def what_is_queued_while_stopping_runs_first_in_the_next_run(loop):
    def stop():
        loop.stop()
        loop.call_soon(trace, "queued while stopping")

    loop.call_soon(stop)
    loop.run_forever()
    trace("stopped")
    loop.call_soon(trace, "queued at rest")
    one_pass(loop)


@scenario("LIFE-05")
def stop_before_a_run_makes_it_one_pass(loop):
    def again():
        trace("ran")
        loop.call_soon(again)

    again()
    for _ in range(3):
        loop.stop()
        loop.run_forever()
        trace("stopped")


@scenario("LIFE-05", "TIME-02")
def the_one_pass_of_a_stopped_loop_runs_due_timers(loop):
    loop.call_later(0, trace, "due")
    loop.call_later(3600, trace, "not due")
    loop.call_soon(trace, "ready")
    one_pass(loop)
    trace("stopped")


@scenario("LIFE-06")
def the_request_to_stop_does_not_outlive_a_run(loop):
    loop.stop()
    loop.stop()
    loop.run_forever()
    trace("first run ended")
    loop.call_soon(lambda: loop.call_soon(lambda: (trace("second pass"), loop.stop())))
    loop.run_forever()
    trace("second run ended")


@scenario("LIFE-06", "LIFE-22")
def a_fatal_error_takes_the_request_to_stop_with_it(loop):
    def leave():
        loop.stop()
        raise SystemExit(3)

    loop.call_soon(leave)
    attempt("first run", loop.run_forever)
    loop.call_soon(lambda: loop.call_soon(lambda: (trace("second pass"), loop.stop())))
    attempt("second run", loop.run_forever)


@scenario("LIFE-07")
def stop_is_never_an_error(loop):
    loop.stop()
    trace("at rest")
    one_pass(loop)
    loop.close()
    loop.stop()
    trace("closed")


@scenario("LIFE-09")
def a_stopped_loop_goes_on_where_it_was(loop):
    loop.call_later(0.3, lambda: (trace("timer"), loop.stop()))

    async def work():
        trace("task begins")
        await asyncio.sleep(0)
        trace("task ends")

    task = loop.create_task(work())
    one_pass(loop)
    trace("first run ended")
    loop.run_forever()
    trace("second run ended", task.done())


@scenario("LIFE-10")
def a_closed_loop_does_not_run(loop):
    loop.close()
    attempt("run_forever", loop.run_forever)
    attempt("run_until_complete", loop.run_until_complete, loop.create_future())


@scenario("LIFE-11")
def a_running_loop_refuses_another_run(loop):
    def nested():
        attempt("run_until_complete", loop.run_until_complete, future)
        trace("running:", loop.is_running(), asyncio.get_running_loop() is loop)
        loop.call_soon(loop.stop)

    future = loop.create_future()
    loop.call_soon(nested)
    attempt("outer run", loop.run_forever)


@scenario("LIFE-12")
def another_loop_does_not_run_within_a_running_one(loop):
    def nested():
        attempt("run_until_complete", other.run_until_complete, future)
        trace("other running:", other.is_running())
        trace("running:", loop.is_running(), asyncio.get_running_loop() is loop)
        loop.call_soon(loop.stop)

    other = asyncio.new_event_loop()
    future = other.create_future()
    loop.call_soon(nested)
    attempt("outer run", loop.run_forever)


@scenario("LIFE-13")
def a_coroutine_gives_its_value(loop):
    async def work():
        await asyncio.sleep(0)
        return 42

    attempt("value", loop.run_until_complete, work())


@scenario("LIFE-13", "TASK-23")
def an_error_of_the_coroutine_goes_on_in_the_caller(loop):
    async def work():
        await asyncio.sleep(0)
        raise ValueError("x")

    attempt("error", loop.run_until_complete, work())
    trace("running:", loop.is_running())


@scenario("LIFE-14")
def a_future_gives_its_outcome(loop):
    value, error, cancelled = loop.create_future(), loop.create_future(), loop.create_future()
    loop.call_soon(value.set_result, 1)
    attempt("value", loop.run_until_complete, value)
    loop.call_soon(error.set_exception, ValueError("x"))
    attempt("error", loop.run_until_complete, error)
    loop.call_soon(cancelled.cancel)
    attempt("cancelled", loop.run_until_complete, cancelled)


@scenario("LIFE-15")
def a_future_that_is_done_takes_one_pass(loop):
    future = loop.create_future()
    future.set_result(7)
    loop.call_soon(lambda: (trace("first pass"), loop.call_soon(trace, "second pass")))
    attempt("value", loop.run_until_complete, future)


@scenario("LIFE-16")
def a_run_ends_one_pass_after_its_coroutine(loop):
    async def work():
        loop.call_soon(lambda: (trace("next pass"), loop.call_soon(trace, "the pass after")))
        return 1

    attempt("value", loop.run_until_complete, work())
    one_pass(loop)


@scenario("LIFE-16")
def what_is_queued_behind_a_completion_still_runs(loop):
    def complete():
        future.set_result(5)
        loop.call_soon(trace, "queued behind")

    future = loop.create_future()
    loop.call_soon(complete)
    attempt("value", loop.run_until_complete, future)


@scenario("LIFE-17")
def a_task_survives_a_run_that_was_stopped(loop):
    async def work():
        trace("begins")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        trace("ends")
        return 5

    task = loop.create_task(work())
    loop.call_soon(loop.stop)
    attempt("first run", loop.run_until_complete, task)
    trace("done:", task.done())
    attempt("second run", loop.run_until_complete, task)


@scenario("LIFE-18")
def one_pass_is_enough_for_a_coroutine_that_does_not_suspend(loop):
    async def work():
        return 1

    loop.stop()
    attempt("run", loop.run_until_complete, work())


@scenario("LIFE-18")
def one_pass_is_not_enough_for_a_coroutine_that_suspends(loop):
    async def work():
        trace("begins")
        await asyncio.sleep(0)
        trace("never")

    loop.stop()
    attempt("run", loop.run_until_complete, work())


@scenario("LIFE-19")
def a_future_that_was_given_up_does_not_stop_a_later_run(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    attempt("first run", loop.run_until_complete, future)
    loop.call_soon(future.set_result, 1)
    loop.call_later(0.02, lambda: (trace("timer"), loop.stop()))
    attempt("second run", loop.run_forever)


@scenario("LIFE-20")
def a_future_of_another_loop_is_refused(loop):
    other = asyncio.new_event_loop()
    loop.call_soon(trace, "not run")
    attempt("run", loop.run_until_complete, other.create_future())
    trace("running:", loop.is_running())


@scenario("LIFE-21")
def other_tasks_are_left_as_they_are(loop):
    async def background():
        for number in range(4):
            trace(f"background {number}")
            await asyncio.sleep(0)

    async def main():
        await asyncio.sleep(0)
        trace("main ends")

    task = loop.create_task(background())
    loop.run_until_complete(main())
    trace("between the runs", task.done())
    loop.run_until_complete(task)
    trace("after", task.done())


@scenario("LIFE-22")
def a_fatal_error_leaves_the_rest_of_the_pass_queued(loop):
    def leave():
        raise KeyboardInterrupt

    loop.call_soon(trace, "before")
    loop.call_soon(leave)
    loop.call_soon(trace, "behind")
    attempt("first run", loop.run_forever)
    trace("running:", loop.is_running())
    loop.call_soon(loop.stop)
    attempt("second run", loop.run_forever)


@scenario("LIFE-23", "TASK-23")
def a_fatal_error_of_the_coroutine_is_raised_once(loop):
    async def leave():
        raise SystemExit(4)

    attempt("first run", loop.run_until_complete, leave())
    loop.call_soon(lambda: loop.call_soon(lambda: (trace("second pass"), loop.stop())))
    attempt("second run", loop.run_forever)


@scenario("LIFE-25")
def a_running_loop_refuses_to_close(loop):
    loop.call_soon(lambda: attempt("close", loop.close))
    loop.call_soon(lambda: trace("closed:", loop.is_closed()))
    one_pass(loop)


@scenario("LIFE-26")
def a_closed_loop_may_be_closed_again(loop):
    attempt("first", loop.close)
    attempt("second", loop.close)


@scenario("LIFE-27")
def close_runs_nothing(loop):
    async def work():
        trace("never")

    loop.call_soon(trace, "never")
    loop.call_later(0, trace, "never")
    coroutine = work()
    task, future = loop.create_task(coroutine), loop.create_future()
    loop.close()
    trace("done:", task.done(), future.done())


@scenario("LIFE-30")
def a_closed_loop_takes_nothing(loop):
    loop.close()
    attempt("call_soon", loop.call_soon, trace, "never")
    attempt("call_soon_threadsafe", loop.call_soon_threadsafe, trace, "never")
    attempt("call_later", loop.call_later, 0, trace, "never")
    attempt("call_at", loop.call_at, 0, trace, "never")
    attempt("run_in_executor", loop.run_in_executor, None, int)

    async def work():
        trace("never")

    coroutine = work()
    attempt("create_task", loop.create_task, coroutine)
    coroutine.close()


@scenario("LIFE-31")
def what_still_works_on_a_closed_loop(loop):
    loop.close()
    before = loop.time()
    trace("time:", loop.time() >= before)
    loop.set_debug(True)
    trace("debug:", loop.get_debug())
    future = loop.create_future()
    trace("future done:", future.done())
    loop.call_exception_handler({"message": "still heard"})


@scenario("LIFE-32")
def a_future_of_a_closed_loop_can_be_completed(loop):
    alone, watched = loop.create_future(), loop.create_future()
    watched.add_done_callback(lambda future: trace("never"))
    loop.close()
    attempt("without callbacks", alone.set_result, 1)
    attempt("with callbacks", watched.set_result, 2)
    attempt("alone", alone.result)
    attempt("watched", watched.result)

"""What happens to an error that nobody awaits."""

import asyncio

from scenario import attempt, describe, one_pass, reports, scenario, trace


def fail():
    raise ValueError("x")


@scenario("EXC-05", "EXC-06")
def a_callback_that_ends_by_a_cancellation_is_reported_too(loop):
    def cancelled():
        raise asyncio.CancelledError

    loop.call_soon(cancelled)
    loop.call_soon(trace, "behind")
    one_pass(loop)


@scenario("EXC-05", "TIME-02")
def a_timer_that_fails_is_reported(loop):
    loop.call_later(0, fail)
    loop.call_later(0, trace, "behind")
    one_pass(loop)


@scenario("EXC-07")
def a_handler_that_fails_does_not_end_the_loop(loop):
    def handler(loop, context):
        trace("handler")
        raise ValueError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(trace, "behind")
    one_pass(loop)
    trace("running:", loop.is_running())


@scenario("EXC-08")
def a_fatal_error_of_a_handler_leaves_the_loop(loop):
    def handler(loop, context):
        raise SystemExit(6)

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(trace, "behind")
    attempt("run", loop.run_forever)
    loop.set_exception_handler(None)
    one_pass(loop)


@scenario("EXC-09")
def anybody_may_report_at_any_time(loop):
    loop.call_exception_handler({"message": "at rest"})
    loop.call_soon(lambda: loop.call_exception_handler({"message": "running", "exception": ValueError("x")}))
    one_pass(loop)
    loop.close()
    loop.call_exception_handler({"message": "closed"})


@scenario("EXC-03")
def a_handler_can_be_set_and_taken_away(loop):
    trace("set:", loop.get_exception_handler() is not None)
    loop.set_exception_handler(None)
    trace("set:", loop.get_exception_handler() is not None)
    loop.call_soon(fail)
    one_pass(loop)
    reports(loop)
    loop.call_soon(fail)
    one_pass(loop)


@scenario("EXC-03", "EXC-04")
def a_handler_is_given_the_loop_and_the_report(loop):
    def handler(which, context):
        trace("loop:", which is loop)
        trace("exception:", describe(context["exception"]))
        trace("handle:", "handle" in context, "task:", "task" in context)

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    one_pass(loop)


@scenario("EXC-11")
def a_handler_may_hand_on_to_the_default_one(loop):
    def handler(loop, context):
        trace("handler")
        loop.default_exception_handler(context)
        trace("handed on")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    one_pass(loop)


@scenario("EXC-05", "ITER-07")
def a_handler_may_schedule(loop):
    def handler(loop, context):
        trace("handler")
        loop.call_soon(trace, "scheduled by the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(trace, "behind")
    one_pass(loop)
    trace("one pass")
    one_pass(loop)


@scenario("EXC-05", "LIFE-03")
def a_handler_may_stop_the_loop(loop):
    loop.set_exception_handler(lambda loop, context: (trace("handler"), loop.stop()))
    loop.call_soon(fail)
    loop.call_soon(trace, "behind")
    loop.run_forever()
    trace("stopped")

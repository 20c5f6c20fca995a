"""Futures: outcomes, callbacks, and who is told in which order."""

import asyncio
import contextvars

from scenario import attempt, attempt_await, one_pass, outcome, scenario, trace


@scenario("FUT-01", "FUT-04", "FUT-05")
def a_pending_future_has_no_outcome(loop):
    future = loop.create_future()
    trace("done:", future.done(), future.cancelled())
    attempt("result", future.result)
    attempt("exception", future.exception)
    trace("loop:", future.get_loop() is loop)


@scenario("FUT-03")
def an_outcome_is_set_once(loop):
    future = loop.create_future()
    attempt("first", future.set_result, 1)
    attempt("second", future.set_result, 2)
    attempt("error", future.set_exception, ValueError("x"))
    outcome("kept", future)


@scenario("FUT-03", "FUT-06")
def a_cancelled_future_takes_no_result(loop):
    future = loop.create_future()
    trace("cancel:", future.cancel())
    attempt("set_result", future.set_result, 1)
    trace("cancelled:", future.cancelled())


@scenario("FUT-04", "TASK-28")
def a_result_can_be_read_any_number_of_times(loop):
    future = loop.create_future()
    future.set_result(5)
    attempt("first", future.result)
    attempt("second", future.result)
    attempt("exception", future.exception)


@scenario("FUT-04", "FUT-05")
def a_failed_future_gives_its_error(loop):
    future = loop.create_future()
    future.set_exception(ValueError("x"))
    attempt("result", future.result)
    attempt("again", future.result)
    trace("cancelled:", future.cancelled())


@scenario("FUT-06")
def a_done_future_cannot_be_cancelled(loop):
    future = loop.create_future()
    future.set_result(1)
    trace("cancel:", future.cancel())
    outcome("kept", future)
    pending = loop.create_future()
    trace("cancel:", pending.cancel())
    trace("again:", pending.cancel())
    attempt("exception", pending.exception)


@scenario("FUT-07")
def a_cancellation_may_carry_a_message(loop):
    async def reads():
        await attempt_await("awaited", future)

    future = loop.create_future()
    task = loop.create_task(reads())
    loop.call_soon(future.cancel, "no more need")
    loop.run_until_complete(task)


@scenario("FUT-02", "FUT-08")
def callbacks_are_called_later_and_in_order(loop):
    future = loop.create_future()
    for name in ("one", "two", "three"):
        future.add_done_callback(lambda future, name=name: trace(name, future.result()))
    future.set_result("value")
    trace("set")
    one_pass(loop)


@scenario("FUT-09")
def a_callback_added_to_a_done_future_is_called_later_too(loop):
    future = loop.create_future()
    future.set_result(1)
    loop.call_soon(trace, "queued before")
    future.add_done_callback(lambda future: trace("called"))
    trace("added")
    one_pass(loop)


@scenario("FUT-10")
def a_callback_taken_off_is_not_called(loop):
    def callback(future):
        trace("never")

    future = loop.create_future()
    future.add_done_callback(callback)
    future.add_done_callback(lambda future: trace("kept"))
    trace("removed:", future.remove_done_callback(callback) > 0)
    trace("again:", future.remove_done_callback(callback) > 0)
    future.set_result(1)
    one_pass(loop)


@scenario("FUT-10")
def a_queued_callback_cannot_be_taken_back(loop):
    def callback(future):
        trace("called")

    future = loop.create_future()
    future.add_done_callback(callback)
    future.set_result(1)
    trace("removed:", future.remove_done_callback(callback) > 0)
    one_pass(loop)


@scenario("FUT-11")
def a_callback_that_fails_does_not_keep_the_others_from_being_called(loop):
    def fail(future):
        raise ValueError("x")

    future = loop.create_future()
    future.add_done_callback(fail)
    future.add_done_callback(lambda future: trace("called"))
    future.set_result(1)
    one_pass(loop)


@scenario("FUT-08")
def a_callback_runs_in_the_context_it_was_added_in(loop):
    variable = contextvars.ContextVar("variable")
    future = loop.create_future()
    variable.set("at adding")
    future.add_done_callback(lambda future: trace("callback:", variable.get()))
    variable.set("at completion")
    future.set_result(1)
    one_pass(loop)
    trace("outside:", variable.get())


@scenario("FUT-12")
async def awaiting_a_done_future_does_not_suspend():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.set_result(1)
    loop.call_soon(trace, "next pass")
    trace("value", await future)
    await asyncio.sleep(0)
    trace("end")


@scenario("FUT-13")
async def waiters_wake_in_the_order_they_began_to_wait():
    async def reads(name):
        trace(name, await future)

    future = asyncio.get_running_loop().create_future()
    tasks = [asyncio.create_task(reads(name)) for name in ("one", "two", "three")]
    await asyncio.sleep(0)
    future.set_result("value")
    trace("set")
    for task in tasks:
        await task


@scenario("FUT-13", "FUT-08")
async def callbacks_and_waiters_share_one_order():
    async def reads(name):
        trace(name, await future)

    future = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(reads("first waiter"))
    await asyncio.sleep(0)
    future.add_done_callback(lambda future: trace("callback"))
    second = asyncio.create_task(reads("second waiter"))
    await asyncio.sleep(0)
    future.set_result("value")
    await first
    await second


@scenario("FUT-14")
def an_error_nobody_reads_is_reported(loop):
    future = loop.create_future()
    future.set_exception(ValueError("x"))
    trace("let go")
    del future


@scenario("FUT-15")
def an_error_that_was_read_is_not_reported(loop):
    read, cancelled, value = loop.create_future(), loop.create_future(), loop.create_future()
    read.set_exception(ValueError("read"))
    attempt("exception", lambda: read.exception() and None)
    cancelled.set_exception(ValueError("cancelled afterwards"))
    trace("cancel:", cancelled.cancel())
    value.set_result(1)
    del read, cancelled, value
    trace("let go")


@scenario("TASK-06")
async def a_future_of_another_loop_cannot_be_awaited():
    other = asyncio.new_event_loop()
    await attempt_await("await", other.create_future())
    trace("goes on")



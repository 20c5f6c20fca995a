"""Cancelling tasks: who is told, when, and what they may do about it."""

import asyncio

from scenario import attempt, attempt_await, one_pass, outcome, scenario, trace


async def forever():
    """Waits for nothing."""
    await asyncio.get_running_loop().create_future()


@scenario("TASK-08")
async def a_done_task_cannot_be_cancelled():
    task = asyncio.create_task(asyncio.sleep(0, 1))
    await task
    trace("cancel:", task.cancel(), "cancelling:", task.cancelling())
    trace("cancelled:", task.cancelled())


@scenario("TASK-09")
async def a_request_is_counted_at_once_and_seen_later():
    task = asyncio.create_task(forever())
    await asyncio.sleep(0)
    trace("cancel:", task.cancel(), "cancelling:", task.cancelling(), "cancelled:", task.cancelled())
    await attempt_await("await", task)
    trace("cancelled:", task.cancelled())


@scenario("TASK-10")
async def cancelling_a_task_cancels_the_future_it_awaits():
    async def work():
        await future

    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    trace("requested:", task.cancelling())
    await attempt_await("await", task)
    trace("future cancelled:", future.cancelled())


@scenario("TASK-10", "TASK-21")
async def a_request_goes_down_the_chain_and_comes_back_up():
    async def inner():
        try:
            await forever()
        except asyncio.CancelledError:
            trace("inner cancelled")
            raise

    async def middle():
        try:
            await task_inner
        except asyncio.CancelledError:
            trace("middle cancelled")
            raise

    task_inner = asyncio.create_task(inner())
    task_middle = asyncio.create_task(middle())
    await asyncio.sleep(0)
    task_middle.cancel()
    await attempt_await("await", task_middle)
    trace("inner:", task_inner.cancelled(), "middle:", task_middle.cancelled())


@scenario("TASK-11")
async def a_task_cancelled_before_it_begins_never_runs():
    async def work():
        trace("never")

    task = asyncio.create_task(work())
    task.cancel()
    await attempt_await("await", task)


@scenario("TASK-12")
async def a_request_wins_over_a_result_that_is_there():
    async def work():
        try:
            trace("never", await future)
        except asyncio.CancelledError:
            trace("cancelled")
        return "ends"

    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    future.set_result("lost")
    task.cancel()
    await attempt_await("await", task)
    outcome("the future keeps it", future)


@scenario("TASK-13")
async def a_task_that_cancels_itself_is_hit_at_its_next_suspension():
    async def work():
        asyncio.current_task().cancel()
        trace("goes on")
        try:
            await forever()
        except asyncio.CancelledError:
            trace("cancelled")

    await asyncio.create_task(work())


@scenario("TASK-13", "FUT-12")
async def an_await_that_does_not_suspend_delivers_nothing():
    async def work():
        asyncio.current_task().cancel()
        trace("done future:", await done)
        try:
            await asyncio.sleep(0)
            trace("never")
        except asyncio.CancelledError:
            trace("cancelled at the suspension")

    done = asyncio.get_running_loop().create_future()
    done.set_result(1)
    await asyncio.create_task(work())


@scenario("TASK-14")
async def a_task_that_cancels_itself_and_returns_is_cancelled():
    async def work():
        asyncio.current_task().cancel()
        return 5

    task = asyncio.create_task(work())
    await attempt_await("await", task)
    trace("cancelled:", task.cancelled())


@scenario("TASK-15")
async def a_task_may_refuse_to_end():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError:
            trace("refused")
        return 5

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("await", task)
    trace("cancelled:", task.cancelled(), "cancelling:", task.cancelling())


@scenario("TASK-16")
async def cleaning_up_may_await():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError:
            trace("cleaning up")
            await asyncio.sleep(0)
            trace("half way")
            await asyncio.sleep(0)
            trace("clean")
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("await", task)


@scenario("TASK-18")
async def a_second_request_interrupts_the_clean_up():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError:
            trace("cleaning up")
            try:
                await forever()
            except asyncio.CancelledError:
                trace("interrupted")
                raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    trace("done:", task.done())
    task.cancel()
    trace("cancelling:", task.cancelling())
    await attempt_await("await", task)


@scenario("TASK-18")
async def two_requests_at_once_are_delivered_once():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError:
            trace("cancelled")
        await asyncio.sleep(0)
        trace("goes on undisturbed")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    trace("cancelling:", task.cancelling())
    await attempt_await("await", task)


@scenario("TASK-19")
async def uncancel_counts_down_and_not_below_zero():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError:
            pass
        trace("uncancel:", asyncio.current_task().uncancel())
        trace("uncancel:", asyncio.current_task().uncancel())
        trace("uncancel:", asyncio.current_task().uncancel())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    task.cancel()
    await task


@scenario("TASK-19", since=(3, 13))
async def uncancel_takes_back_what_was_not_delivered():
    async def work():
        asyncio.current_task().cancel()
        trace("uncancel:", asyncio.current_task().uncancel())
        await asyncio.sleep(0)
        trace("undisturbed")

    await asyncio.create_task(work())


@scenario("TASK-20")
async def the_cancellation_of_an_awaited_task_is_an_error_of_the_await():
    async def waits():
        try:
            await inner
        except asyncio.CancelledError:
            trace("seen", asyncio.current_task().cancelling())
        return "goes on"

    inner = asyncio.create_task(forever())
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    inner.cancel()
    await attempt_await("await", task)


@scenario("TASK-21")
async def a_canceller_waits_for_the_inner_one_to_clean_up():
    async def inner():
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            trace("inner is clean")
            raise

    async def outer():
        await task_inner

    task_inner = asyncio.create_task(inner())
    task_outer = asyncio.create_task(outer())
    await asyncio.sleep(0)
    task_outer.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    trace("outer done:", task_outer.done())
    await attempt_await("await", task_outer)


@scenario("TASK-21")
async def an_inner_one_that_refuses_gives_its_value_to_the_outer():
    async def inner():
        try:
            await forever()
        except asyncio.CancelledError:
            trace("inner refuses")
        return "value"

    async def outer():
        return await task_inner

    task_inner = asyncio.create_task(inner())
    task_outer = asyncio.create_task(outer())
    await asyncio.sleep(0)
    task_outer.cancel()
    await attempt_await("await", task_outer)
    trace("outer cancelled:", task_outer.cancelled(), task_outer.cancelling())


@scenario("FUT-07", "TASK-09")
async def a_request_may_carry_a_message():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError as error:
            trace("told:", error.args[0])
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel("no more need")
    await attempt_await("await", task)


@scenario("CH-02", "TASK-12")
async def a_sleeper_is_woken_by_its_cancellation():
    async def work():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            trace("woken")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("await", task)


@scenario("TASK-15", "TASK-25")
async def an_error_in_the_clean_up_is_the_tasks_outcome():
    async def work():
        try:
            await forever()
        except asyncio.CancelledError:
            raise ValueError("clean-up failed") from None

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("await", task)
    trace("cancelled:", task.cancelled())


@scenario("TASK-10", "FUT-08")
async def done_callbacks_see_a_cancelled_task():
    task = asyncio.create_task(forever())
    task.add_done_callback(lambda task: trace("callback:", task.cancelled()))
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("await", task)


@scenario("LIFE-14", "TASK-11")
def a_run_of_a_cancelled_task_gives_its_cancellation(loop):
    task = loop.create_task(forever())
    loop.call_soon(task.cancel)
    attempt("run", loop.run_until_complete, task)
    trace("cancelled:", task.cancelled())

"""timeout, timeout_at and wait_for."""

import asyncio

from scenario import attempt_await, scenario, trace


async def forever():
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        trace("cleans up")
        await asyncio.sleep(0)
        trace("is clean")
        raise


async def soon(value):
    await asyncio.sleep(0)
    return value


async def within(delay, awaitable):
    async with asyncio.timeout(delay):
        return await awaitable


@scenario("CH-26")
async def a_timeout_that_passes_cleans_up_first():
    await attempt_await("timeout", within(0.001, forever()))
    trace("cancelling:", asyncio.current_task().cancelling())


@scenario("CH-26", "CH-37")
async def a_timeout_that_does_not_pass_is_not_noticed():
    await attempt_await("timeout", within(3600, soon(1)))


@scenario("CH-27")
async def no_timeout_at_all():
    await attempt_await("timeout", within(None, soon(1)))


@scenario("CH-28")
async def a_deadline_that_has_passed_hits_at_the_first_suspension():
    async with asyncio.timeout(0) as scope:
        trace("goes on")
    trace("expired:", scope.expired())
    await attempt_await("timeout", within(-1, forever()))


@scenario("CH-29", "CH-30")
async def a_deadline_can_be_moved():
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(3600) as scope:
            trace("expired:", scope.expired())
            scope.reschedule(loop.time() - 1)
            await forever()
    except TimeoutError:
        trace("timed out; expired:", scope.expired())
    try:
        scope.reschedule(None)
    except RuntimeError:
        trace("refused")


@scenario("CH-32")
async def a_cancellation_from_elsewhere_stays_one():
    async def work():
        await within(3600, forever())

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("task", task)
    trace("cancelled:", task.cancelled(), "cancelling:", task.cancelling())


@scenario("CH-33")
async def a_block_that_refuses_to_be_timed_out_ends_normally():
    async with asyncio.timeout(0.001) as scope:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            trace("refuses")
    trace("expired:", scope.expired(), "cancelling:", asyncio.current_task().cancelling())
    await asyncio.sleep(0)
    trace("undisturbed")


@scenario("CH-34")
async def the_outer_timeout_is_not_the_inner_ones():
    try:
        async with asyncio.timeout(0.001) as outer:
            async with asyncio.timeout(3600) as inner:
                await forever()
    except TimeoutError:
        trace("outer:", outer.expired(), "inner:", inner.expired())


@scenario("CH-34")
async def the_inner_timeout_leaves_the_outer_one():
    async with asyncio.timeout(3600) as outer:
        await attempt_await("inner", within(0.001, forever()))
        trace("goes on")
    trace("outer:", outer.expired())


@scenario("CH-35")
async def another_error_goes_before_the_timeout():
    async def fails():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise ValueError("x") from None

    await attempt_await("timeout", within(0.001, fails()))


@scenario("CH-20")
async def wait_for_gives_the_value():
    await attempt_await("value", asyncio.wait_for(soon(1), 3600))
    await attempt_await("no limit", asyncio.wait_for(soon(2), None))


@scenario("CH-20", since=(3, 12))
async def wait_for_runs_in_the_callers_task():
    async def work():
        trace("same task:", asyncio.current_task() is caller)

    caller = asyncio.current_task()
    await asyncio.wait_for(work(), 3600)


@scenario("CH-21")
async def wait_for_waits_for_the_clean_up():
    await attempt_await("wait_for", asyncio.wait_for(forever(), 0.001))


@scenario("CH-22")
async def wait_for_gives_the_value_of_one_that_refuses():
    async def refuses():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "refused"

    await attempt_await("wait_for", asyncio.wait_for(refuses(), 0.001))


@scenario("CH-23")
async def wait_for_no_time_at_all():
    done, pending = (asyncio.get_running_loop().create_future() for _ in range(2))
    done.set_result("ready")
    await attempt_await("done", asyncio.wait_for(done, 0))
    await attempt_await("pending", asyncio.wait_for(pending, 0))
    trace("cancelled:", pending.cancelled())


@scenario("CH-24")
async def cancelling_the_waiter_cancels_what_it_waits_for():
    async def work():
        await asyncio.wait_for(forever(), 3600)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("task", task)

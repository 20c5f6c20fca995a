"""gather, wait, as_completed and shield."""

import asyncio

from scenario import attempt_await, outcome, scenario, trace


async def after(passes, value):
    """Gives a value after some passes."""
    for _ in range(passes):
        await asyncio.sleep(0)
    trace(value, "ends")
    return value


async def fails(passes, text):
    for _ in range(passes):
        await asyncio.sleep(0)
    raise ValueError(text)


async def forever(name):
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        trace(name, "is cancelled")
        raise


@scenario("CH-04")
async def gathering_nothing_gives_nothing():
    await attempt_await("gather", asyncio.gather())


@scenario("CH-05")
async def results_come_in_the_order_of_the_arguments():
    results = await asyncio.gather(after(3, "slow"), after(1, "quick"), after(2, "middling"))
    trace(" ".join(results))


@scenario("CH-06")
async def the_first_failure_ends_the_gather_and_not_the_others():
    task = asyncio.create_task(after(5, "other"))
    await attempt_await("gather", asyncio.gather(task, fails(1, "x")))
    outcome("other", task)
    await task


@scenario("CH-07")
async def failures_can_be_gathered_too():
    cancelled = asyncio.create_task(forever("third"))
    asyncio.get_running_loop().call_soon(cancelled.cancel)
    for result in await asyncio.gather(after(1, "first"), fails(1, "x"), cancelled, return_exceptions=True):
        trace(type(result).__name__, result)


@scenario("CH-08")
async def a_cancelled_child_fails_the_gather():
    child = asyncio.create_task(forever("child"))
    asyncio.get_running_loop().call_soon(child.cancel)
    other = asyncio.create_task(after(5, "other"))
    await attempt_await("gather", asyncio.gather(child, other))
    outcome("other", other)
    trace("cancelling:", asyncio.current_task().cancelling())
    await other


@scenario("CH-09", "TASK-10")
async def cancelling_a_gather_cancels_its_children_and_waits_for_them():
    async def work():
        await asyncio.gather(forever("one"), forever("two"))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("task", task)


@scenario("CH-12")
async def later_failures_of_a_failed_gather_are_not_reported():
    await attempt_await("gather", asyncio.gather(fails(1, "first"), fails(3, "second")))
    for _ in range(5):
        await asyncio.sleep(0)
    trace("end")


@scenario("CH-14")
async def wait_tells_who_is_done():
    tasks = [asyncio.create_task(after(passes, f"task {passes}")) for passes in (1, 2)]
    done, pending = await asyncio.wait(tasks)
    trace("done:", len(done), "pending:", len(pending))


@scenario("CH-15")
async def waiting_for_nothing_is_refused():
    try:
        await asyncio.wait([])
    except ValueError:
        trace("ValueError")


@scenario("CH-16")
async def a_wait_that_times_out_cancels_nothing():
    task = asyncio.create_task(forever("task"))
    done, pending = await asyncio.wait([task], timeout=0.001)
    trace("done:", len(done), "pending:", len(pending), "cancelled:", task.cancelled())
    task.cancel()
    await attempt_await("task", task)


@scenario("CH-17")
async def wait_for_the_first():
    tasks = [asyncio.create_task(after(1, "quick")), asyncio.create_task(after(6, "slow"))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    trace("done:", len(done), "pending:", len(pending))
    await tasks[1]


@scenario("CH-17")
async def wait_for_the_first_failure():
    tasks = [asyncio.create_task(after(1, "quick")), asyncio.create_task(fails(3, "x")), asyncio.create_task(after(8, "slow"))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    trace("done:", len(done), "pending:", len(pending))
    outcome("failed", tasks[1])
    await tasks[2]


@scenario("CH-18")
async def a_cancelled_wait_leaves_its_tasks():
    async def work():
        await asyncio.wait([task])

    task = asyncio.create_task(after(6, "task"))
    waits = asyncio.create_task(work())
    await asyncio.sleep(0)
    waits.cancel()
    await attempt_await("wait", waits)
    outcome("task", task)
    await task


@scenario("CH-19")
async def wait_suspends_even_when_all_are_done():
    task = asyncio.create_task(after(0, "task"))
    await task
    asyncio.get_running_loop().call_soon(trace, "next pass")
    await asyncio.wait([task])
    trace("waited")


@scenario("CH-38")
async def a_shield_gives_the_inner_outcome():
    await attempt_await("value", asyncio.shield(after(1, "inner")))
    await attempt_await("error", asyncio.shield(fails(1, "x")))


@scenario("CH-39")
async def a_shield_keeps_the_cancellation_from_the_inner_one():
    async def work():
        await asyncio.shield(inner)

    inner = asyncio.create_task(after(5, "inner"))
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("task", task)
    outcome("inner", inner)
    await attempt_await("inner", inner)


@scenario("CH-43")
async def as_completed_gives_the_first_first():
    tasks = [asyncio.create_task(after(passes, f"task {passes}")) for passes in (6, 1, 3)]
    for next_one in asyncio.as_completed(tasks):
        trace("got", await next_one)

"""Task groups."""

import asyncio

from scenario import attempt_await, describe, scenario, trace


async def after(passes, value):
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


def failed(group):
    for error in group.exceptions:
        trace("in the group:", describe(error))


@scenario("CH-46")
async def a_group_waits_for_its_tasks():
    async with asyncio.TaskGroup() as group:
        one, two = group.create_task(after(2, "one")), group.create_task(after(1, "two"))
        trace("body ends")
    trace(one.result(), two.result())


@scenario("CH-46")
async def a_task_of_the_group_may_add_to_it():
    async def adds():
        group.create_task(after(2, "added"))
        trace("adder ends")

    async with asyncio.TaskGroup() as group:
        group.create_task(adds())
    trace("end")


@scenario("CH-47", "CH-51")
async def a_child_that_fails_cancels_the_rest():
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("other"))
            group.create_task(fails(1, "x"))
            await forever("body")
    except* ValueError as errors:
        failed(errors)
    trace("cancelling:", asyncio.current_task().cancelling())


@scenario("CH-47")
async def every_failure_is_in_the_group():
    async def fails_late():
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise ValueError("late") from None

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails_late())
            group.create_task(fails(1, "early"))
    except* ValueError as errors:
        failed(errors)


@scenario("CH-48")
async def a_body_that_fails_cancels_the_children():
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("child"))
            await asyncio.sleep(0)
            raise ValueError("body")
    except* ValueError as errors:
        failed(errors)


@scenario("CH-49")
async def a_cancelled_child_is_no_failure():
    async with asyncio.TaskGroup() as group:
        child = group.create_task(forever("child"))
        group.create_task(after(3, "other"))
        await asyncio.sleep(0)
        child.cancel()
    trace("end")


@scenario("CH-50")
async def cancelling_the_parent_cancels_the_children():
    async def work():
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("child"))

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await attempt_await("task", task)
    trace("cancelled:", task.cancelled())


@scenario("CH-52")
async def a_finished_group_takes_no_task():
    async with asyncio.TaskGroup() as group:
        pass
    coroutine = after(0, "never")
    try:
        group.create_task(coroutine)
    except RuntimeError:
        trace("refused")
    coroutine.close()

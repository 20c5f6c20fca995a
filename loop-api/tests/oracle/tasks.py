"""Tasks: their steps, their outcomes, and what can be asked of them."""

import asyncio
import contextvars

from scenario import attempt, attempt_await, one_pass, outcome, scenario, trace


@scenario("TASK-01")
async def tasks_begin_later_and_in_the_order_of_their_creation():
    async def work(name):
        trace(name, "begins")

    tasks = [asyncio.create_task(work(name)) for name in ("one", "two", "three")]
    trace("created")
    for task in tasks:
        await task


@scenario("TASK-01", "ITER-01")
async def a_task_takes_its_place_among_the_callbacks():
    async def work():
        trace("task")

    loop = asyncio.get_running_loop()
    loop.call_soon(trace, "before")
    task = asyncio.create_task(work())
    loop.call_soon(trace, "behind")
    await task
    trace("awaited")


@scenario("TASK-02")
async def a_task_that_awaits_another_goes_on_a_pass_later():
    async def inner():
        trace("inner ends")
        loop.call_soon(trace, "queued by the inner one")
        return 3

    loop = asyncio.get_running_loop()
    value = await asyncio.create_task(inner())
    trace("outer goes on", value)


@scenario("TASK-20", "TASK-28")
async def a_done_task_gives_its_outcome_every_time():
    async def work():
        return 5

    task = asyncio.create_task(work())
    await attempt_await("first", task)
    await attempt_await("second", task)
    outcome("asked", task)


@scenario("TASK-25")
async def an_error_of_a_task_nobody_awaits_is_reported():
    async def fail():
        raise ValueError("x")

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    trace("done:", task.done())
    del task
    trace("let go")


@scenario("TASK-25", "FUT-15")
async def an_error_that_is_awaited_is_not_reported():
    async def fail():
        raise ValueError("x")

    task = asyncio.create_task(fail())
    await attempt_await("await", task)
    del task
    trace("let go")


@scenario("TASK-03")
async def a_task_has_a_name():
    async def work():
        trace("I am", asyncio.current_task().get_name())

    task = asyncio.create_task(work(), name="worker")
    trace("named", task.get_name())
    task.set_name("renamed")
    await task


@scenario("TASK-04")
async def a_task_keeps_the_context_of_its_creation():
    async def work():
        trace("first step:", variable.get())
        variable.set("set by the task")
        await asyncio.sleep(0)
        trace("second step:", variable.get())

    variable = contextvars.ContextVar("variable")
    variable.set("at creation")
    task = asyncio.create_task(work())
    variable.set("afterwards")
    await task
    trace("outside:", variable.get())


@scenario("TASK-04")
async def a_task_runs_in_a_context_that_is_passed():
    async def work():
        variable.set("set by the task")

    variable = contextvars.ContextVar("variable")
    variable.set("outside")
    context = contextvars.copy_context()
    await asyncio.create_task(work(), context=context)
    trace("passed:", context[variable])
    trace("outside:", variable.get())


@scenario("TASK-07")
async def a_task_cannot_await_itself():
    async def work():
        await attempt_await("self", asyncio.current_task())

    task = asyncio.create_task(work())
    await task


@scenario("TASK-23")
def a_fatal_error_in_a_task_leaves_the_loop(loop):
    async def leave():
        raise SystemExit(2)

    task = loop.create_task(leave())
    attempt("run", loop.run_forever)
    trace("done:", task.done())
    attempt("task", task.result)


@scenario("CH-60")
async def the_current_task_is_the_one_whose_step_runs():
    async def work():
        trace("in the task:", asyncio.current_task() is task)

    task = asyncio.create_task(work())
    asyncio.get_running_loop().call_soon(lambda: trace("in a callback:", asyncio.current_task() is not None))
    await task
    trace("afterwards:", asyncio.current_task() is task)


@scenario("CH-60", "POL-02")
def there_is_no_current_task_without_a_loop():
    attempt("current_task", asyncio.current_task)
    attempt("all_tasks", asyncio.all_tasks)


@scenario("CH-61")
async def all_tasks_are_those_that_are_not_done():
    async def work(passes):
        for _ in range(passes):
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(passes)) for passes in range(3)]
    for _ in range(4):
        trace("tasks:", len(asyncio.all_tasks()))
        await asyncio.sleep(0)

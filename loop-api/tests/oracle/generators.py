"""Async generators: their steps, and their clean-up on every way out."""

import asyncio

from scenario import attempt_await, scenario, trace


async def numbers(name):
    """Gives numbers, and cleans up with awaits."""
    try:
        for number in range(100):
            yield number
    finally:
        trace(name, "cleans up")
        await asyncio.sleep(0)
        trace(name, "is clean")


async def passes(count):
    for _ in range(count):
        await asyncio.sleep(0)


async def step(label, generator):
    """Traces what a step gives; None at the end."""
    await attempt_await(label, anext(generator, None))


@scenario("AGEN-01")
async def values_come_in_order_and_the_end_stays():
    async def two():
        yield 1
        yield 2

    generator = two()
    for number in range(4):
        await step(f"step {number}", generator)


@scenario("AGEN-01")
async def a_generator_does_nothing_until_it_is_stepped():
    async def one():
        trace("begins")
        yield 1
        trace("ends")

    generator = one()
    trace("made")
    await step("first", generator)
    trace("between")
    await step("second", generator)


@scenario("AGEN-02")
async def aclose_runs_the_clean_up():
    generator = numbers("generator")
    await step("step", generator)
    await attempt_await("aclose", generator.aclose())
    await step("afterwards", generator)
    await attempt_await("again", generator.aclose())


@scenario("AGEN-01")
async def closing_one_that_never_began_runs_nothing():
    generator = numbers("never")
    await attempt_await("aclose", generator.aclose())
    await step("afterwards", generator)


@scenario("AGEN-02")
async def what_is_sent_arrives_at_the_yield():
    async def echo():
        sent = None
        while True:
            sent = yield f"got {sent}"

    generator = echo()
    await step("first", generator)
    await attempt_await("asend", generator.asend("one"))
    await attempt_await("asend", generator.asend("two"))
    await attempt_await("aclose", generator.aclose())


@scenario("AGEN-02")
async def what_is_thrown_arrives_at_the_yield():
    async def catches():
        try:
            yield "first"
        except ValueError as error:
            yield f"caught {error}"

    generator = catches()
    await step("first", generator)
    await attempt_await("athrow", generator.athrow(ValueError("x")))
    await step("end", generator)


@scenario("AGEN-02")
async def an_error_of_the_body_ends_it():
    async def fails():
        yield 1
        raise ValueError("x")

    generator = fails()
    await step("first", generator)
    await step("second", generator)
    await step("third", generator)


@scenario("AGEN-02", "TASK-16")
async def a_generator_may_wait_between_its_values():
    async def slow():
        for number in range(2):
            await asyncio.sleep(0)
            yield number

    async def other():
        for number in range(3):
            trace("other", number)
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for number in slow():
        trace("value", number)
    await task


@scenario("AGEN-06")
async def one_let_go_half_way_is_closed_by_the_loop():
    generator = numbers("generator")
    await step("step", generator)
    del generator
    trace("let go")
    await passes(5)
    trace("end")


@scenario("AGEN-02", "AGEN-04")
async def shutdown_closes_what_is_open_once():
    loop = asyncio.get_running_loop()
    one, two, never = numbers("each"), numbers("each"), numbers("never")
    await step("one", one)
    await step("two", two)
    await attempt_await("shutdown", loop.shutdown_asyncgens())
    await step("one", one)
    await attempt_await("again", loop.shutdown_asyncgens())
    await never.aclose()


@scenario("AGEN-04")
async def a_shutdown_with_nothing_open_does_not_suspend():
    loop = asyncio.get_running_loop()
    loop.call_soon(trace, "next pass")
    await attempt_await("shutdown", loop.shutdown_asyncgens())
    await asyncio.sleep(0)
    trace("end")


@scenario("AGEN-03")
async def a_clean_up_that_fails_is_reported_and_the_others_closed():
    async def fails():
        try:
            yield 1
        finally:
            raise ValueError("x")

    loop = asyncio.get_running_loop()
    bad, good = fails(), numbers("good")
    await step("bad", bad)
    await step("good", good)
    await attempt_await("shutdown", loop.shutdown_asyncgens())


@scenario("AGEN-05")
async def stepping_one_after_the_shutdown_works():
    await asyncio.get_running_loop().shutdown_asyncgens()
    generator = numbers("late")
    await step("step", generator)
    await attempt_await("aclose", generator.aclose())


@scenario("AGEN-02")
async def one_step_at_a_time():
    async def stuck():
        await future
        yield 1

    future = asyncio.get_running_loop().create_future()
    generator = stuck()
    task = asyncio.create_task(step("first", generator))
    await asyncio.sleep(0)
    await step("second", generator)
    future.set_result(None)
    await task


@scenario("AGEN-02")
async def a_value_after_the_close_is_an_error():
    async def stubborn():
        try:
            yield 1
        except GeneratorExit:
            yield 2

    generator = stubborn()
    await step("step", generator)
    await attempt_await("aclose", generator.aclose())


@scenario("AGEN-02", "TASK-10")
async def cancelling_a_step_reaches_the_body():
    async def stuck():
        try:
            yield 1
            await asyncio.get_running_loop().create_future()
        finally:
            trace("cleans up")
            await asyncio.sleep(0)
            trace("is clean")

    async def work():
        async for value in generator:
            trace("value", value)

    generator = stuck()
    task = asyncio.create_task(work())
    await passes(2)
    task.cancel()
    await attempt_await("task", task)
    await step("afterwards", generator)


@scenario("AGEN-02", "RUN-04")
def run_closes_what_main_left_open():
    async def main():
        generators.append(numbers("generator"))
        await step("step", generators[0])
        tasks.append(asyncio.create_task(background()))
        await asyncio.sleep(0)
        trace("main ends")

    async def background():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            trace("background is cancelled")

    generators, tasks = [], []
    asyncio.run(main())
    trace("after run")


@scenario("AGEN-02", "RUN-05")
def run_closes_what_a_failed_main_left_open():
    async def main():
        generators.append(numbers("generator"))
        await step("step", generators[0])
        raise ValueError("x")

    generators = []
    asyncio.run(main())

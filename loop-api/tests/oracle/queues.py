"""Queues."""

import asyncio

from scenario import attempt, attempt_await, scenario, trace


async def passes(count):
    for _ in range(count):
        await asyncio.sleep(0)


@scenario("QUE-01")
async def a_queue_knows_its_size():
    queue = asyncio.Queue(2)
    trace("size:", queue.qsize(), "empty:", queue.empty(), "full:", queue.full())
    await queue.put(1)
    await queue.put(2)
    trace("size:", queue.qsize(), "empty:", queue.empty(), "full:", queue.full())


@scenario("QUE-02")
async def full_and_empty_are_errors_at_once():
    queue = asyncio.Queue(1)
    attempt("get", queue.get_nowait)
    attempt("put", queue.put_nowait, 1)
    attempt("put", queue.put_nowait, 2)
    attempt("get", queue.get_nowait)


@scenario("QUE-02")
async def put_waits_while_it_is_full():
    async def puts():
        for number in range(3):
            await queue.put(number)
            trace("put", number)

    queue = asyncio.Queue(1)
    task = asyncio.create_task(puts())
    await passes(3)
    for _ in range(3):
        trace("got", await queue.get())
    await task


@scenario("QUE-03")
async def getters_are_served_in_their_order():
    async def gets(name):
        trace(name, "got", await queue.get())

    queue = asyncio.Queue()
    tasks = [asyncio.create_task(gets(name)) for name in ("one", "two")]
    await passes(1)
    queue.put_nowait("first")
    queue.put_nowait("second")
    for task in tasks:
        await task


@scenario("QUE-03")
async def a_woken_getter_may_find_the_item_taken():
    async def gets():
        trace("waiter got", await queue.get())

    queue = asyncio.Queue()
    task = asyncio.create_task(gets())
    await passes(1)
    queue.put_nowait("first")
    trace("taken", queue.get_nowait())
    await passes(3)
    trace("done:", task.done())
    queue.put_nowait("second")
    await task


@scenario("QUE-04")
async def a_cancelled_getter_hands_its_item_on():
    async def gets(name):
        trace(name, "got", await queue.get())

    queue = asyncio.Queue()
    one, two = asyncio.create_task(gets("one")), asyncio.create_task(gets("two"))
    await passes(1)
    queue.put_nowait("item")
    one.cancel()
    await attempt_await("one", one)
    await attempt_await("two", two)


@scenario("QUE-06")
async def three_orders():
    for queue in (asyncio.Queue(), asyncio.PriorityQueue(), asyncio.LifoQueue()):
        for number in (2, 3, 1):
            queue.put_nowait(number)
        trace([queue.get_nowait() for _ in range(3)])


@scenario("QUE-07")
async def join_waits_for_what_was_put():
    async def works():
        for _ in range(2):
            item = await queue.get()
            await passes(1)
            trace("did", item)
            queue.task_done()

    queue = asyncio.Queue()
    queue.put_nowait("one")
    queue.put_nowait("two")
    task = asyncio.create_task(works())
    await queue.join()
    trace("joined")
    await task
    try:
        queue.task_done()
    except ValueError:
        trace("ValueError")

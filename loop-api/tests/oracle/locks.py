"""Lock, Event, Condition, Semaphore and Barrier."""

import asyncio

from scenario import attempt_await, scenario, trace


async def passes(count):
    for _ in range(count):
        await asyncio.sleep(0)


@scenario("LOCK-01")
async def a_free_lock_is_taken_without_suspending():
    lock = asyncio.Lock()
    asyncio.get_running_loop().call_soon(trace, "next pass")
    await lock.acquire()
    trace("locked:", lock.locked())
    await passes(1)
    lock.release()
    trace("locked:", lock.locked())


@scenario("LOCK-01")
async def waiters_get_the_lock_in_their_order():
    async def work(name):
        async with lock:
            trace(name, "has it")
            await passes(1)

    lock = asyncio.Lock()
    tasks = [asyncio.create_task(work(name)) for name in ("one", "two", "three")]
    for task in tasks:
        await task


@scenario("LOCK-02")
async def a_newcomer_queues_behind_those_who_wait():
    async def work(name):
        async with lock:
            trace(name)

    lock = asyncio.Lock()
    await lock.acquire()
    waiter = asyncio.create_task(work("waiter"))
    await passes(1)
    lock.release()
    newcomer = asyncio.create_task(work("newcomer"))
    await work("this one")
    await waiter
    await newcomer


@scenario("LOCK-03")
async def a_free_lock_cannot_be_released():
    try:
        asyncio.Lock().release()
    except RuntimeError:
        trace("RuntimeError")


@scenario("LOCK-04")
async def a_released_lock_is_free_until_the_next_one_runs():
    async def work():
        async with lock:
            trace("waiter has it")

    lock = asyncio.Lock()
    await lock.acquire()
    task = asyncio.create_task(work())
    await passes(1)
    lock.release()
    trace("locked:", lock.locked())
    await task


@scenario("LOCK-05")
async def a_cancelled_waiter_hands_its_turn_on():
    async def work(name):
        async with lock:
            trace(name, "has it")

    lock = asyncio.Lock()
    await lock.acquire()
    one, two = asyncio.create_task(work("one")), asyncio.create_task(work("two"))
    await passes(1)
    lock.release()
    one.cancel()
    await attempt_await("one", one)
    await attempt_await("two", two)
    trace("locked:", lock.locked())


@scenario("LOCK-07")
async def an_event_wakes_all_that_wait():
    async def work(name):
        await event.wait()
        trace(name, "goes on; set:", event.is_set())

    event = asyncio.Event()
    tasks = [asyncio.create_task(work(name)) for name in ("one", "two")]
    await passes(1)
    event.set()
    event.clear()
    for task in tasks:
        await task


@scenario("LOCK-08")
async def a_condition_wants_its_lock():
    condition = asyncio.Condition()
    try:
        condition.notify()
    except RuntimeError:
        trace("notify: RuntimeError")
    try:
        await condition.wait()
    except RuntimeError:
        trace("wait: RuntimeError")


@scenario("LOCK-10")
async def notify_wakes_the_longest_waiting():
    async def work(name):
        async with condition:
            await condition.wait()
            trace(name, "goes on")

    condition = asyncio.Condition()
    tasks = [asyncio.create_task(work(name)) for name in ("one", "two", "three")]
    await passes(3)
    async with condition:
        condition.notify(2)
        trace("notified two")
    await passes(5)
    async with condition:
        condition.notify_all()
        trace("notified all")
    for task in tasks:
        await task


@scenario("LOCK-09")
async def a_cancelled_waiter_of_a_condition_holds_the_lock_again():
    async def work():
        async with condition:
            try:
                await condition.wait()
            finally:
                trace("locked:", condition.locked())

    condition = asyncio.Condition()
    task = asyncio.create_task(work())
    await passes(1)
    task.cancel()
    await attempt_await("task", task)
    trace("locked:", condition.locked())


@scenario("LOCK-14")
async def a_semaphore_lets_so_many_in():
    async def work(name):
        async with semaphore:
            trace(name, "in")
            await passes(2)
        trace(name, "out")

    semaphore = asyncio.Semaphore(2)
    tasks = [asyncio.create_task(work(name)) for name in ("one", "two", "three")]
    for task in tasks:
        await task


@scenario("LOCK-17")
async def a_bounded_semaphore_counts_its_releases():
    semaphore = asyncio.BoundedSemaphore(1)
    await semaphore.acquire()
    semaphore.release()
    try:
        semaphore.release()
    except ValueError:
        trace("ValueError")


@scenario("LOCK-18")
async def a_barrier_lets_all_go_together():
    async def work(name):
        trace(name, "arrives")
        index = await barrier.wait()
        trace(name, "goes on as", index)

    barrier = asyncio.Barrier(2)
    tasks = [asyncio.create_task(work(name)) for name in ("one", "two")]
    for task in tasks:
        await task
    trace("waiting:", barrier.n_waiting, "broken:", barrier.broken)


@scenario("LOCK-20")
async def an_aborted_barrier_is_broken():
    async def work():
        try:
            await barrier.wait()
        except asyncio.BrokenBarrierError:
            trace("broken")

    barrier = asyncio.Barrier(2)
    task = asyncio.create_task(work())
    await passes(1)
    await barrier.abort()
    await task
    await work()
    await barrier.reset()
    trace("broken:", barrier.broken)

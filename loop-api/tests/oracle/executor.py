"""The default executor, executors of one's own, and calls from other threads."""

import asyncio
import concurrent.futures
import contextvars
import threading

from scenario import attempt, attempt_await, one_pass, scenario, trace


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def fail():
    raise ValueError("x")


@scenario("EXEC-01", "EXEC-02")
async def a_job_gives_its_value():
    loop = asyncio.get_running_loop()
    await attempt_await("value", loop.run_in_executor(None, lambda: 6 * 7))
    await attempt_await("error", loop.run_in_executor(None, fail))


@scenario("EXEC-02", "FUT-02")
async def an_outcome_is_delivered_by_the_loop():
    loop = asyncio.get_running_loop()
    future = loop.run_in_executor(None, lambda: 1)
    trace("done:", future.done())
    future.add_done_callback(lambda future: trace("callback", asyncio.get_running_loop() is loop))
    await attempt_await("value", future)


@scenario("EXEC-14")
async def one_thread_does_jobs_in_their_order():
    loop = asyncio.get_running_loop()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    done = []
    futures = [loop.run_in_executor(pool, done.append, number) for number in range(5)]
    for future in futures:
        await future
    trace(done)


@scenario("EXEC-05")
async def shutdown_waits_for_jobs_while_the_loop_goes_on():
    loop = asyncio.get_running_loop()
    gate = threading.Event()
    future = loop.run_in_executor(None, gate.wait)
    shutdown = asyncio.create_task(loop.shutdown_default_executor())
    for _ in range(3):
        await asyncio.sleep(0)
    trace("the loop goes on; shut down:", shutdown.done())
    gate.set()
    await attempt_await("shutdown", shutdown)
    await attempt_await("job", future)


@scenario("EXEC-06")
async def after_its_shutdown_the_default_executor_takes_nothing():
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, int)
    await loop.shutdown_default_executor()
    attempt("run_in_executor", loop.run_in_executor, None, int)
    await attempt_await("to_thread", asyncio.to_thread(int))


@scenario("EXEC-06", "EXEC-07")
async def a_shutdown_without_a_pool_counts_too():
    loop = asyncio.get_running_loop()
    loop.call_soon(trace, "next pass")
    await attempt_await("shutdown", loop.shutdown_default_executor())
    await attempt_await("again", loop.shutdown_default_executor())
    attempt("run_in_executor", loop.run_in_executor, None, int)


@scenario("EXEC-03")
async def an_executor_of_ones_own_outlives_the_default_one():
    loop = asyncio.get_running_loop()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    await loop.shutdown_default_executor()
    await attempt_await("value", loop.run_in_executor(pool, lambda: 3))


@scenario("EXEC-12")
async def a_pool_that_was_shut_down_takes_nothing():
    loop = asyncio.get_running_loop()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.shutdown()
    attempt("run_in_executor", loop.run_in_executor, pool, int)


@scenario("EXEC-10")
async def a_queued_job_that_is_cancelled_never_runs():
    loop = asyncio.get_running_loop()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    gate, ran = threading.Event(), []
    first = loop.run_in_executor(pool, gate.wait)
    second = loop.run_in_executor(pool, ran.append, "second")
    third = loop.run_in_executor(pool, ran.append, "third")
    trace("cancel:", second.cancel())
    await attempt_await("second", second)
    # The pool is told by a done callback.
    await asyncio.sleep(0)
    gate.set()
    await first
    await third
    trace("ran:", ran[0], len(ran))


@scenario("EXEC-10")
async def cancelling_a_running_job_ends_the_wait_alone():
    def job():
        begun.set()
        gate.wait()
        ended.set()

    loop = asyncio.get_running_loop()
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()
    future = loop.run_in_executor(None, job)
    begun.wait()
    trace("cancel:", future.cancel())
    await attempt_await("job", future)
    trace("ended:", ended.is_set())
    gate.set()
    await loop.shutdown_default_executor()
    trace("ended:", ended.is_set())


@scenario("EXEC-11", "LIFE-28")
def a_result_that_comes_after_close_is_dropped(loop):
    gate, ended = threading.Event(), threading.Event()
    future = loop.run_in_executor(None, lambda: (gate.wait(), ended.set()))
    loop.close()
    trace("closed")
    gate.set()
    ended.wait()
    trace("done:", future.done())


@scenario("CH-56", "EXEC-17")
async def to_thread_carries_the_context_and_run_in_executor_does_not():
    variable = contextvars.ContextVar("variable", default="nothing")
    variable.set("something")
    trace("to_thread:", await asyncio.to_thread(variable.get))
    trace("run_in_executor:", await asyncio.get_running_loop().run_in_executor(None, variable.get))
    await attempt_await("error", asyncio.to_thread(fail))


@scenario("FUT-19")
async def a_pools_future_can_be_awaited_here():
    pool = concurrent.futures.ThreadPoolExecutor(1)
    await attempt_await("value", asyncio.wrap_future(pool.submit(lambda: 4)))
    await attempt_await("error", asyncio.wrap_future(pool.submit(fail)))


@scenario("THR-01")
def a_call_from_another_thread_wakes_the_loop(loop):
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, (lambda: (trace("called"), loop.stop()),))
    loop.call_soon(thread.start)
    loop.run_forever()
    trace("stopped")


@scenario("THR-02")
def both_ways_of_calling_soon_share_one_order(loop):
    loop.call_soon(trace, "one")
    loop.call_soon_threadsafe(trace, "two")
    loop.call_soon(trace, "three")
    one_pass(loop)


@scenario("THR-03")
def a_call_from_another_thread_before_the_run_is_kept(loop):
    in_a_thread(lambda: loop.call_soon_threadsafe(trace, "called"))
    trace("before the run")
    one_pass(loop)


@scenario("THR-02", "THR-04")
def calls_from_another_thread_keep_their_order(loop):
    def calls():
        for number in range(1000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    seen = []
    loop.call_soon(lambda: threading.Thread(target=calls).start())
    loop.run_forever()
    trace("in order:", seen == list(range(1000)))


@scenario("THR-05", "LIFE-30")
def a_call_from_another_thread_after_close_is_refused(loop):
    loop.close()
    in_a_thread(lambda: attempt("call_soon_threadsafe", loop.call_soon_threadsafe, trace, "never"))


@scenario("CH-57")
def another_thread_waits_for_a_coroutine(loop):
    async def work():
        await asyncio.sleep(0)
        return 8

    async def fails():
        raise ValueError("x")

    def elsewhere():
        attempt("value", asyncio.run_coroutine_threadsafe(work(), loop).result)
        attempt("error", asyncio.run_coroutine_threadsafe(fails(), loop).result)
        loop.call_soon_threadsafe(loop.stop)

    loop.call_soon(lambda: threading.Thread(target=elsewhere).start())
    loop.run_forever()


@scenario("CH-58")
def another_thread_cancels_a_coroutine(loop):
    async def work():
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            trace("cancelled")
            raise
        finally:
            loop.stop()

    def elsewhere():
        future = asyncio.run_coroutine_threadsafe(work(), loop)
        begun.wait()
        future.cancel()

    begun = threading.Event()
    loop.call_soon(lambda: threading.Thread(target=elsewhere).start())
    loop.run_forever()

"""Timers: their order, their cancellation, and sleep."""

import asyncio
import math
import time

from scenario import attempt, attempt_await, one_pass, scenario, trace


@scenario("TIME-04")
def timers_fire_by_deadline(loop):
    now = loop.time()
    loop.call_at(now + 0.03, lambda: (trace("third"), loop.stop()))
    loop.call_at(now + 0.01, trace, "first")
    loop.call_at(now + 0.02, trace, "second")
    loop.run_forever()


@scenario("TIME-04")
def overdue_timers_fire_by_deadline(loop):
    now = loop.time()
    loop.call_at(now - 1, trace, "a second late")
    loop.call_at(now - 3, trace, "three seconds late")
    loop.call_at(now - 2, trace, "two seconds late")
    one_pass(loop)


@scenario("TIME-05")
def a_timer_made_in_a_pass_waits_for_the_next(loop):
    def first():
        loop.call_at(loop.time() - 1, trace, "overdue timer")
        loop.call_soon(trace, "soon")

    loop.call_soon(first)
    loop.call_soon(trace, "same pass")
    one_pass(loop)
    trace("one pass")
    one_pass(loop)


@scenario("TIME-06")
def call_soon_wins_over_a_timer_of_the_same_moment(loop):
    loop.call_later(0, trace, "timer")
    loop.call_soon(trace, "soon")
    one_pass(loop)


@scenario("TIME-02")
def a_negative_delay_is_a_zero_one(loop):
    loop.call_later(-5, trace, "timer")
    loop.call_soon(trace, "soon")
    one_pass(loop)


@scenario("TIME-07", "HND-02")
def a_cancelled_timer_never_runs(loop):
    victim = loop.call_later(0.005, trace, "never")
    victim.cancel()
    loop.call_later(0.02, lambda: (trace("timer"), loop.stop()))
    loop.run_forever()
    trace("cancelled:", victim.cancelled())


@scenario("TIME-10", "HND-03")
def a_due_timer_can_still_be_cancelled_in_its_pass(loop):
    now = loop.time()
    loop.call_at(now - 2, lambda: (trace("cancels"), victim.cancel()))
    victim = loop.call_at(now - 1, trace, "never")
    one_pass(loop)
    trace("cancelled:", victim.cancelled())


@scenario("TIME-10", "HND-02")
def cancelling_a_timer_that_ran_disturbs_nothing(loop):
    timer = loop.call_later(0, trace, "ran")
    one_pass(loop)
    timer.cancel()
    loop.call_later(0, trace, "another")
    one_pass(loop)
    trace("cancelled:", timer.cancelled())


@scenario("TIME-12")
def timers_outlast_a_run(loop):
    loop.call_later(0.3, trace, "overdue at the second run")
    loop.call_soon(trace, "first run")
    loop.stop()
    loop.run_forever()
    time.sleep(0.31)
    loop.call_soon(trace, "ready at the second run")
    one_pass(loop)


@scenario("TIME-09", "TIME-08")
def a_thousand_cancelled_timers_leave_the_order_of_the_rest(loop):
    now = loop.time()
    victims = []
    for number in range(1000):
        timer = loop.call_at(now - number / 1e6, trace, f"timer {number}")
        if number % 250:
            victims.append(timer)
    for timer in victims:
        timer.cancel()
    one_pass(loop)


@scenario("TIME-15", "TIME-11")
def an_endless_delay_never_fires(loop):
    forever = loop.call_later(math.inf, trace, "never")
    loop.call_later(10 * 86400, trace, "not now")
    loop.call_later(0.005, lambda: (trace("timer"), loop.stop()))
    loop.run_forever()
    trace("cancelled:", forever.cancelled())


@scenario("HND-05", "TIME-02")
def a_timer_knows_its_deadline(loop):
    before = loop.time()
    timer = loop.call_later(5, trace, "not now")
    trace("in five seconds:", before + 5 <= timer.when() <= loop.time() + 5)
    trace("at:", loop.call_at(123.5, trace).when() == 123.5)


@scenario("TIME-03", "TIME-01")
def a_timer_is_never_early(loop):
    def fired():
        trace("early:", loop.time() < timer.when() - 1e-9)
        loop.stop()

    timer = loop.call_later(0.003, fired)
    loop.run_forever()


@scenario("CH-01")
async def sleeping_zero_gives_up_one_pass():
    async def other():
        trace("other")

    task = asyncio.create_task(other())
    trace("before")
    await asyncio.sleep(0)
    trace("after", task.done())
    await asyncio.sleep(-1)
    trace("after a negative one")


@scenario("CH-01", "ITER-02")
async def sleepers_of_zero_take_turns():
    async def work(name):
        for number in range(3):
            trace(f"{name} {number}")
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(name)) for name in "abc"]
    for task in tasks:
        await task


@scenario("CH-02", "TIME-04")
async def sleepers_wake_by_deadline():
    async def sleeper(name, delay):
        await asyncio.sleep(delay)
        trace(name)

    tasks = [
        asyncio.create_task(sleeper("third", 0.3)),
        asyncio.create_task(sleeper("first", 0.1)),
        asyncio.create_task(sleeper("second", 0.2)),
    ]
    for task in tasks:
        await task


@scenario("CH-03")
async def an_endless_sleep_can_be_cancelled():
    task = asyncio.create_task(asyncio.sleep(math.inf))
    await asyncio.sleep(0)
    trace("done:", task.done())
    task.cancel()
    await attempt_await("sleeper", task)


@scenario("CH-03", since=(3, 13))
async def a_sleep_that_is_no_number_is_refused():
    await attempt_await("sleep", asyncio.sleep(math.nan))

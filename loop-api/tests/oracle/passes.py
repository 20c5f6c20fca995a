"""One pass: what runs in it, and in which order."""

import contextvars
import os

from scenario import one_pass, scenario, trace


@scenario("ITER-01")
def callbacks_run_in_the_order_they_were_queued(loop):
    for number in range(3):
        loop.call_soon(trace, f"callback {number}")
    trace("queued")
    one_pass(loop)


@scenario("ITER-02")
def what_a_callback_queues_waits_for_the_next_pass(loop):
    def first():
        trace("first")
        loop.call_soon(trace, "queued by the first")

    loop.call_soon(first)
    loop.call_soon(trace, "second")
    one_pass(loop)
    trace("one pass")
    one_pass(loop)


@scenario("ITER-02", "LIFE-05")
def two_that_queue_each_other_take_turns(loop):
    def turn(name, left):
        trace(f"{name} {left}")
        if left:
            loop.call_soon(turn, name, left - 1)

    loop.call_soon(turn, "a", 3)
    loop.call_soon(turn, "b", 1)
    for number in range(4):
        one_pass(loop)
        trace(f"pass {number}")


@scenario("ITER-03")
def ready_then_readable_then_due(loop):
    reader, writer = os.pipe()

    def readable():
        trace("readable")
        loop.remove_reader(reader)

    os.write(writer, b"x")
    loop.call_later(0, trace, "due")
    loop.add_reader(reader, readable)
    loop.call_soon(trace, "ready")
    one_pass(loop)


@scenario("ITER-05", "TIME-02")
def a_busy_loop_still_comes_to_its_timers(loop):
    def busy():
        if not ended:
            loop.call_soon(busy)

    def timer():
        trace("timer")
        ended.append(True)
        loop.stop()

    ended = []
    loop.call_soon(busy)
    loop.call_later(0.01, timer)
    loop.run_forever()
    trace("stopped")


@scenario("ITER-06", "HND-03")
def a_callback_cancelled_in_its_pass_is_skipped(loop):
    loop.call_soon(lambda: (trace("cancels"), victim.cancel()))
    victim = loop.call_soon(trace, "never")
    loop.call_soon(trace, "behind")
    one_pass(loop)
    trace("cancelled:", victim.cancelled())


@scenario("ITER-07", "EXC-05")
def a_callback_that_fails_does_not_end_the_pass(loop):
    def fail():
        raise ValueError("x")

    loop.call_soon(fail)
    loop.call_soon(trace, "behind")
    one_pass(loop)


@scenario("ITER-08")
def a_callback_runs_in_the_context_it_was_queued_in(loop):
    variable = contextvars.ContextVar("variable")

    def change():
        trace("queued with", variable.get())
        variable.set("changed")

    variable.set("one")
    loop.call_soon(change)
    variable.set("two")
    loop.call_soon(lambda: trace("queued with", variable.get()))
    one_pass(loop)
    trace("outside", variable.get())


@scenario("ITER-08")
def callbacks_share_a_context_that_is_passed(loop):
    variable = contextvars.ContextVar("variable")
    variable.set("outside")
    context = contextvars.copy_context()
    loop.call_soon(lambda: variable.set("inside"), context=context)
    loop.call_soon(lambda: trace("shared:", variable.get()), context=context)
    loop.call_soon(lambda: trace("own:", variable.get()))
    one_pass(loop)
    trace("passed:", context[variable])


@scenario("ITER-10", "RW-01")
def what_stays_readable_is_called_every_pass(loop):
    reader, writer = os.pipe()
    os.write(writer, b"abc")

    def readable():
        piece = os.read(reader, 1)
        trace("read", piece)
        if piece == b"c":
            loop.stop()

    loop.add_reader(reader, readable)
    loop.run_forever()


@scenario("RW-02", "RW-04")
def a_reader_is_replaced_and_removed(loop):
    reader, writer = os.pipe()
    os.write(writer, b"x")
    loop.add_reader(reader, trace, "never")
    loop.add_reader(reader, lambda: (trace("the second"), loop.stop()))
    loop.run_forever()
    trace("removed:", loop.remove_reader(reader))
    trace("again:", loop.remove_reader(reader))
    trace("writer:", loop.remove_writer(reader))


@scenario("RW-12")
def a_reader_that_fails_stays(loop):
    reader, writer = os.pipe()
    os.write(writer, b"x")

    def readable():
        calls.append(1)
        if len(calls) == 2:
            loop.stop()
        raise ValueError(f"call {len(calls)}")

    calls = []
    loop.add_reader(reader, readable)
    loop.run_forever()
    trace("removed:", loop.remove_reader(reader))


@scenario("HND-01", "HND-02")
def a_handle_tells_only_whether_it_was_cancelled(loop):
    handle = loop.call_soon(trace, "ran")
    one_pass(loop)
    trace("after it ran:", handle.cancelled())
    handle.cancel()
    handle.cancel()
    trace("after cancel:", handle.cancelled())


@scenario("HND-04")
def letting_go_of_a_handle_cancels_nothing(loop):
    handle = loop.call_soon(trace, "ran")
    del handle
    one_pass(loop)


@scenario("TASK-02", "FUT-02")
def three_steps_from_a_result_to_its_reader(loop):
    async def reads():
        trace("waits")
        trace("read", await future)

    def passes(number):
        trace(f"pass {number}")
        if number < 4:
            loop.call_soon(passes, number + 1)

    future = loop.create_future()
    task = loop.create_task(reads())
    loop.call_soon(passes, 1)
    loop.call_soon(lambda: (future.set_result("it"), trace("set")))
    loop.run_until_complete(task)

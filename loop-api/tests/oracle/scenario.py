"""What the Python half of a scenario is written with. `stage.rs` is the same for the Rust half.

A scenario is a function with `@scenario(rows...)`, and takes one of three forms:

    def name(loop):         the loop is made for it, and closed by nobody
    async def name():       runs as a coroutine, by that loop's `run_until_complete`
    def name():             makes its loops itself

What it passes to `trace`, in order, is what the Rust half has to do as well.
"""

import asyncio
import os
import re
import sys

#: The scenarios of the subject that is being loaded: name -> function.
SCENARIOS = {}


def scenario(*rows, since=(3, 11)):
    """Makes a function a scenario that shows these rows; `since` is the first Python with this behaviour."""

    def register(function):
        function.rows, function.since = rows, since
        SCENARIOS[function.__name__] = function
        return function

    return register


def trace(*what):
    """Something happened. Written at once, so that a scenario that hangs has shown how far it came."""
    os.write(sys.stdout.fileno(), (" ".join(show(part) for part in what) + "\n").encode())


def attempt(label, call, *args):
    """Traces what a call comes to: its value, or its error."""
    try:
        value = call(*args)
    except BaseException as error:
        trace(f"{label}: {describe(error)}")
    else:
        trace(f"{label}: {show(value)}")


async def attempt_await(label, awaitable):
    """Traces what an await comes to. Not for a cancellation of the scenario itself, which Rust sees elsewhere."""
    try:
        value = await awaitable
    except BaseException as error:
        trace(f"{label}: {describe(error)}")
    else:
        trace(f"{label}: {show(value)}")


def outcome(label, future):
    """Traces the outcome of a future or a task: pending, its value, or its error."""
    if future.done():
        attempt(label, future.result)
    else:
        trace(f"{label}: pending")


def one_pass(loop):
    """Exactly one pass, which does not wait."""
    loop.stop()
    loop.run_forever()


def reports(loop):
    """Traces what reaches the loop's exception handler. A loop that is made for a scenario does that already."""
    loop.set_exception_handler(report)


def report(loop, context):
    message = named(context.get("message", "no message"), REPORTS)
    error = context.get("exception")
    trace(f"reported: {message}" + (f": {describe(error)}" if error else ""))


def show(value):
    """A value as both halves write it: text bare, all else as Python has it."""
    return value if isinstance(value, str) else repr(value)


def describe(error):
    """An error as both halves write it: its kind, and the text where that is fixed."""
    text = str(error)
    return named(f"{type(error).__name__}: {text}" if text else type(error).__name__, ERRORS)


def named(text, table):
    for pattern, name in table:
        if re.match(pattern, text):
            return name
    return text


#: Where asyncio's own text depends on the moment, the object or the version, it is cut to what matters. `names.rs`
#: gives the same names to this library's errors; a text that is in neither table comes from the scenario itself.
ERRORS = [
    (r"InvalidStateError", "InvalidStateError"),
    (r"RuntimeError: Event loop is closed", "RuntimeError: Event loop is closed"),
    (r"RuntimeError: There is no current event loop in thread", "RuntimeError: There is no current event loop"),
    (r"RuntimeError: Task cannot await on itself", "RuntimeError: Task cannot await on itself"),
    (r"RuntimeError: Task .* attached to a different loop", "RuntimeError: attached to a different loop"),
    # One mistake has two names there.
    (r"ValueError: The future belongs to a different loop", "RuntimeError: attached to a different loop"),
    (r"RuntimeError: (asyncio.run|Runner.run)\(\) cannot be called", "RuntimeError: another loop is running"),
    (r"RuntimeError: Cannot run the event loop while another", "RuntimeError: another loop is running"),
    (r"IncompleteReadError", "IncompleteReadError"),
    (r"LimitOverrunError", "LimitOverrunError"),
    (r"ValueError: Separator is (not )?found, (and|but) chunk", "ValueError: line too long"),
    (r"ValueError: (Invalid delay|delay must|when cannot|cannot convert float NaN)", "ValueError"),
    (r"ConnectionRefusedError", "ConnectionRefusedError"),
    (r"ConnectionResetError", "ConnectionResetError"),
    (r"BrokenPipeError", "BrokenPipeError"),
    (r"FileNotFoundError", "FileNotFoundError"),
    (r"RuntimeError: anext\(\): asynchronous generator is already", "RuntimeError: generator is already running"),
    (r"RuntimeError: async generator ignored", "RuntimeError: async generator ignored GeneratorExit"),
    (r"TimeoutError", "TimeoutError"),
    (r"CancelledError: <Future", "CancelledError"),
]

#: The beginnings of what the loop reports.
REPORTS = [
    (re.escape(beginning), beginning)
    for beginning in (
        "Exception in callback",
        "Task exception was never retrieved",
        "Future exception was never retrieved",
        "Unhandled exception in client_connected_cb",
        "unhandled exception during asyncio.run() shutdown",
        "an error occurred during closing of asynchronous generator",
    )
] + [(r"Fatal error: (protocol.data_received\(\)) call", "protocol.data_received() call failed")]


def play(function):
    """Runs a scenario to its end; an error that leaves it is the trace's last line."""
    loop = None
    try:
        takes_loop = function.__code__.co_argcount == 1
        if takes_loop or asyncio.iscoroutinefunction(function):
            loop = asyncio.new_event_loop()
            reports(loop)
        if asyncio.iscoroutinefunction(function):
            loop.run_until_complete(function())
        elif takes_loop:
            function(loop)
        else:
            function()
    except BaseException as error:
        trace(f"raised: {describe(error)}")

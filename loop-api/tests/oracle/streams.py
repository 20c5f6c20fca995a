"""Streams: readers by themselves, and over a connection."""

import asyncio

from scenario import attempt, attempt_await, scenario, trace


def reader(data=b"", limit=64, eof=True):
    """A reader that was fed."""
    made = asyncio.StreamReader(limit=limit)
    if data:
        made.feed_data(data)
    if eof:
        made.feed_eof()
    return made


@scenario("STRM-02")
async def read_gives_what_there_is():
    stream = reader(b"hello")
    await attempt_await("zero", stream.read(0))
    await attempt_await("three", stream.read(3))
    await attempt_await("many", stream.read(100))
    await attempt_await("at the end", stream.read(100))


@scenario("STRM-03")
async def reading_to_the_end_knows_no_limit():
    stream = reader(b"x" * 200, limit=8)
    trace("bytes:", len(await stream.read(-1)))
    await attempt_await("again", stream.read(-1))


@scenario("STRM-04")
async def readexactly_gives_that_much():
    stream = reader(b"abcdef")
    await attempt_await("four", stream.readexactly(4))
    await attempt_await("none", stream.readexactly(0))
    await attempt_await("two", stream.readexactly(2))


@scenario("STRM-04")
async def an_incomplete_read_takes_what_there_was():
    stream = reader(b"abc")
    try:
        await stream.readexactly(5)
    except asyncio.IncompleteReadError as error:
        trace("partial:", error.partial, "expected:", error.expected)
    await attempt_await("left", stream.read(100))


@scenario("STRM-05")
async def readline_gives_lines_and_then_the_rest():
    stream = reader(b"one\ntwo\nrest")
    for _ in range(4):
        trace(await stream.readline() or None)


@scenario("STRM-06")
async def a_line_that_is_too_long_is_dropped_alone():
    stream = reader(b"0123456789\nnext\n", limit=4)
    await attempt_await("long", stream.readline())
    await attempt_await("next", stream.readline())


@scenario("STRM-06")
async def a_line_without_an_end_takes_the_buffer_with_it():
    stream = reader(b"0123456789", limit=4, eof=False)
    await attempt_await("long", stream.readline())
    stream.feed_data(b"new\n")
    await attempt_await("next", stream.readline())


@scenario("STRM-07")
async def readuntil_includes_the_separator():
    stream = reader(b"one--two--rest")
    await attempt_await("one", stream.readuntil(b"--"))
    await attempt_await("two", stream.readuntil(b"--"))
    try:
        await stream.readuntil(b"--")
    except asyncio.IncompleteReadError as error:
        trace("partial:", error.partial, "expected:", error.expected)
    await attempt_await("left", stream.read(100))


@scenario("STRM-08")
async def an_overrun_leaves_the_data():
    stream = reader(b"12345--", limit=4)
    try:
        await stream.readuntil(b"--")
    except asyncio.LimitOverrunError as error:
        trace("consumed:", error.consumed)
    await attempt_await("consumed", stream.readexactly(5))
    await attempt_await("separator", stream.readuntil(b"--"))


@scenario("STRM-08")
async def the_limit_counts_what_precedes_the_separator():
    stream = reader(b"1234--", limit=4)
    await attempt_await("exactly the limit", stream.readuntil(b"--"))


@scenario("STRM-08")
async def what_may_begin_a_separator_is_not_counted():
    stream = reader(b"12345-", limit=4, eof=False)
    try:
        await stream.readuntil(b"--")
    except asyncio.LimitOverrunError as error:
        trace("consumed:", error.consumed)
    await attempt_await("all", stream.read(100))


@scenario("STRM-09", "STRM-07")
async def an_empty_separator_is_refused():
    try:
        await reader(b"abc").readuntil(b"")
    except ValueError:
        trace("ValueError")


@scenario("STRM-09", since=(3, 13))
async def the_separator_that_ends_first_wins():
    stream = reader(b"one;two\nthree")
    await attempt_await("first", stream.readuntil((b"\n", b";")))
    await attempt_await("second", stream.readuntil((b"\n", b";")))


@scenario("STRM-10")
async def iterating_gives_the_lines():
    async for line in reader(b"one\ntwo\nrest"):
        trace(line)


@scenario("STRM-14")
async def the_end_is_reached_when_all_is_read():
    stream = reader(b"ab")
    trace("at_eof:", stream.at_eof())
    await stream.read(2)
    trace("at_eof:", stream.at_eof())
    trace("open:", reader(eof=False).at_eof())


@scenario("STRM-13")
async def an_error_of_the_connection_sticks():
    stream = reader(b"left", eof=False)
    stream.set_exception(ConnectionResetError())
    await attempt_await("read", stream.read(4))
    await attempt_await("readline", stream.readline())
    await attempt_await("readexactly", stream.readexactly(0))
    trace("set:", stream.exception() is not None)


@scenario("STRM-02", "FUT-02")
async def a_read_waits_until_it_is_fed():
    async def reads():
        trace("waits")
        trace("read", await stream.read(10))

    stream = reader(eof=False)
    task = asyncio.create_task(reads())
    await asyncio.sleep(0)
    stream.feed_data(b"food")
    trace("fed")
    await task


@scenario("STRM-02", "TASK-10")
async def a_cancelled_read_loses_nothing():
    async def reads():
        trace("first", await stream.read(10))

    stream = reader(eof=False)
    task = asyncio.create_task(reads())
    await asyncio.sleep(0)
    task.cancel()
    stream.feed_data(b"kept")
    await attempt_await("cancelled", task)
    await attempt_await("second", stream.read(10))


async def serve(handler):
    """A server on this machine, and its port."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@scenario("STRM-01", "STRM-05", "STRM-15")
async def lines_are_echoed():
    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    server, port = await serve(echo)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for text in (b"one\n", b"two\n", b"three\n"):
        writer.write(text)
        trace("echoed", await reader.readline())
    writer.write_eof()
    trace("end:", await reader.readline() or None)
    writer.close()
    await attempt_await("closed", writer.wait_closed())
    server.close()


@scenario("STRM-19")
async def a_handler_runs_as_a_task():
    async def handler(reader, writer):
        trace("task:", asyncio.current_task() is not None)
        writer.write(b"hello")
        writer.close()

    server, port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    trace("read", await reader.read(-1))
    writer.close()
    server.close()


@scenario("STRM-20")
async def a_handler_that_fails_is_reported_and_its_connection_closed():
    async def handler(reader, writer):
        writer.write(b"no")
        raise ValueError("x")

    server, port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    trace("read", await reader.read(-1))
    writer.close()
    server.close()


@scenario("STRM-21", "TR-13")
async def after_write_eof_one_can_still_read():
    async def count(reader, writer):
        data = await reader.read(-1)
        writer.write(str(len(data)).encode())
        writer.close()

    server, port = await serve(count)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    trace("can_write_eof:", writer.can_write_eof())
    writer.write(b"twelve bytes")
    writer.write_eof()
    attempt("write", writer.write, b"more")
    trace("read", await reader.read(-1))
    writer.close()
    server.close()


@scenario("STRM-16")
async def draining_a_lost_connection_is_an_error():
    async def handler(reader, writer):
        await reader.read(-1)
        writer.close()

    server, port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    trace("is_closing:", writer.is_closing())
    writer.close()
    trace("is_closing:", writer.is_closing())
    await attempt_await("wait_closed", writer.wait_closed())
    await attempt_await("again", writer.wait_closed())
    await attempt_await("drain", writer.drain())
    server.close()


@scenario("TCP-05", "SOCK-07")
async def nobody_listening_is_an_error():
    server, port = await serve(lambda reader, writer: None)
    server.close()
    await attempt_await("connect", asyncio.open_connection("127.0.0.1", port))


@scenario("STRM-02", "TR-15")
async def an_abort_reaches_the_reader_as_an_end():
    async def handler(reader, writer):
        await reader.readline()
        writer.transport.abort()

    server, port = await serve(handler)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"go\n")
    trace("read", await reader.read(10))
    trace("at_eof:", reader.at_eof())
    writer.close()
    server.close()

"""Transports, protocols and servers. One side of a connection is traced; the other keeps silent."""

import asyncio

from scenario import attempt, attempt_await, describe, scenario, trace


class Traced(asyncio.Protocol):
    """Traces its calls, and tells when the connection has ended."""

    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        trace("connection_made")

    def data_received(self, data):
        trace("data_received", data)

    def eof_received(self):
        trace("eof_received")

    def connection_lost(self, error):
        trace("connection_lost:", describe(error) if error else None)
        self.ended.set_result(None)

    def pause_writing(self):
        trace("pause_writing")

    def resume_writing(self):
        trace("resume_writing")


async def connection(factory=Traced):
    """A connection: the traced side's protocol, the silent side's reader and writer, and the server."""
    made = []

    def make():
        made.append(factory())
        return made[0]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    while not made:
        await asyncio.sleep(0)
    return made[0], reader, writer, server


@scenario("TR-01", "TR-02", "TR-05")
async def a_protocols_calls_are_in_order():
    protocol, reader, writer, server = await connection()
    writer.write(b"hello")
    writer.write_eof()
    await protocol.ended


@scenario("TR-05")
async def a_true_answer_to_the_end_keeps_it_open_for_writing():
    class Keeps(Traced):
        def eof_received(self):
            trace("eof_received")
            eof.set_result(None)
            return True

    eof = asyncio.get_running_loop().create_future()
    protocol, reader, writer, server = await connection(Keeps)
    writer.write(b"question")
    writer.write_eof()
    await eof
    trace("closing:", protocol.transport.is_closing())
    protocol.transport.write(b"answer")
    protocol.transport.close()
    trace("read", await reader.read(-1))
    await protocol.ended


@scenario("TR-14", "TR-16", "TR-17")
async def close_flushes_and_ends_later():
    protocol, reader, writer, server = await connection()
    transport = protocol.transport
    trace("closing:", transport.is_closing())
    transport.write(b"last words")
    transport.close()
    trace("closing:", transport.is_closing(), "reading:", transport.is_reading())
    transport.close()
    await protocol.ended
    trace("read", await reader.read(-1))


@scenario("TR-15", "TR-16")
async def abort_ends_later_too_and_once():
    protocol, reader, writer, server = await connection()
    protocol.transport.abort()
    protocol.transport.close()
    protocol.transport.abort()
    trace("closing:", protocol.transport.is_closing())
    await protocol.ended


@scenario("TR-11")
async def a_write_after_close_is_dropped():
    protocol, reader, writer, server = await connection()
    protocol.transport.close()
    attempt("write", protocol.transport.write, b"too late")
    await protocol.ended
    attempt("write", protocol.transport.write, b"far too late")
    trace("read", await reader.read(-1))


@scenario("TR-13")
async def write_eof_ends_the_writing_alone():
    protocol, reader, writer, server = await connection()
    transport = protocol.transport
    trace("can_write_eof:", transport.can_write_eof())
    transport.write(b"all")
    transport.write_eof()
    transport.write_eof()
    attempt("write", transport.write, b"more")
    trace("read", await reader.read(-1))
    writer.write(b"still read")
    writer.close()
    await protocol.ended


@scenario("TR-19", "TR-02")
async def a_protocol_that_fails_to_receive_loses_its_connection():
    class Fails(Traced):
        def data_received(self, data):
            raise ValueError("x")

    protocol, reader, writer, server = await connection(Fails)
    writer.write(b"poison")
    await protocol.ended


@scenario("TR-20")
async def a_protocol_that_fails_at_its_beginning_is_reported_and_goes_on():
    class Fails(Traced):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise ValueError("x")

    protocol, reader, writer, server = await connection(Fails)
    writer.write(b"hello")
    writer.write_eof()
    await protocol.ended


@scenario("TR-22")
async def nothing_is_delivered_while_reading_is_paused():
    protocol, reader, writer, server = await connection()
    transport = protocol.transport
    transport.pause_reading()
    transport.pause_reading()
    trace("reading:", transport.is_reading())
    writer.write(b"kept")
    await writer.drain()
    for _ in range(10):
        await asyncio.sleep(0)
    trace("resumes")
    transport.resume_reading()
    transport.resume_reading()
    trace("reading:", transport.is_reading())
    writer.write_eof()
    await protocol.ended


@scenario("TR-07", "TR-03")
async def a_writer_is_paused_and_resumed_once():
    protocol, reader, writer, server = await connection()
    protocol.transport.write(b"x" * (32 << 20))
    trace("written; more than the limit is left:", protocol.transport.get_write_buffer_size() > 65536)
    trace("read", len(await reader.readexactly(32 << 20)))
    while protocol.transport.get_write_buffer_size():
        await asyncio.sleep(0)
    protocol.transport.close()
    await protocol.ended


@scenario("TR-08", "TR-09")
async def the_limits_of_the_write_buffer():
    protocol, reader, writer, server = await connection()
    transport = protocol.transport
    trace("default:", transport.get_write_buffer_limits())
    for high, low in ((1000, None), (None, 1000), (0, None), (5, 5)):
        transport.set_write_buffer_limits(high, low)
        trace("high", high, "low", low, "are", transport.get_write_buffer_limits())
    for high, low in ((1, 2), (0, 1)):
        try:
            transport.set_write_buffer_limits(high, low)
        except ValueError:
            trace("ValueError")
    trace("kept:", transport.get_write_buffer_limits())


@scenario("TR-23")
async def a_protocol_can_be_replaced():
    class Second(asyncio.Protocol):
        def data_received(self, data):
            trace("the second received", data)

        def connection_lost(self, error):
            trace("the second lost it")
            ended.set_result(None)

    ended = asyncio.get_running_loop().create_future()
    protocol, reader, writer, server = await connection()
    second = Second()
    protocol.transport.set_protocol(second)
    trace("is it:", protocol.transport.get_protocol() is second)
    writer.write(b"hello")
    writer.write_eof()
    await ended


@scenario("TR-06")
async def an_empty_write_is_nothing():
    protocol, reader, writer, server = await connection()
    protocol.transport.write(b"")
    trace("buffered:", protocol.transport.get_write_buffer_size())
    protocol.transport.write(b"something")
    protocol.transport.close()
    trace("read", await reader.read(-1))
    await protocol.ended


@scenario("TCP-01", "TR-01")
async def a_connection_is_made_before_it_is_given():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    transport, protocol = await asyncio.get_running_loop().create_connection(Traced, *address)
    trace("given", transport is protocol.transport)
    await protocol.ended


@scenario("SRV-01", "SRV-15")
async def a_server_may_start_later():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False)
    trace("serving:", server.is_serving())
    await server.start_serving()
    trace("serving:", server.is_serving())
    await attempt_await("again", server.start_serving())


@scenario("SRV-12")
async def a_closed_server_keeps_its_connections():
    protocol, reader, writer, server = await connection()
    server.close()
    server.close()
    trace("serving:", server.is_serving(), "sockets:", len(server.sockets))
    writer.write(b"still there")
    writer.write_eof()
    await protocol.ended


@scenario("SRV-17", "SRV-18")
async def one_serve_forever_at_a_time():
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    try:
        await server.serve_forever()
    except RuntimeError:
        trace("refused while served")
    task.cancel()
    await attempt_await("served", task)
    trace("serving:", server.is_serving())
    try:
        await server.serve_forever()
    except RuntimeError:
        trace("refused once closed")


@scenario("SRV-13", since=(3, 13))
async def wait_closed_waits_for_the_connections():
    async def waits():
        await server.wait_closed()
        trace("closed")

    protocol, reader, writer, server = await connection()
    task = asyncio.create_task(waits())
    await asyncio.sleep(0)
    server.close()
    for _ in range(3):
        await asyncio.sleep(0)
    trace("done:", task.done())
    writer.close()
    await task


@scenario("SRV-14", since=(3, 13))
async def a_server_can_close_its_clients():
    protocol, reader, writer, server = await connection()
    server.close_clients()
    trace("serving:", server.is_serving())
    trace("read", await reader.read(-1))
    await protocol.ended

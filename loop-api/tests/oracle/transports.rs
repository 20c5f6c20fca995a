//! Transports, protocols and servers. One side of a connection is traced; the other keeps silent.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use loop_api::loop_core::Server;
use loop_api::{
    ConnectOptions, LoopFuture, Protocol, ServerOptions, StreamReader, StreamWriter, Transport, create_task,
    get_running_loop, open_connection, start_server, yield_now,
};

use crate::names::describe;
use crate::stage::{Show, attempt, in_a_task, raise};

/// How a traced protocol differs from the plain one.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Plain,
    KeepsOpen,
    FailsAtFirst,
    FailsToReceive,
}

/// Traces its calls, and tells when the connection has ended.
struct Traced {
    manner: Manner,
    made: LoopFuture<Transport>,
    eof: LoopFuture<()>,
    ended: LoopFuture<()>,
}

impl Protocol for Traced {
    fn connection_made(&mut self, transport: &Transport) {
        trace!("connection_made");
        self.made.set_result(transport.clone()).unwrap();
        if self.manner == Manner::FailsAtFirst {
            raise("ValueError: x");
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if self.manner == Manner::FailsToReceive {
            raise("ValueError: x");
        }
        trace!("data_received {}", data.show());
    }

    fn eof_received(&mut self, _: &Transport) -> bool {
        trace!("eof_received");
        self.eof.set_result(()).unwrap();
        self.manner == Manner::KeepsOpen
    }

    fn connection_lost(&mut self, _: &Transport, error: Option<io::Error>) {
        trace!("connection_lost: {}", error.map(|error| describe(&error)).show());
        self.ended.set_result(()).unwrap();
    }

    fn pause_writing(&mut self, _: &Transport) {
        trace!("pause_writing");
    }

    fn resume_writing(&mut self, _: &Transport) {
        trace!("resume_writing");
    }
}

/// Says nothing.
struct Silent;

impl Protocol for Silent {}

/// A connection: the traced side's transport, when it has read to the end and when it has ended, the silent side's reader and writer, and the server.
struct Connection {
    transport: Transport,
    eof: LoopFuture<()>,
    ended: LoopFuture<()>,
    reader: StreamReader,
    writer: StreamWriter,
    server: Server,
}

async fn connection(manner: Manner) -> loop_api::Result<Connection> {
    let lp = get_running_loop()?;
    let (made, eof, ended) = (lp.create_future(), lp.create_future(), lp.create_future());
    let (tells, reads, ends) = (made.clone(), eof.clone(), ended.clone());
    let factory = move || Traced { manner, made: tells.clone(), eof: reads.clone(), ended: ends.clone() };
    let server = lp.create_server(factory, "127.0.0.1:0", ServerOptions::default()).await?;
    let (reader, writer) = open_connection(server.local_addr().expect("it listens")).await?;
    Ok(Connection { transport: made.await?, eof, ended, reader, writer, server })
}

/// TR-01, TR-02, TR-05
#[test]
fn a_protocols_calls_are_in_order() {
    in_a_task(async || {
        let mut connection = connection(Manner::Plain).await?;
        connection.writer.write(b"hello")?;
        connection.writer.write_eof();
        connection.ended.clone().await?;
        Ok(())
    });
}

/// TR-05
#[test]
fn a_true_answer_to_the_end_keeps_it_open_for_writing() {
    in_a_task(async || {
        let Connection { transport, eof, ended, mut reader, mut writer, .. } = connection(Manner::KeepsOpen).await?;
        writer.write(b"question")?;
        writer.write_eof();
        eof.await?;
        trace!("closing: {}", transport.is_closing().show());
        transport.write(b"answer")?;
        transport.close();
        trace!("read {}", reader.read_to_end().await?.show());
        ended.await?;
        Ok(())
    });
}

/// TR-14, TR-16, TR-17
#[test]
fn close_flushes_and_ends_later() {
    in_a_task(async || {
        let Connection { transport, ended, mut reader, writer: _writer, .. } = connection(Manner::Plain).await?;
        trace!("closing: {}", transport.is_closing().show());
        transport.write(b"last words")?;
        transport.close();
        trace!("closing: {} reading: {}", transport.is_closing().show(), transport.is_reading().show());
        transport.close();
        ended.await?;
        trace!("read {}", reader.read_to_end().await?.show());
        Ok(())
    });
}

/// TR-15, TR-16
#[test]
fn abort_ends_later_too_and_once() {
    in_a_task(async || {
        let connection = connection(Manner::Plain).await?;
        connection.transport.abort();
        connection.transport.close();
        connection.transport.abort();
        trace!("closing: {}", connection.transport.is_closing().show());
        connection.ended.clone().await?;
        Ok(())
    });
}

/// TR-11
#[test]
fn a_write_after_close_is_dropped() {
    in_a_task(async || {
        let Connection { transport, ended, mut reader, writer: _writer, .. } = connection(Manner::Plain).await?;
        transport.close();
        attempt("write", transport.write(b"too late"));
        ended.await?;
        attempt("write", transport.write(b"far too late"));
        trace!("read {}", reader.read_to_end().await?.show());
        Ok(())
    });
}

/// TR-13
#[test]
fn write_eof_ends_the_writing_alone() {
    in_a_task(async || {
        let Connection { transport, ended, mut reader, mut writer, .. } = connection(Manner::Plain).await?;
        trace!("can_write_eof: {}", transport.can_write_eof().show());
        transport.write(b"all")?;
        transport.write_eof();
        transport.write_eof();
        attempt("write", transport.write(b"more"));
        trace!("read {}", reader.read_to_end().await?.show());
        writer.write(b"still read")?;
        writer.start_close();
        ended.await?;
        Ok(())
    });
}

/// TR-19, TR-02
#[test]
fn a_protocol_that_fails_to_receive_loses_its_connection() {
    in_a_task(async || {
        let mut connection = connection(Manner::FailsToReceive).await?;
        connection.writer.write(b"poison")?;
        connection.ended.clone().await?;
        Ok(())
    });
}

/// TR-20
#[test]
fn a_protocol_that_fails_at_its_beginning_is_reported_and_goes_on() {
    in_a_task(async || {
        let mut connection = connection(Manner::FailsAtFirst).await?;
        connection.writer.write(b"hello")?;
        connection.writer.write_eof();
        connection.ended.clone().await?;
        Ok(())
    });
}

/// TR-22
#[test]
fn nothing_is_delivered_while_reading_is_paused() {
    in_a_task(async || {
        let Connection { transport, ended, mut writer, .. } = connection(Manner::Plain).await?;
        transport.pause_reading();
        transport.pause_reading();
        trace!("reading: {}", transport.is_reading().show());
        writer.write(b"kept")?;
        writer.drain().await?;
        for _ in 0..10 {
            yield_now().await;
        }
        trace!("resumes");
        transport.resume_reading();
        transport.resume_reading();
        trace!("reading: {}", transport.is_reading().show());
        writer.write_eof();
        ended.await?;
        Ok(())
    });
}

/// TR-07, TR-03
#[test]
fn a_writer_is_paused_and_resumed_once() {
    in_a_task(async || {
        let Connection { transport, ended, mut reader, writer: _writer, .. } = connection(Manner::Plain).await?;
        transport.write(&vec![b'x'; 32 << 20])?;
        trace!("written; more than the limit is left: {}", (transport.write_buffer_size() > 65536).show());
        trace!("read {}", reader.readexactly(32 << 20).await?.len());
        while transport.write_buffer_size() > 0 {
            yield_now().await;
        }
        transport.close();
        ended.await?;
        Ok(())
    });
}

/// TR-08, TR-09
#[test]
fn the_limits_of_the_write_buffer() {
    in_a_task(async || {
        let connection = connection(Manner::Plain).await?;
        let transport = &connection.transport;
        trace!("default: {:?}", transport.write_buffer_limits());
        for (high, low) in [(Some(1000), None), (None, Some(1000)), (Some(0), None), (Some(5), Some(5))] {
            transport.set_write_buffer_limits(high, low)?;
            trace!("high {} low {} are {:?}", high.show(), low.show(), transport.write_buffer_limits());
        }
        for (high, low) in [(1, 2), (0, 1)] {
            if transport.set_write_buffer_limits(Some(high), Some(low)).is_err() {
                trace!("ValueError");
            }
        }
        trace!("kept: {:?}", transport.write_buffer_limits());
        Ok(())
    });
}

/// TR-23
#[test]
fn a_protocol_can_be_replaced() {
    struct Second(LoopFuture<()>);
    impl Protocol for Second {
        fn data_received(&mut self, _: &Transport, data: &[u8]) {
            trace!("the second received {}", data.show());
        }

        fn connection_lost(&mut self, _: &Transport, _: Option<io::Error>) {
            trace!("the second lost it");
            self.0.set_result(()).unwrap();
        }
    }
    in_a_task(async || {
        let ended = get_running_loop()?.create_future();
        let mut connection = connection(Manner::Plain).await?;
        let second = Rc::new(RefCell::new(Second(ended.clone())));
        connection.transport.set_protocol(second.clone());
        let is_it = connection
            .transport
            .get_protocol()
            .is_some_and(|now| Rc::as_ptr(&now).addr() == Rc::as_ptr(&second).addr());
        trace!("is it: {}", is_it.show());
        connection.writer.write(b"hello")?;
        connection.writer.write_eof();
        ended.await?;
        Ok(())
    });
}

/// TR-06
#[test]
fn an_empty_write_is_nothing() {
    in_a_task(async || {
        let Connection { transport, ended, mut reader, writer: _writer, .. } = connection(Manner::Plain).await?;
        transport.write(b"")?;
        trace!("buffered: {}", transport.write_buffer_size());
        transport.write(b"something")?;
        transport.close();
        trace!("read {}", reader.read_to_end().await?.show());
        ended.await?;
        Ok(())
    });
}

/// TCP-01, TR-01
#[test]
fn a_connection_is_made_before_it_is_given() {
    in_a_task(async || {
        let lp = get_running_loop()?;
        let closes = |_: StreamReader, writer: StreamWriter| {
            writer.start_close();
            std::future::ready(())
        };
        let server = start_server("127.0.0.1:0", closes).await?;
        let (made, ended) = (lp.create_future(), lp.create_future());
        let (tells, ends) = (made.clone(), ended.clone());
        let eof = lp.create_future();
        let factory = move || Traced { manner: Manner::Plain, made: tells, eof, ended: ends };
        let address = server.local_addr().expect("it listens");
        let (transport, _) = lp.create_connection(factory, address, ConnectOptions::default()).await?;
        trace!("given {}", made.await?.is_same(&transport).show());
        ended.await?;
        Ok(())
    });
}

/// SRV-01, SRV-15
#[test]
fn a_server_may_start_later() {
    in_a_task(async || {
        let options = ServerOptions::default().start_serving(false);
        let server = get_running_loop()?.create_server(|| Silent, "127.0.0.1:0", options).await?;
        trace!("serving: {}", server.is_serving().show());
        server.start_serving().await?;
        trace!("serving: {}", server.is_serving().show());
        attempt("again", server.start_serving().await);
        Ok(())
    });
}

/// SRV-12
#[test]
fn a_closed_server_keeps_its_connections() {
    in_a_task(async || {
        let Connection { ended, mut writer, server, .. } = connection(Manner::Plain).await?;
        server.close();
        server.close();
        trace!("serving: {} sockets: {}", server.is_serving().show(), server.local_addrs().len());
        writer.write(b"still there")?;
        writer.write_eof();
        ended.await?;
        Ok(())
    });
}

/// SRV-17, SRV-18
#[test]
fn one_serve_forever_at_a_time() {
    in_a_task(async || {
        let options = ServerOptions::default();
        let server = Rc::new(get_running_loop()?.create_server(|| Silent, "127.0.0.1:0", options).await?);
        let serves = Rc::clone(&server);
        let task = create_task(async move { _ = serves.serve_forever().await })?;
        yield_now().await;
        if server.serve_forever().await.is_err() {
            trace!("refused while served");
        }
        task.cancel();
        attempt("served", task.await);
        trace!("serving: {}", server.is_serving().show());
        if server.serve_forever().await.is_err() {
            trace!("refused once closed");
        }
        Ok(())
    });
}

/// SRV-13
#[test]
fn wait_closed_waits_for_the_connections() {
    in_a_task(async || {
        let Connection { writer, server, .. } = connection(Manner::Plain).await?;
        let server = Rc::new(server);
        let waits = Rc::clone(&server);
        let task = create_task(async move {
            waits.wait_closed().await;
            trace!("closed");
        })?;
        yield_now().await;
        server.close();
        for _ in 0..3 {
            yield_now().await;
        }
        trace!("done: {}", task.done().show());
        writer.start_close();
        task.await?;
        Ok(())
    });
}

/// SRV-14
#[test]
fn a_server_can_close_its_clients() {
    in_a_task(async || {
        let Connection { ended, mut reader, writer: _writer, server, .. } = connection(Manner::Plain).await?;
        server.close_clients();
        trace!("serving: {}", server.is_serving().show());
        trace!("read {}", reader.read_to_end().await?.show());
        ended.await?;
        Ok(())
    });
}

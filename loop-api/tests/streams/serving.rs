//! Servers and their handlers.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::fmt;
use std::future::ready;
use std::io::ErrorKind;
use std::rc::Rc;

use loop_api::{
    ConnectOptions, DEFAULT_LIMIT, Error, LoopError, ServerOptions, SockAddr, TaskRef, open_connection,
    open_connection_with, start_server, start_server_with,
};

use crate::logs::{capture, complaints};
use crate::world::{Reports, kind, run, some_passes, until};

#[test]
fn a_server_and_its_clients_talk() {
    run(async |_| {
        let server = start_server("127.0.0.1:0", |mut reader, mut writer| async move {
            while let Some(line) = reader.readline().await? {
                writer.write(&line)?;
                writer.drain().await?;
            }
            writer.close().await
        })
        .await?;
        let address = server.local_addr().unwrap();
        let clients: Vec<_> = (0..20)
            .map(|client| {
                loop_api::create_task(async move {
                    let (mut reader, mut writer) = open_connection(address).await?;
                    for number in 0..20 {
                        let line = format!("client {client}, line {number}\n");
                        writer.write(line.as_bytes())?;
                        assert_eq!(reader.readline().await?.as_deref(), Some(line.as_bytes()));
                    }
                    writer.close().await
                })
            })
            .collect::<Result<_, _>>()?;
        for client in clients {
            client.await??;
        }
        server.close();
        server.wait_closed().await;
        assert_eq!(server.connection_count(), 0);
        Ok(())
    });
}

/// STRM-19.
#[test]
fn the_handler_is_called_per_connection_and_its_coroutine_is_a_task() {
    run(async |lp| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&log);
        let server = start_server("127.0.0.1:0", move |_, mut writer| {
            // Called from the loop, not from a task.
            kept.borrow_mut().push(("called", loop_api::current_task().unwrap().is_some()));
            let log = Rc::clone(&kept);
            async move {
                log.borrow_mut().push(("runs", loop_api::current_task()?.is_some()));
                writer.close().await
            }
        })
        .await?;
        for round in 1..3 {
            let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
            reader.read_to_end().await?;
            writer.close().await?;
            until(|| log.borrow().len() == 2 * round).await;
        }
        assert_eq!(*log.borrow(), [("called", false), ("runs", true), ("called", false), ("runs", true)]);
        server.close();
        drop(lp);
        Ok(())
    });
}

/// STRM-19.
#[test]
fn a_plain_function_will_do() {
    run(async |_| {
        let server = start_server("127.0.0.1:0", |_, mut writer| {
            writer.write(b"the time is now").unwrap();
            writer.start_close();
            ready(())
        })
        .await?;
        let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
        assert_eq!(reader.read_to_end().await?, b"the time is now");
        writer.close().await?;
        server.close();
        Ok(())
    });
}

#[derive(Debug, PartialEq)]
struct Refused(u32);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl StdError for Refused {}

/// STRM-20.
#[test]
fn a_handler_that_fails_is_reported_and_its_connection_closed() {
    run(async |lp| {
        let reports = Reports::of(&lp);
        let server = start_server("127.0.0.1:0", |_reader, mut writer| async move {
            writer.write(b"no")?;
            Err::<(), Box<dyn StdError + Send + Sync>>(Refused(7).into())
        })
        .await?;
        let ((), records) = {
            let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
            assert_eq!(reader.read_to_end().await?, b"no", "what was written is still sent");
            writer.close().await?;
            capture(|| ())
        };
        assert!(records.is_empty());
        let reports = reports.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert_eq!(reports[0].message.as_deref(), Some("Unhandled exception in client_connected_cb"));
        assert!(reports[0].get("transport").unwrap().contains("Transport"), "{reports:?}");
        assert_eq!(reports[0].exception.as_ref().unwrap().downcast_ref(), Some(&Refused(7)));
        server.close();
        server.wait_closed().await;
        Ok(())
    });
}

/// STRM-20.
#[test]
fn a_handler_that_fails_is_not_said_to_have_forgotten_its_writer() {
    let ((), records) = capture(|| {
        run(async |_| {
            let server = start_server("127.0.0.1:0", |_reader, _writer| async { Err("no") }).await?;
            let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
            assert_eq!(reader.read_to_end().await?, b"");
            writer.close().await?;
            server.close();
            server.wait_closed().await;
            Ok(())
        });
    });
    let complaints = complaints(&records);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("client_connected_cb") && complaints[0].contains("exception: no"), "{complaints:?}");
}

/// STRM-20.
#[test]
fn a_handler_that_panics_is_reported_and_its_connection_closed() {
    run(async |lp| {
        let reports = Reports::of(&lp);
        let server = start_server("127.0.0.1:0", |mut reader, _writer| async move {
            let line = reader.readline().await?;
            assert!(line.is_none(), "what is this?");
            Ok::<_, Error>(())
        })
        .await?;
        let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
        writer.write(b"hello\n")?;
        assert_eq!(reader.read_to_end().await?, b"");
        writer.close().await?;
        let reports = reports.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert_eq!(reports[0].message.as_deref(), Some("Unhandled exception in client_connected_cb"));
        assert_eq!(reports[0].panic().unwrap().message(), "what is this?");
        server.close();
        Ok(())
    });
}

/// STRM-20.
#[test]
fn a_handler_that_is_cancelled_is_closed_in_silence() {
    run(async |lp| {
        let reports = Reports::of(&lp);
        let tasks: Rc<RefCell<Vec<TaskRef>>> = Rc::default();
        let found = Rc::clone(&tasks);
        let server = start_server("127.0.0.1:0", move |mut reader, _writer| {
            let found = Rc::clone(&found);
            async move {
                found.borrow_mut().extend(loop_api::current_task()?);
                reader.read(1).await?;
                Ok::<_, Error>(())
            }
        })
        .await?;
        let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
        until(|| !tasks.borrow().is_empty()).await;
        tasks.borrow()[0].cancel();
        assert_eq!(reader.read_to_end().await?, b"");
        writer.close().await?;

        // What it awaited was cancelled, which is the same to asyncio.
        let other = start_server("127.0.0.1:0", |_reader, _writer| async {
            let inner = loop_api::create_task(std::future::pending::<()>())?;
            inner.cancel();
            inner.await?;
            Ok::<_, Error>(())
        })
        .await?;
        let (mut reader, mut writer) = open_connection(other.local_addr().unwrap()).await?;
        assert_eq!(reader.read_to_end().await?, b"");
        writer.close().await?;
        assert!(reports.is_empty(), "{:?}", reports.take());
        server.close();
        other.close();
        Ok(())
    });
}

/// STRM-20.
#[test]
fn a_handler_that_returns_closes_nothing() {
    run(async |_| {
        let halves = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&halves);
        let server = start_server("127.0.0.1:0", move |reader, writer| {
            kept.borrow_mut().push((reader, writer));
            ready(())
        })
        .await?;
        let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
        until(|| !halves.borrow().is_empty()).await;
        some_passes().await;
        let (mut far_reader, mut far_writer) = halves.borrow_mut().pop().unwrap();
        assert!(!far_writer.is_closing());
        writer.write(b"hello")?;
        assert_eq!(far_reader.readexactly(5).await?, b"hello");
        far_writer.write(b"bye")?;
        far_writer.close().await?;
        assert_eq!(reader.read_to_end().await?, b"bye");
        writer.close().await?;
        server.close();
        Ok(())
    });
}

/// STRM-23: in Rust, a handler that returns has let go of what it was given.
#[test]
fn a_handler_that_forgets_its_writer_has_it_closed_with_a_warning() {
    let ((), records) = capture(|| {
        run(async |_| {
            let server = start_server("127.0.0.1:0", |_reader, mut writer| async move {
                writer.write(b"hello").unwrap();
            })
            .await?;
            let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
            assert_eq!(reader.read_to_end().await?, b"hello");
            writer.close().await?;
            server.close();
            server.wait_closed().await;
            Ok(())
        });
    });
    let complaints = complaints(&records);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("unclosed stream"), "{complaints:?}");
}

#[test]
fn a_handler_function_that_panics_is_reported_and_the_server_goes_on() {
    run(async |lp| {
        let reports = Reports::of(&lp);
        let calls = Cell::new(0);
        let server = start_server("127.0.0.1:0", move |_reader, writer| {
            calls.set(calls.get() + 1);
            assert!(calls.get() > 1, "not the first");
            writer.start_close();
            ready(())
        })
        .await?;
        for _ in 0..2 {
            let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
            assert_eq!(reader.read_to_end().await?, b"");
            writer.close().await?;
        }
        let reports = reports.take();
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert_eq!(reports[0].panic().unwrap().message(), "not the first");
        server.close();
        server.wait_closed().await;
        Ok(())
    });
}

#[test]
fn serve_forever_ends_when_it_is_cancelled_and_waits_for_the_connections() {
    run(async |_| {
        let options = ServerOptions::default().start_serving(false);
        let handler = |mut reader: loop_api::StreamReader, mut writer: loop_api::StreamWriter| async move {
            let line = reader.readline().await?.unwrap_or_default();
            writer.write(&line)?;
            writer.close().await
        };
        let server = start_server_with("127.0.0.1:0", handler, options, DEFAULT_LIMIT).await?;
        assert!(!server.is_serving());
        let serving = loop_api::create_task({
            let server = server.clone();
            async move { server.serve_forever().await }
        })?;
        until(|| server.is_serving()).await;
        server.start_serving().await?;
        let (mut reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
        until(|| server.connection_count() == 1).await;
        serving.cancel();
        some_passes().await;
        assert!(!serving.done(), "a connection is open");
        writer.write(b"hello\n")?;
        assert_eq!(reader.read_to_end().await?, b"hello\n");
        assert!(serving.await.unwrap_err().is_cancelled());
        writer.close().await?;
        let refused = server.serve_forever().await;
        assert!(matches!(refused, Err(Error::Loop(LoopError::ServerClosed))), "{refused:?}");
        Ok(())
    });
}

#[test]
fn open_connection_tells_why_it_failed() {
    run(async |_| {
        let unused = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let error = open_connection(unused).await.unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::ConnectionRefused), "{error:?}");
        assert!(error.to_string().contains(&unused.to_string()), "{error}");
        Ok(())
    });
    let outside = futures_util::FutureExt::now_or_never(open_connection("127.0.0.1:1")).expect("it does not wait");
    assert!(matches!(outside, Err(Error::Loop(LoopError::NoRunningLoop))), "{outside:?}");
}

#[test]
fn open_connection_takes_options() {
    run(async |_| {
        let server = start_server("127.0.0.1:0", |_, mut writer| async move { writer.close().await }).await?;
        let options = ConnectOptions::default().local_addr(("127.0.0.2", 0));
        let (_, mut writer) = open_connection_with(server.local_addr().unwrap(), options, 100).await?;
        assert_eq!(writer.sockname().unwrap().as_socket().unwrap().ip().to_string(), "127.0.0.2");
        writer.close().await?;
        server.close();
        Ok(())
    });
}

#[test]
fn unix_sockets_and_ready_made_ones_are_streams_too() {
    run(async |lp| {
        let path = std::env::temp_dir().join(format!("loop-api-streams-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let server = start_server(SockAddr::unix(&path)?, |mut reader, mut writer| async move {
            let line = reader.readline().await?.unwrap_or_default();
            writer.write(&line)?;
            writer.close().await
        })
        .await?;
        let (mut reader, mut writer) = open_connection(SockAddr::unix(&path)?).await?;
        writer.write(b"by name\n")?;
        assert_eq!(reader.read_to_end().await?, b"by name\n");
        writer.close().await?;
        server.close();
        std::fs::remove_file(&path)?;

        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        let (mut reader, mut writer) = open_connection(lp.adopt_socket(near)?).await?;
        let (mut far_reader, mut far_writer) = open_connection(lp.adopt_socket(far)?).await?;
        writer.write(b"ready made")?;
        writer.close().await?;
        assert_eq!(far_reader.read_to_end().await?, b"ready made");
        far_writer.close().await?;
        assert_eq!(reader.read(1).await?, b"");
        Ok(())
    });
}

/// Nothing of a server outlives it: the handler goes with the last of its connections.
#[test]
fn the_handler_is_let_go_of() {
    let token = Rc::new(());
    let held = Rc::clone(&token);
    run(async |_| {
        let server = start_server("127.0.0.1:0", move |mut reader, mut writer| {
            let held = Rc::clone(&held);
            async move {
                reader.read(1).await?;
                drop(held);
                writer.close().await
            }
        })
        .await?;
        let (_reader, mut writer) = open_connection(server.local_addr().unwrap()).await?;
        let (_other, _left_open) = open_connection(server.local_addr().unwrap()).await?;
        until(|| Rc::strong_count(&token) == 4).await;
        writer.close().await?;
        until(|| Rc::strong_count(&token) == 3).await;
        Ok(())
    });
    assert_eq!(Rc::strong_count(&token), 1);
}

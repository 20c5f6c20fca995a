//! The limit on lines and on what precedes a separator, to the byte.

use loop_api::{
    ConnectOptions, DEFAULT_LIMIT, Error, LoopError, ServerOptions, StreamReader, open_connection,
    open_connection_with, start_server, start_server_with,
};

use crate::world::{on_both_sides, run, until};

/// STRM-01, CONST-04.
#[test]
fn the_limit_is_64_kib_unless_told_otherwise_and_never_zero() {
    assert_eq!(DEFAULT_LIMIT, 65_536);
    assert_eq!(StreamReader::new().limit(), DEFAULT_LIMIT);
    run(async |event_loop| {
        let limits = event_loop.create_future();
        let found = limits.clone();
        let server = start_server("127.0.0.1:0", move |reader, mut writer| {
            let found = found.clone();
            async move {
                found.set_result(reader.limit())?;
                writer.close().await
            }
        })
        .await?;
        let address = server.local_addr().unwrap();
        let (reader, mut writer) = open_connection(address).await?;
        assert_eq!((reader.limit(), limits.await?), (DEFAULT_LIMIT, DEFAULT_LIMIT));
        writer.close().await?;

        let (reader, mut writer) = open_connection_with(address, ConnectOptions::default(), 1).await?;
        assert_eq!(reader.limit(), 1);
        writer.close().await?;
        server.close();

        let refused = |error| matches!(error, Error::Loop(LoopError::InvalidArgument(_)));
        assert!(refused(open_connection_with(address, ConnectOptions::default(), 0).await.unwrap_err()));
        let handler = |_, _| async {};
        assert!(refused(start_server_with("127.0.0.1:0", handler, ServerOptions::default(), 0).await.unwrap_err()));
        assert!(refused(StreamReader::with_limit(0).unwrap_err()));
        Ok(())
    });
}

/// STRM-06.
#[test]
fn a_line_that_is_too_long_is_dropped_up_to_its_end() {
    on_both_sides(5, async |mut reader, _writer, mut peer| {
        peer.send(b"12345\n123456\nnext\n").await;
        until(|| format!("{reader:?}").contains("18 bytes")).await;
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"12345\n"[..]), "exactly the limit is allowed");
        assert!(matches!(reader.readline().await, Err(Error::LineTooLong { limit: 5 })));
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"next\n"[..]));
        Ok(())
    });
}

/// STRM-06.
#[test]
fn a_line_that_is_too_long_without_an_end_is_dropped_as_far_as_it_came() {
    on_both_sides(5, async |mut reader, _writer, mut peer| {
        peer.send(b"12345").await;
        until(|| format!("{reader:?}").contains("5 bytes")).await;
        peer.send(b"6").await;
        assert!(matches!(reader.readline().await, Err(Error::LineTooLong { limit: 5 })));
        assert!(!format!("{reader:?}").contains("bytes"), "{reader:?}");
        peer.send(b"78\nnext\n").await;
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"78\n"[..]));
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"next\n"[..]));
        Ok(())
    });
}

/// STRM-08.
#[test]
fn over_the_limit_the_bytes_stay() {
    on_both_sides(5, async |mut reader, _writer, mut peer| {
        peer.send(b"12345--").await;
        assert_eq!(reader.readuntil("--").await?, b"12345--", "exactly the limit is allowed");

        peer.send(b"123456--").await;
        until(|| format!("{reader:?}").contains("8 bytes")).await;
        for _ in 0..2 {
            let overrun = reader.readuntil("--").await;
            assert!(matches!(overrun, Err(Error::LimitOverrun { consumed: 6, found: true })), "{overrun:?}");
        }
        assert_eq!(reader.readexactly(6).await?, b"123456", "what was consumed can be read otherwise");
        assert_eq!(reader.readuntil("--").await?, b"--");
        Ok(())
    });
}

/// STRM-08.
#[test]
fn what_may_be_the_beginning_of_a_separator_is_not_counted() {
    on_both_sides(5, async |mut reader, _writer, mut peer| {
        // Five bytes, and one with which a separator may begin: it is waited for.
        peer.send(b"12345-").await;
        until(|| format!("{reader:?}").contains("6 bytes")).await;
        let waiting = loop_api::create_task(async move {
            let read = reader.readuntil("--").await;
            (reader, read)
        })?;
        crate::world::some_passes().await;
        assert!(!waiting.done());
        peer.send(b"-").await;
        let (mut reader, read) = waiting.await?;
        assert_eq!(read?, b"12345--");

        // Seven, of which six cannot be part of one.
        peer.send(b"1234567").await;
        let overrun = reader.readuntil("--").await;
        assert!(matches!(overrun, Err(Error::LimitOverrun { consumed: 6, found: false })), "{overrun:?}");
        assert_eq!(reader.read(100).await?, b"1234567");
        Ok(())
    });
}

//! Every kind of read, to its end.

use loop_api::{DEFAULT_LIMIT, Error};

use crate::world::{kind, on_both_sides, pattern, until};

/// STRM-02.
#[test]
fn read_gives_what_there_is_as_soon_as_there_is_something() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        assert_eq!(reader.read(0).await?, b"", "nothing is asked for");
        peer.send(b"hello").await;
        assert_eq!(reader.read(3).await?, b"hel");
        assert_eq!(reader.read(0).await?, b"");
        assert_eq!(reader.read(100).await?, b"lo");
        peer.end_sending();
        assert_eq!(reader.read(100).await?, b"", "only at the end of the stream");
        assert_eq!(reader.read(100).await?, b"");
        Ok(())
    });
}

#[test]
fn read_into_fills_memory_of_the_callers() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        let mut place = [0; 4];
        assert_eq!(reader.read_into(&mut []).await?, 0, "nothing is asked for");
        peer.send(b"hello").await;
        assert_eq!(reader.read_into(&mut place[..3]).await?, 3);
        assert_eq!(&place[..3], b"hel");
        assert_eq!(reader.read_into(&mut place).await?, 2);
        assert_eq!(&place[..2], b"lo");
        peer.end_sending();
        assert_eq!(reader.read_into(&mut place).await?, 0);
        Ok(())
    });
}

/// STRM-03.
#[test]
fn read_to_end_collects_everything_whatever_the_limit() {
    on_both_sides(100, async |mut reader, writer, mut peer| {
        let data = pattern(300_000);
        let sent = data.clone();
        let peer = loop_api::create_task(async move {
            peer.send(&sent).await;
            peer.end_sending();
            peer
        })?;
        assert_eq!(reader.read_to_end().await?, data);
        assert!(reader.at_eof());
        assert_eq!(reader.read_to_end().await?, b"");
        assert!(!writer.is_closing(), "the other direction goes on");
        drop(peer.await?);
        Ok(())
    });
}

/// STRM-04.
#[test]
fn readexactly_gives_exactly_so_many_bytes_whatever_the_limit() {
    on_both_sides(100, async |mut reader, _writer, mut peer| {
        assert_eq!(reader.readexactly(0).await?, b"");
        let data = pattern(50_000);
        let sent = data.clone();
        let peer = loop_api::create_task(async move {
            peer.send(&sent).await;
            peer.send(b"rest").await;
            peer.end_sending();
            peer
        })?;
        assert_eq!(reader.readexactly(1).await?, data[..1]);
        assert_eq!(reader.readexactly(49_999).await?, data[1..]);
        assert_eq!(reader.readexactly(0).await?, b"");
        match reader.readexactly(5).await {
            Err(Error::IncompleteRead { partial, expected: Some(5) }) => assert_eq!(partial, b"rest"),
            other => panic!("the stream ended first: {other:?}"),
        }
        assert!(reader.at_eof(), "what there was went with the error");
        match reader.readexactly(1).await {
            Err(Error::IncompleteRead { partial, expected: Some(1) }) => assert_eq!(partial, b""),
            other => panic!("the stream is over: {other:?}"),
        }
        assert_eq!(reader.readexactly(0).await?, b"", "nothing can be had");
        drop(peer.await?);
        Ok(())
    });
}

/// STRM-05.
#[test]
fn readline_gives_lines_then_the_rest_then_nothing() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        peer.send(b"one\n\nth").await;
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"one\n"[..]));
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"\n"[..]));
        peer.send(b"ree\nfo").await;
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"three\n"[..]));
        peer.send(b"ur").await;
        peer.end_sending();
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"four"[..]));
        assert_eq!(reader.readline().await?, None);
        assert_eq!(reader.readline().await?, None);
        Ok(())
    });
}

#[test]
fn readline_into_appends_to_a_buffer_of_the_callers() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        peer.send(b"one\ntwo").await;
        peer.end_sending();
        let mut line = b"> ".to_vec();
        assert_eq!(reader.readline_into(&mut line).await?, 4);
        assert_eq!(reader.readline_into(&mut line).await?, 3);
        assert_eq!(reader.readline_into(&mut line).await?, 0);
        assert_eq!(line, b"> one\ntwo");
        Ok(())
    });
}

/// STRM-07.
#[test]
fn readuntil_gives_what_is_before_the_separator_and_it() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        peer.send(b"GET /\r\n\r").await;
        until(|| format!("{reader:?}").contains("8 bytes")).await;
        peer.send(b"\nbody").await;
        assert_eq!(reader.readuntil("\r\n\r\n").await?, b"GET /\r\n\r\n");
        peer.end_sending();
        match reader.readuntil(b"\r\n").await {
            Err(Error::IncompleteRead { partial, expected: None }) => assert_eq!(partial, b"body"),
            other => panic!("the stream ended first: {other:?}"),
        }
        match reader.readuntil("\n").await {
            Err(Error::IncompleteRead { partial, expected: None }) => assert_eq!(partial, b""),
            other => panic!("what there was went with the error: {other:?}"),
        }
        Ok(())
    });
}

/// STRM-09.
#[test]
fn of_several_separators_the_one_that_ends_first_counts() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        peer.send(b"one;two\r\nthree\nfour").await;
        let separators: &[&[u8]] = &[b"\r\n", b";", b"\n"];
        assert_eq!(reader.read_until_any(separators).await?, b"one;");
        assert_eq!(reader.read_until_any(separators).await?, b"two\r\n");
        assert_eq!(reader.read_until_any(separators).await?, b"three\n");
        for refused in [reader.read_until_any(&[]).await, reader.readuntil("").await] {
            assert!(refused.unwrap_err().to_string().contains("separator"));
        }
        assert_eq!(reader.read(10).await?, b"four", "a refusal costs nothing");
        Ok(())
    });
}

/// STRM-10.
#[test]
fn lines_are_a_stream() {
    use futures_util::{StreamExt as _, TryStreamExt as _};
    on_both_sides(10, async |mut reader, _writer, mut peer| {
        peer.send(b"one\ntwo\nthr").await;
        {
            let mut lines = reader.lines();
            assert_eq!(lines.next().await.unwrap()?, b"one\n");
            assert_eq!(lines.next().await.unwrap()?, b"two\n");
        }
        assert_eq!(reader.read(1).await?, b"t", "what was not given is there");
        peer.send(b"ee\nfar too long a line\nfour\nfive").await;
        peer.end_sending();
        let mut lines = reader.lines();
        assert_eq!(lines.try_next().await?.as_deref(), Some(&b"hree\n"[..]));
        assert!(matches!(lines.try_next().await, Err(Error::LineTooLong { limit: 10 })));
        assert_eq!(lines.try_collect::<Vec<_>>().await?, [&b"four\n"[..], b"five"]);
        Ok(())
    });
}

/// STRM-13.
#[test]
fn an_error_of_the_connection_is_every_later_reads() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, writer, mut peer| {
        peer.send(b"some\nbytes\n").await;
        until(|| format!("{reader:?}").contains("11 bytes")).await;
        peer.reset();
        until(|| reader.exception().is_some()).await;
        for _ in 0..2 {
            let errors = [
                reader.read(1).await.unwrap_err(),
                reader.read(0).await.unwrap_err(),
                reader.read_into(&mut [0]).await.unwrap_err(),
                reader.read_to_end().await.unwrap_err(),
                reader.readexactly(0).await.unwrap_err(),
                reader.readline().await.unwrap_err(),
                reader.readline_into(&mut Vec::new()).await.unwrap_err(),
                reader.readuntil(b"\n").await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(kind(&error), Some(std::io::ErrorKind::ConnectionReset), "{error:?}");
                assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
            }
        }
        {
            use futures_util::StreamExt as _;
            let mut lines = reader.lines();
            assert!(lines.next().await.unwrap().is_err());
            assert!(lines.next().await.is_none(), "a stream of errors ends with the first");
        }
        assert!(!reader.at_eof());
        assert!(writer.is_closing());
        Ok(())
    });
}

/// STRM-14.
#[test]
fn at_eof_means_over_and_read() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        assert!(!reader.at_eof());
        peer.send(b"x").await;
        peer.end_sending();
        until(|| format!("{reader:?}").contains("1 bytes eof")).await;
        assert!(!reader.at_eof(), "one byte is left");
        reader.read(1).await?;
        assert!(reader.at_eof());
        Ok(())
    });
}

#[test]
fn closing_ends_a_read_that_waits() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, writer, _peer| {
        let read = loop_api::create_task(async move { reader.read(10).await })?;
        loop_api::yield_now().await;
        writer.start_close();
        assert_eq!(read.await??, b"");
        Ok(())
    });
}

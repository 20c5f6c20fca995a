//! How connections end.

use std::io::ErrorKind;

use loop_api::{DEFAULT_LIMIT, new_event_loop, open_connection};

use crate::logs::{capture, complaints};
use crate::world::{Side, TOO_MUCH, connected, kind, on_both_sides, run, until};

/// STRM-18.
#[test]
fn close_sends_what_was_written_and_waits_for_the_end() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, mut writer, mut peer| {
        let received = loop_api::create_task(async move { peer.receive_all().await.len() })?;
        writer.write(&vec![7; TOO_MUCH])?;
        writer.close().await?;
        assert!(writer.transport().is_closed());
        assert_eq!(received.await?, TOO_MUCH);
        writer.close().await?;
        assert_eq!(reader.read(1).await?, b"", "reading is over as well");
        Ok(())
    });
}

/// STRM-18.
#[test]
fn any_number_may_wait_for_the_end() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, writer, _peer| {
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let writer = writer.clone();
                loop_api::create_task(async move { writer.wait_closed().await })
            })
            .collect::<Result<_, _>>()?;
        loop_api::yield_now().await;
        assert!(waiting.iter().all(|waiting| !waiting.done()), "waiting does not close");
        writer.start_close();
        for closed in waiting {
            closed.await??;
        }
        writer.wait_closed().await
    });
}

/// STRM-18.
#[test]
fn whoever_waits_for_the_end_learns_what_broke_the_connection() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, peer| {
        let waiting = loop_api::create_task({
            let writer = writer.clone();
            async move { writer.wait_closed().await }
        })?;
        loop_api::yield_now().await;
        peer.reset();
        for error in [waiting.await?, writer.wait_closed().await, writer.close().await].map(Result::unwrap_err) {
            assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset));
        }
        Ok(())
    });
}

/// STRM-23.
#[test]
fn a_writer_that_is_let_go_of_is_closed_with_a_warning() {
    for side in [Side::Opened, Side::Accepted] {
        let (_, records) = capture(|| {
            run(async |_| {
                let (mut reader, mut writer, mut peer) = connected(side, DEFAULT_LIMIT).await?;
                let other = writer.clone();
                writer.write(b"the last")?;
                drop(writer);
                loop_api::yield_now().await;
                assert!(!other.is_closing(), "a clone is left");
                drop(other);
                assert_eq!(peer.receive_all().await, b"the last");
                assert_eq!(reader.read(1).await?, b"");
                Ok(())
            });
        });
        let complaints = complaints(&records);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains("unclosed stream") && complaints[0].contains("peer="), "{complaints:?}");
    }
}

/// STRM-23.
#[test]
fn a_writer_that_was_closed_goes_in_silence() {
    let (_, records) = capture(|| {
        on_both_sides(DEFAULT_LIMIT, async |reader, writer, _peer| {
            writer.start_close();
            drop((reader, writer));
            Ok(())
        });
        on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, _peer| writer.close().await);
        on_both_sides(DEFAULT_LIMIT, async |reader, _writer, peer| {
            peer.reset();
            until(|| reader.exception().is_some()).await;
            Ok(())
        });
    });
    assert!(complaints(&records).is_empty(), "{records:?}");
}

/// STRM-23.
#[test]
fn on_a_closed_loop_there_is_only_the_warning() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lp = new_event_loop().unwrap();
    let address = listener.local_addr().unwrap();
    let (reader, writer) = lp.run_until_complete(open_connection(address)).unwrap().unwrap();
    let (_, records) = capture(|| {
        lp.close().unwrap();
        drop((reader, writer));
    });
    let complaints = complaints(&records);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("unclosed stream"), "{complaints:?}");
}

/// Without its reader a connection goes on: what arrives is dropped, and the end is noticed.
#[test]
fn a_writer_lives_without_its_reader() {
    on_both_sides(1000, async |reader, mut writer, mut peer| {
        peer.send(&[7; 5000]).await;
        until(|| !writer.transport().is_reading()).await;
        drop(reader);
        assert!(writer.transport().is_reading(), "nobody is held up by a reader that is gone");
        peer.send(&vec![7; 10 << 20]).await;
        writer.write(b"still here")?;
        writer.drain().await?;
        assert_eq!(peer.receive(10).await, b"still here");
        peer.reset();
        let error = writer.wait_closed().await.unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset));
        Ok(())
    });
}

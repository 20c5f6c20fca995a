//! Writing, and waiting for a peer that is slow to read.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

use loop_api::{DEFAULT_LIMIT, Error, LoopError};

use crate::world::{TOO_MUCH, kind, on_both_sides, pair, pattern, run, some_passes, until};

/// STRM-21.
#[test]
fn what_is_written_arrives_in_order() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, mut peer| {
        let data = pattern(300_000);
        writer.write(b"")?;
        writer.write(&data[..10])?;
        writer.writelines(&[&data[10..20], &data[20..20], &data[20..100_000]])?;
        let many: Vec<&[u8]> = data[100_000..].chunks(777).collect();
        writer.writelines(&many)?;
        writer.writelines(&[Vec::new(), b"owned ".to_vec(), b"pieces".to_vec()])?;
        let received = loop_api::create_task(async move { peer.receive(300_012).await })?;
        writer.drain().await?;
        let received = received.await?;
        assert!(received[..300_000] == data);
        assert_eq!(&received[300_000..], b"owned pieces");
        assert_eq!(writer.transport().write_buffer_size(), 0);
        Ok(())
    });
}

/// STRM-21.
#[test]
fn a_writer_forwards_to_its_transport() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, mut peer| {
        assert!(writer.can_write_eof());
        assert!(!writer.is_closing());
        assert_eq!(writer.peername().unwrap().as_socket(), writer.transport().peername().unwrap().as_socket());
        assert_eq!(writer.sockname().unwrap().as_socket(), writer.transport().sockname().unwrap().as_socket());
        assert_ne!(writer.sockname().unwrap().as_socket(), writer.peername().unwrap().as_socket());
        assert!(format!("{writer:?}").starts_with("<StreamWriter <Transport open"), "{writer:?}");

        writer.write(b"all")?;
        writer.write_eof();
        writer.write_eof();
        assert_eq!(peer.receive_all().await, b"all");
        for refused in [writer.write(b"more"), writer.writelines(&[b"more"])] {
            assert!(matches!(refused, Err(Error::Loop(LoopError::WriteAfterEof))), "{refused:?}");
        }
        writer.start_close();
        assert!(writer.is_closing());
        assert!(writer.peername().is_some(), "it still answers");
        writer.write_eof();
        writer.wait_closed().await
    });
}

#[test]
fn the_receiving_side_goes_on_when_the_sending_side_has_ended() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, mut writer, mut peer| {
        writer.write(b"question")?;
        writer.write_eof();
        assert_eq!(peer.receive_all().await, b"question");
        peer.send(b"answer").await;
        peer.end_sending();
        assert_eq!(reader.read_to_end().await?, b"answer");
        assert!(!writer.is_closing());
        writer.close().await
    });
}

#[test]
fn the_sending_side_goes_on_when_the_receiving_side_has_ended() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, mut writer, mut peer| {
        peer.end_sending();
        assert_eq!(reader.readline().await?, None);
        assert!(!writer.is_closing(), "the end of the one side does not close the other");
        writer.write(b"late, but here")?;
        writer.drain().await?;
        writer.close().await?;
        assert_eq!(peer.receive_all().await, b"late, but here");
        Ok(())
    });
}

/// STRM-15.
#[test]
fn drain_waits_while_the_peer_is_slow_and_only_then() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, mut peer| {
        let lp = loop_api::get_running_loop()?;
        writer.write(b"little")?;
        let before = lp.passes();
        writer.drain().await?;
        assert_eq!(lp.passes(), before, "below the limits it does not wait");

        writer.write(&vec![7; TOO_MUCH])?;
        let done = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (writer, done) = (writer.clone(), Rc::clone(&done));
            loop_api::create_task(async move {
                writer.drain().await?;
                done.set(done.get() + 1);
                Ok::<_, Error>(())
            })?;
        }
        some_passes().await;
        assert_eq!(done.get(), 0, "{writer:?}");
        let unsent = writer.transport().write_buffer_size();
        assert!(unsent > 64 * 1024);
        // As much as leaves just more than the low water mark.
        assert_eq!(peer.receive(6).await, b"little");
        assert_eq!(peer.receive(TOO_MUCH).await.len(), TOO_MUCH);
        until(|| done.get() == 3).await;
        Ok(())
    });
}

/// A peer that never reads stops its writer, and what is kept for it stays bounded.
#[test]
fn a_writer_that_drains_keeps_little_for_a_peer_that_never_reads() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, writer, peer| {
        let flood = loop_api::create_task({
            let mut writer = writer.clone();
            async move {
                loop {
                    writer.write(&[7; 16 * 1024])?;
                    writer.drain().await?;
                }
                #[allow(unreachable_code)]
                Ok::<_, Error>(())
            }
        })?;
        // Until the kernel takes no more.
        until(|| writer.transport().write_buffer_size() > 64 * 1024).await;
        some_passes().await;
        let kept = writer.transport().write_buffer_size();
        assert!(kept <= 64 * 1024 + 16 * 1024, "{kept} bytes are kept: the high water mark and one write");
        assert!(!flood.done());
        drop(peer);
        let outcome = flood.await?;
        assert!(outcome.is_err(), "the writer learns that its peer is gone");
        Ok(())
    });
}

#[test]
fn a_slow_reader_slows_its_writer_down() {
    run(async |_| {
        let ((mut reader, _near), (_far, mut writer)) = pair(1000).await?;
        let data = pattern(8 * 1024 * 1024);
        let sent = data.clone();
        let sender = loop_api::create_task(async move {
            for piece in sent.chunks(10_000) {
                writer.write(piece)?;
                writer.drain().await?;
            }
            writer.close().await
        })?;
        // Nobody reads: everything between the two fills up, and the writer waits.
        some_passes().await;
        let mut received = Vec::new();
        while !reader.at_eof() {
            received.extend(reader.read(100_000).await?);
        }
        assert!(received == data);
        sender.await?
    });
}

/// STRM-16.
#[test]
fn drain_fails_with_the_readers_error() {
    on_both_sides(DEFAULT_LIMIT, async |reader, writer, peer| {
        peer.reset();
        until(|| reader.exception().is_some()).await;
        let error = writer.drain().await.unwrap_err();
        assert_eq!((kind(&error), error.raw_os_error()), (Some(ErrorKind::ConnectionReset), Some(libc::ECONNRESET)));
        drop(reader);
        assert_eq!(writer.drain().await.unwrap_err().raw_os_error(), Some(libc::ECONNRESET));
        Ok(())
    });
}

/// STRM-16.
#[test]
fn drain_fails_once_the_connection_is_lost() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, _peer| {
        writer.close().await?;
        let error = writer.drain().await.unwrap_err();
        assert_eq!((kind(&error), error.to_string().as_str()), (Some(ErrorKind::ConnectionReset), "connection lost"));
        Ok(())
    });
}

/// STRM-16.
#[test]
fn drain_on_a_closing_stream_gives_up_a_pass() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, _peer| {
        let lp = loop_api::get_running_loop()?;
        // Not all of it can be sent, so the stream is closing for a while.
        writer.transport().set_write_buffer_limits(Some(2 * TOO_MUCH), None)?;
        writer.write(&vec![7; TOO_MUCH])?;
        writer.start_close();
        let before = lp.passes();
        writer.drain().await?;
        assert_eq!(lp.passes(), before + 1);

        // Without a peer, a loop of writes and drains comes to an end.
        writer.transport().abort();
        let mut rounds = 0;
        let error = loop {
            writer.write(b"into the void")?;
            if let Err(error) = writer.drain().await {
                break error;
            }
            rounds += 1;
        };
        assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset));
        assert_eq!(rounds, 0);
        Ok(())
    });
}

/// STRM-17.
#[test]
fn a_connection_that_ends_in_order_lets_drain_return() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, _peer| {
        writer.write(&vec![7; TOO_MUCH])?;
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let writer = writer.clone();
                loop_api::create_task(async move { writer.drain().await })
            })
            .collect::<Result<_, _>>()?;
        some_passes().await;
        assert!(waiting.iter().all(|drained| !drained.done()));
        writer.transport().abort();
        for drained in waiting {
            drained.await??;
        }
        Ok(())
    });
}

/// STRM-17.
#[test]
fn a_connection_that_breaks_has_drain_fail() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, peer| {
        writer.write(&vec![7; TOO_MUCH])?;
        let waiting = loop_api::create_task({
            let writer = writer.clone();
            async move { writer.drain().await }
        })?;
        some_passes().await;
        assert!(!waiting.done());
        peer.reset();
        let error = waiting.await?.unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset));
        Ok(())
    });
}

#[test]
fn lines_of_megabytes_pass_in_both_directions() {
    run(async |_| {
        let ((mut reader, mut writer), (mut far_reader, mut far_writer)) = pair(4 << 20).await?;
        let far = loop_api::create_task(async move {
            while let Some(line) = far_reader.readline().await? {
                far_writer.write(&line)?;
                far_writer.drain().await?;
            }
            far_writer.close().await
        })?;
        for len in [3_000_000, 1, 0, 4 << 20, 70_000] {
            let mut line: Vec<u8> = pattern(len);
            line.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
            line.push(b'\n');
            writer.write(&line)?;
            let echo = reader.readline().await?.expect("a line");
            assert!(echo == line, "{} bytes came back of {}", echo.len(), line.len());
        }
        writer.close().await?;
        far.await?
    });
}

//! Both halves as what `futures-io` knows.

use std::io::ErrorKind;

use futures_util::io::{AsyncBufReadExt as _, AsyncReadExt, AsyncWriteExt, copy};
use futures_util::{FutureExt as _, TryStreamExt as _};
use loop_api::{DEFAULT_LIMIT, open_connection, start_server};

use crate::logs::{capture, complaints};
use crate::world::{TOO_MUCH, on_both_sides, pattern, run, some_passes, until};

#[test]
fn a_reader_is_read_through_the_traits() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        peer.send(b"hello, world").await;
        let mut place = [0; 5];
        AsyncReadExt::read_exact(&mut reader, &mut place).await?;
        assert_eq!(&place, b"hello");
        assert_eq!(AsyncReadExt::read(&mut reader, &mut []).await?, 0);
        peer.send(b"\none\ntwo").await;
        peer.end_sending();
        let mut text = String::new();
        reader.read_line(&mut text).await?;
        assert_eq!(text, ", world\n");
        let lines: Vec<String> = futures_util::AsyncBufReadExt::lines(reader).try_collect().await?;
        assert_eq!(lines, ["one", "two"]);
        Ok(())
    });
}

#[test]
fn bytes_are_lent_where_they_lie() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        peer.send(b"hello").await;
        assert_eq!(reader.fill_buf().await?, b"hello");
        let place = reader.fill_buf().await?.as_ptr();
        reader.consume_unpin(2);
        assert_eq!(reader.fill_buf().await?, b"llo");
        assert_eq!(reader.fill_buf().await?.as_ptr(), place.wrapping_add(2), "nothing is moved");
        // More comes while some are lent; other reads see them in order.
        peer.send(b" world").await;
        until(|| format!("{reader:?}").contains("9 bytes")).await;
        assert_eq!(reader.fill_buf().await?, b"llo");
        assert_eq!(reader.read(4).await?, b"llo ");
        assert_eq!(reader.fill_buf().await?, b"world");
        reader.consume_unpin(5);
        assert!(reader.fill_buf().now_or_never().is_none(), "nothing is there");
        peer.end_sending();
        assert_eq!(reader.fill_buf().await?, b"");
        assert!(reader.at_eof());
        Ok(())
    });
}

/// STRM-12, STRM-13 and STRM-14, with bytes that are lent.
#[test]
fn lent_bytes_count_like_others() {
    on_both_sides(10, async |mut reader, writer, mut peer| {
        peer.send(b"twelve bytes").await;
        until(|| format!("{reader:?}").contains(" 12 bytes")).await;
        assert_eq!(reader.fill_buf().await?.len(), 12);
        peer.send(b"and ten...").await;
        until(|| !writer.transport().is_reading()).await;
        reader.consume_unpin(11);
        assert!(!writer.transport().is_reading(), "11 are left");
        reader.consume_unpin(1);
        assert!(writer.transport().is_reading(), "10 are left");
        peer.end_sending();
        until(|| format!("{reader:?}").contains("eof")).await;
        assert!(!reader.at_eof());
        assert_eq!(reader.fill_buf().await?.len(), 10);
        assert!(!reader.at_eof());
        reader.set_exception(ErrorKind::TimedOut);
        assert_eq!(reader.fill_buf().await.unwrap_err().kind(), ErrorKind::TimedOut, "even with bytes left");
        Ok(())
    });
}

#[test]
fn a_poll_that_gave_nothing_took_nothing() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        let mut place = [0; 100];
        assert!(AsyncReadExt::read(&mut reader, &mut place).now_or_never().is_none());
        assert!(reader.fill_buf().now_or_never().is_none());
        peer.send(b"hello").await;
        assert_eq!(reader.readexactly(5).await?, b"hello");
        Ok(())
    });
}

#[test]
fn writing_through_the_traits_waits_for_a_slow_peer() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, mut peer| {
        let data = pattern(TOO_MUCH);
        let flood = loop_api::create_task({
            let (mut writer, data) = (writer.clone(), data.clone());
            async move {
                AsyncWriteExt::write_all(&mut writer, &data).await?;
                AsyncWriteExt::flush(&mut writer).await
            }
        })?;
        some_passes().await;
        assert!(!flood.done());
        let kept = writer.transport().write_buffer_size();
        assert!(kept <= 64 * 1024 + 256 * 1024, "{kept} bytes are kept: the high water mark and one write");
        assert!(peer.receive(TOO_MUCH).await == data);
        flood.await??;
        let pieces = [std::io::IoSlice::new(b"more "), std::io::IoSlice::new(b"pieces")];
        assert_eq!(AsyncWriteExt::write_vectored(&mut writer, &pieces).await?, 11);
        assert_eq!(peer.receive(11).await, b"more pieces");
        Ok(())
    });
}

#[test]
fn closing_through_the_traits_ends_the_sending_side_only() {
    let ((), records) = capture(|| {
        on_both_sides(DEFAULT_LIMIT, async |mut reader, mut writer, mut peer| {
            writer.write(&pattern(TOO_MUCH))?;
            let received = loop_api::create_task(async move {
                let received = peer.receive_all().await;
                peer.send(b"thanks").await;
                peer.end_sending();
                (peer, received.len())
            })?;
            AsyncWriteExt::close(&mut writer).await?;
            assert_eq!(writer.transport().write_buffer_size(), 0, "it waits until everything is sent");
            assert_eq!(reader.read_to_end().await?, b"thanks");
            let (mut peer, received) = received.await?;
            assert_eq!(received, TOO_MUCH);
            AsyncWriteExt::close(&mut writer).await?;
            assert!(AsyncWriteExt::write(&mut writer, b"more").await.is_err());
            drop((reader, writer));
            until(|| peer.sees_the_end()).await;
            Ok(())
        });
    });
    assert!(complaints(&records).is_empty(), "it was closed as well as this trait can: {records:?}");
}

#[test]
fn errors_arrive_through_the_traits() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, mut writer, peer| {
        peer.reset();
        let error = AsyncReadExt::read(&mut reader, &mut [0]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        let error = AsyncWriteExt::write(&mut writer, b"x").await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        Ok(())
    });
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, _peer| {
        writer.start_close();
        let error = AsyncWriteExt::write(&mut writer, b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        writer.wait_closed().await?;
        let error = AsyncWriteExt::write(&mut writer, b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        AsyncWriteExt::close(&mut writer).await?;
        Ok(())
    });
}

/// A proxy made of nothing but the traits.
#[test]
fn foreign_combinators_copy_between_streams() {
    run(async |_| {
        let server = start_server("127.0.0.1:0", |mut reader, mut writer| async move {
            let all = reader.read_to_end().await?;
            writer.write(&all)?;
            writer.close().await
        })
        .await?;
        let target = server.local_addr().unwrap();
        let proxy = start_server("127.0.0.1:0", move |near_reader, mut near_writer| async move {
            let (far_reader, mut far_writer) = open_connection(target).await?;
            let there = async {
                copy(near_reader, &mut far_writer).await?;
                AsyncWriteExt::close(&mut far_writer).await
            };
            let back = async {
                copy(far_reader, &mut near_writer).await?;
                AsyncWriteExt::close(&mut near_writer).await
            };
            futures_util::try_join!(there, back)?;
            Ok::<_, loop_api::Error>(())
        })
        .await?;
        let (mut reader, mut writer) = open_connection(proxy.local_addr().unwrap()).await?;
        let data = pattern(3 << 20);
        writer.write(&data)?;
        writer.write_eof();
        assert!(reader.read_to_end().await? == data);
        writer.close().await?;
        server.close();
        proxy.close();
        Ok(())
    });
}

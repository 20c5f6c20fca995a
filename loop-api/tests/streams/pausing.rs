//! A reader makes a peer wait that sends faster than is read.

use std::cell::RefCell;
use std::rc::Rc;

use futures_util::AsyncBufReadExt as _;
use loop_api::{LoopError, ReadTransport, StreamReader};

use crate::world::{on_both_sides, pattern, run, until};

/// STRM-12.
#[test]
fn above_twice_the_limit_the_transport_is_paused_until_the_limit_is_left() {
    on_both_sides(1000, async |mut reader, writer, mut peer| {
        let transport = writer.transport();
        peer.send(&pattern(2000)).await;
        until(|| format!("{reader:?}").contains(" 2000 bytes")).await;
        assert!(transport.is_reading(), "exactly twice the limit");
        peer.send(b"x").await;
        until(|| format!("{reader:?}").contains(" 2001 bytes")).await;
        assert!(!transport.is_reading());
        assert_eq!(reader.read(1000).await?.len(), 1000);
        assert!(!transport.is_reading(), "1001 are left");
        assert_eq!(reader.read(1).await?.len(), 1);
        assert!(transport.is_reading(), "1000 are left");
        Ok(())
    });
}

/// STRM-12.
#[test]
fn a_read_that_has_to_wait_resumes_the_transport() {
    on_both_sides(1000, async |mut reader, writer, mut peer| {
        let data = pattern(1_000_000);
        peer.send(&data[..5000]).await;
        until(|| !writer.transport().is_reading()).await;
        let sent = data.clone();
        let peer = loop_api::create_task(async move {
            peer.send(&sent[5000..]).await;
            peer
        })?;
        assert_eq!(reader.readexactly(1_000_000).await?, data, "far more than is kept for a read that can wait");
        assert!(writer.transport().is_reading());
        drop(peer.await?);
        Ok(())
    });
}

/// STRM-12.
#[test]
fn every_kind_of_read_lets_the_transport_go_on() {
    on_both_sides(10, async |mut reader, writer, mut peer| {
        let full = b"a line of 20 bytes.\nno end";
        macro_rules! resumed_by {
            ($what:literal, $left:literal, $read:expr) => {
                peer.send(full).await;
                until(|| !writer.transport().is_reading()).await;
                let _ = $read;
                assert!(writer.transport().is_reading(), "after {}: {reader:?}", $what);
                let left = reader.readexactly($left).await?;
                assert_eq!(left, full[full.len() - $left..], "after {}", $what);
            };
        }
        resumed_by!("read", 10, reader.read(16).await?);
        resumed_by!("readexactly", 10, reader.readexactly(16).await?);
        resumed_by!("read_into", 10, reader.read_into(&mut [0; 16]).await?);
        resumed_by!("a line that is too long", 6, reader.readline().await.unwrap_err());
        resumed_by!("readuntil", 10, {
            reader.readuntil(b"li").await?;
            reader.read_until_any(&[b"0 ", b"by"]).await?;
            reader.read(3).await?
        });
        resumed_by!("fill_buf", 3, {
            reader.fill_buf().await?;
            reader.consume_unpin(23);
        });
        Ok(())
    });
}

#[test]
fn a_peer_that_sends_without_end_is_made_to_wait() {
    on_both_sides(1000, async |mut reader, _writer, mut peer| {
        let flood = loop_api::create_task(async move {
            loop {
                peer.send(&[7; 64 * 1024]).await;
            }
        })?;
        for _ in 0..100 {
            crate::world::some_passes().await;
            let kept = reader.feeder();
            let text = format!("{kept:?}");
            let bytes: usize =
                text.split_whitespace().find_map(|word| word.parse().ok()).expect("the reader tells its bytes");
            assert!(bytes <= 2 * 1000 + 256 * 1024, "{bytes} bytes are kept, one receive above the limit at the most");
            assert!(!reader.read(500_000).await?.is_empty());
        }
        flood.cancel();
        Ok(())
    });
}

/// A transport that notes what it is told.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<&'static str>>>);

impl Told {
    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }
}

impl ReadTransport for Told {
    fn pause_reading(&self) -> Result<(), LoopError> {
        self.0.borrow_mut().push("pause");
        Ok(())
    }

    fn resume_reading(&self) {
        self.0.borrow_mut().push("resume");
    }
}

/// STRM-12.
#[test]
fn a_transport_is_told_once_each_time() {
    run(async |_| {
        let told = Told::default();
        let mut reader = StreamReader::with_limit(3)?;
        reader.set_transport(told.clone())?;
        reader.feed_data(b"123456")?;
        assert!(told.take().is_empty());
        reader.feed_data(b"7")?;
        reader.feed_data(b"8")?;
        assert_eq!(told.take(), ["pause"]);
        reader.read(4).await?;
        assert!(told.take().is_empty());
        reader.read(1).await?;
        reader.read(1).await?;
        assert_eq!(told.take(), ["resume"]);
        assert!(reader.set_transport(told.clone()).is_err(), "it has one");

        reader.feed_data(b"1234567")?;
        drop(reader);
        assert_eq!(told.take(), ["pause", "resume"], "a reader that is gone holds nobody up");
        Ok(())
    });
}

/// STRM-24.
#[test]
fn a_transport_that_cannot_be_paused_is_not_asked_again() {
    struct Unstoppable(Told);

    impl ReadTransport for Unstoppable {
        fn pause_reading(&self) -> Result<(), LoopError> {
            self.0.pause_reading()?;
            Err(LoopError::Unsupported("this never stops"))
        }

        fn resume_reading(&self) {
            self.0.resume_reading();
        }
    }

    run(async |_| {
        let told = Told::default();
        let mut reader = StreamReader::with_limit(10)?;
        reader.set_transport(Unstoppable(told.clone()))?;
        let data = pattern(1000);
        for piece in data.chunks(7) {
            reader.feed_data(piece)?;
        }
        assert_eq!(reader.readexactly(1000).await?, data, "everything is kept");
        assert_eq!(told.take(), ["pause"]);
        Ok(())
    });
}

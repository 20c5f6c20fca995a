//! A reader without a connection, fed by hand.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loop_api::{Error, LoopError, StreamReader};

use crate::world::{kind, run};

#[test]
fn what_is_fed_is_read() {
    run(async |_| {
        let mut reader = StreamReader::new();
        reader.feed_data(b"")?;
        reader.feed_data(b"one\n")?;
        reader.feed_data(b"two")?;
        assert_eq!(reader.readline().await?.as_deref(), Some(&b"one\n"[..]));
        let feeder = reader.feeder();
        let read = loop_api::create_task(async move { reader.readexactly(6).await })?;
        loop_api::yield_now().await;
        feeder.feed_data(b"!")?;
        feeder.feed_data(b"!!more")?;
        assert_eq!(read.await??, b"two!!!");
        feeder.feed_data(b"for a reader that is gone")?;
        Ok(())
    });
}

#[test]
fn data_after_the_end_is_refused() {
    run(async |_| {
        let mut reader = StreamReader::new();
        reader.feed_data(b"last")?;
        reader.feed_eof();
        reader.feed_eof();
        for refused in [reader.feed_data(b"x"), reader.feeder().feed_data(b"x")] {
            assert!(matches!(refused, Err(Error::Loop(LoopError::InvalidState(_)))), "{refused:?}");
        }
        assert_eq!(reader.read_to_end().await?, b"last");
        Ok(())
    });
}

/// STRM-13.
#[test]
fn an_exception_goes_to_the_read_that_waits_and_to_every_later_one() {
    run(async |_| {
        let mut reader = StreamReader::new();
        assert!(reader.exception().is_none());
        let feeder = reader.feeder();
        let read = loop_api::create_task(async move {
            let first = reader.read(1).await;
            (first, reader)
        })?;
        loop_api::yield_now().await;
        feeder.set_exception(io::Error::new(io::ErrorKind::InvalidData, "garbled"));
        let (first, mut reader) = read.await?;
        let again = reader.readline().await;
        for error in [first.unwrap_err(), again.unwrap_err()] {
            assert_eq!((kind(&error), error.to_string().as_str()), (Some(io::ErrorKind::InvalidData), "garbled"));
        }
        reader.set_exception(io::ErrorKind::TimedOut);
        assert_eq!(reader.exception().map(|error| error.kind()), Some(io::ErrorKind::TimedOut));
        Ok(())
    });
}

/// A read that was given its data is not overtaken by an error that comes before it looked: asyncio has set its result.
#[test]
fn an_error_behind_the_data_is_the_next_reads() {
    run(async |_| {
        let mut reader = StreamReader::new();
        let feeder = reader.feeder();
        let read = loop_api::create_task(async move {
            let first = reader.read(100).await;
            (first, reader.read(100).await)
        })?;
        loop_api::yield_now().await;
        feeder.feed_data(b"in time")?;
        feeder.set_exception(io::ErrorKind::ConnectionReset);
        let (first, second) = read.await?;
        assert_eq!(first?, b"in time");
        assert_eq!(kind(&second.unwrap_err()), Some(io::ErrorKind::ConnectionReset));
        Ok(())
    });
}

/// As above, but what came is not enough: waiting on would be waiting for ever.
#[test]
fn an_error_behind_too_little_data_ends_the_read() {
    run(async |_| {
        let mut reader = StreamReader::new();
        let feeder = reader.feeder();
        let read = loop_api::create_task(async move { reader.readline().await })?;
        loop_api::yield_now().await;
        feeder.feed_data(b"half a li")?;
        feeder.set_exception(io::ErrorKind::ConnectionReset);
        assert_eq!(kind(&read.await?.unwrap_err()), Some(io::ErrorKind::ConnectionReset));
        Ok(())
    });
}

#[test]
fn a_reader_tells_what_it_is_like() {
    let reader = StreamReader::with_limit(7).unwrap();
    assert_eq!(format!("{reader:?}"), "<StreamReader limit=7>");
    reader.feed_data(b"some").unwrap();
    reader.feed_eof();
    assert_eq!(format!("{:?}", reader.feeder()), "<StreamFeeder 4 bytes eof limit=7>");
    reader.set_exception(io::Error::other("no more"));
    assert_eq!(format!("{reader:?}"), "<StreamReader 4 bytes eof limit=7 exception=no more>");
}

/// No loop is needed to read what is there, nor to wait: only somebody to poll.
#[test]
fn a_reader_works_under_any_executor() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut reader = StreamReader::new();
    let feeder = reader.feeder();
    let mut read = pin!(reader.readline());
    assert!(read.as_mut().poll(&mut context).is_pending());
    assert!(!woken.0.load(Ordering::Relaxed));
    feeder.feed_data(b"a line\nand more").unwrap();
    assert!(woken.0.load(Ordering::Relaxed));
    match read.as_mut().poll(&mut context) {
        Poll::Ready(line) => assert_eq!(line.unwrap().as_deref(), Some(&b"a line\n"[..])),
        Poll::Pending => panic!("the line is there"),
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

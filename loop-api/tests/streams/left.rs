//! Bytes that are left with the transport for the read that was woken by them: whatever becomes of the read, they arrive.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::AsyncReadExt;
use loop_api::{DEFAULT_LIMIT, Protocol, ServerOptions, StreamReader, StreamWriter, Transport};

use crate::world::{Peer, kind, on_both_sides, pattern, run, some_passes, until};

/// A waker that only tells.
#[derive(Clone, Default)]
struct Woken(Arc<AtomicBool>);

impl Woken {
    fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn waker(&self) -> Waker {
        struct Flag(Arc<AtomicBool>);

        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }

        Waker::from(Arc::new(Flag(Arc::clone(&self.0))))
    }
}

/// Polls a read, which has to wait, has it woken by five bytes, and hands it back.
macro_rules! wake_by_five_bytes {
    ($read:expr, $peer:expr) => {{
        let woken = Woken::default();
        assert!($read.as_mut().poll(&mut Context::from_waker(&woken.waker())).is_pending());
        $peer.send(b"hello").await;
        until(|| woken.is()).await;
    }};
}

#[test]
fn a_read_that_is_dropped_leaves_them_to_the_next() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        {
            let mut read = pin!(reader.read(100));
            wake_by_five_bytes!(read, peer);
        }
        assert_eq!(reader.read(100).await?, b"hello");
        Ok(())
    });
}

#[test]
fn a_read_that_is_dropped_has_them_delivered_whether_or_not_there_is_a_next() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        {
            let mut read = pin!(reader.readline());
            wake_by_five_bytes!(read, peer);
        }
        until(|| format!("{reader:?}").contains(" 5 bytes")).await;
        Ok(())
    });
}

/// Polls of `futures-io` are given up without a word.
#[test]
fn a_foreign_read_that_is_dropped_has_them_delivered_too() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, writer, mut peer| {
        {
            let mut place = [0; 100];
            let mut read = pin!(AsyncReadExt::read(&mut reader, &mut place));
            wake_by_five_bytes!(read, peer);
        }
        until(|| format!("{reader:?}").contains(" 5 bytes")).await;
        peer.reset();
        let error = writer.wait_closed().await.unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::ConnectionReset), "the end is noticed although nobody reads");
        Ok(())
    });
}

#[test]
fn a_reader_that_is_dropped_does_not_hide_the_end() {
    on_both_sides(DEFAULT_LIMIT, async |reader, writer, mut peer| {
        let mut reader = Box::new(reader);
        {
            let mut place = [0; 100];
            let mut read = pin!(AsyncReadExt::read(&mut *reader, &mut place));
            wake_by_five_bytes!(read, peer);
        }
        drop(reader);
        peer.reset();
        assert_eq!(kind(&writer.wait_closed().await.unwrap_err()), Some(ErrorKind::ConnectionReset));
        Ok(())
    });
}

#[test]
fn a_pause_by_the_program_holds() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, writer, mut peer| {
        let mut read = pin!(reader.read(100));
        wake_by_five_bytes!(read, peer);
        writer.transport().pause_reading();
        let woken = Woken::default();
        assert!(read.as_mut().poll(&mut Context::from_waker(&woken.waker())).is_pending());
        some_passes().await;
        assert!(!woken.is());
        writer.transport().resume_reading();
        assert_eq!(read.await?, b"hello");
        Ok(())
    });
}

#[test]
fn a_stream_that_is_closed_meanwhile_is_over() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, writer, mut peer| {
        let mut read = pin!(reader.read(100));
        wake_by_five_bytes!(read, peer);
        writer.start_close();
        assert_eq!(read.await?, b"", "closing stops reading at once");
        Ok(())
    });
}

#[test]
fn what_does_not_fit_comes_next() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        let data = pattern(200_000);
        let sent = data.clone();
        let sender = loop_api::create_task(async move {
            peer.send(&sent).await;
            peer.end_sending();
            peer
        })?;
        let mut received = Vec::new();
        let mut place = [0; 777];
        loop {
            let count = reader.read_into(&mut place).await?;
            if count == 0 {
                break;
            }
            received.extend_from_slice(&place[..count]);
            if received.len() % 5 == 0 {
                received.extend(reader.read(10).await?);
            }
        }
        assert!(received == data);
        drop(sender.await?);
        Ok(())
    });
}

/// A reader that always waits takes nothing out of order when it changes from one kind of read to another.
#[test]
fn kinds_of_reads_mix() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader: StreamReader, _writer: StreamWriter, mut peer: Peer| {
        let mut place = [0; 3];
        for _ in 0..20 {
            {
                let mut read = pin!(AsyncReadExt::read(&mut reader, &mut place));
                let woken = Woken::default();
                assert!(read.as_mut().poll(&mut Context::from_waker(&woken.waker())).is_pending());
                peer.send(b"abcdefgh\nij").await;
                until(|| woken.is()).await;
                match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(count) => assert_eq!(count?, 3),
                    Poll::Pending => panic!("it was woken by data"),
                }
            }
            assert_eq!(&place, b"abc");
            assert_eq!(reader.read(1).await?, b"d");
            assert_eq!(reader.read_into(&mut place).await?, 3);
            assert_eq!(&place, b"efg");
            assert_eq!(reader.readline().await?.as_deref(), Some(&b"h\n"[..]));
            assert_eq!(reader.readexactly(2).await?, b"ij");
        }
        Ok(())
    });
}

/// A protocol that has bytes delivered when it is told to.
#[derive(Clone, Default)]
struct Lazy {
    log: Rc<RefCell<Vec<String>>>,
    eager: Rc<Cell<bool>>,
    transport: Rc<RefCell<Option<Transport>>>,
}

impl Lazy {
    fn transport(&self) -> Transport {
        self.transport.borrow().clone().expect("connected")
    }

    fn add(&self, text: impl Into<String>) {
        self.log.borrow_mut().push(text.into());
    }
}

impl Protocol for Lazy {
    fn connection_made(&mut self, transport: &Transport) {
        self.transport.replace(Some(transport.clone()));
    }

    fn data_available(&mut self, _: &Transport) -> bool {
        self.add("available");
        !self.eager.get()
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.add(String::from_utf8_lossy(data));
        // From within a call this is for later, and there is nothing more.
        transport.deliver_now();
    }

    fn eof_received(&mut self, _: &Transport) -> bool {
        self.add("end");
        true
    }

    fn connection_lost(&mut self, _: &Transport, _: Option<std::io::Error>) {
        self.add("lost");
        self.transport.take();
    }
}

#[test]
fn a_protocol_may_leave_bytes_where_they_are() {
    use std::io::Write as _;
    run(async |lp| {
        let lazy = Lazy::default();
        let made = lazy.clone();
        let server = lp.create_server(move || made.clone(), "127.0.0.1:0", ServerOptions::default()).await?;
        let mut peer = std::net::TcpStream::connect(server.local_addr().expect("it listens"))?;
        let log = || lazy.log.borrow().join(" ");

        peer.write_all(b"one")?;
        until(|| log() == "available").await;
        some_passes().await;
        assert_eq!(log(), "available", "asked once, and left alone");
        lazy.transport().deliver_now();
        assert_eq!(log(), "available one", "in the call");
        lazy.transport().deliver_now();
        lazy.transport().deliver_soon();
        assert_eq!(lazy.transport().receive_now(&mut [0; 10]), 0, "there is nothing more");
        some_passes().await;
        assert_eq!(log(), "available one");

        lazy.log.take();
        peer.write_all(b"two")?;
        until(|| log() == "available").await;
        lazy.transport().deliver_soon();
        assert_eq!(log(), "available", "not in the call");
        until(|| log() == "available two").await;

        lazy.log.take();
        peer.write_all(b"three")?;
        until(|| log() == "available").await;
        let mut place = [0; 10];
        // A backend that does not receive in the call says so; then the bytes are delivered.
        match lazy.transport().receive_now(&mut place) {
            0 => lazy.transport().deliver_now(),
            count => lazy.add(String::from_utf8_lossy(&place[..count])),
        }
        assert_eq!(log(), "available three");

        lazy.log.take();
        lazy.transport().pause_reading();
        peer.write_all(b"four")?;
        some_passes().await;
        lazy.transport().deliver_now();
        assert_eq!(log(), "", "nothing is delivered while reading is paused");
        lazy.transport().resume_reading();
        until(|| log().ends_with("four") || log() == "available").await;
        lazy.transport().deliver_now();
        until(|| log().ends_with("four")).await;

        lazy.log.take();
        lazy.eager.set(true);
        peer.write_all(b"five")?;
        until(|| log() == "available five").await;
        lazy.eager.set(false);
        lazy.log.take();
        drop(peer);
        until(|| !log().is_empty()).await;
        lazy.transport().deliver_now();
        until(|| log().contains("end")).await;
        assert!(!log().contains("lost"));
        lazy.transport().close();
        until(|| log().ends_with("lost")).await;
        server.close();
        Ok(())
    });
}

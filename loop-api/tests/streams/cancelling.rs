//! Reads that are given up: no byte is lost, whichever read it was and whenever it ended.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use loop_api::{DEFAULT_LIMIT, Error, StreamReader, catch_cancelled};

use crate::world::{on_both_sides, run, some_passes, until};

/// Polls every kind of read once, and drops it.
async fn give_up_on_all(reader: &mut StreamReader, line: &mut Vec<u8>) {
    assert!(reader.readexactly(1000).now_or_never().is_none());
    assert!(reader.read_to_end().now_or_never().is_none());
    assert!(reader.readline().now_or_never().is_none());
    assert!(reader.readline_into(line).now_or_never().is_none());
    assert!(reader.readuntil(b"--").now_or_never().is_none());
    assert!(reader.read_until_any(&[b"<>", b"--"]).now_or_never().is_none());
    assert!(reader.lines().next().now_or_never().is_none());
}

#[test]
fn a_read_that_is_dropped_has_read_nothing() {
    on_both_sides(DEFAULT_LIMIT, async |mut reader, _writer, mut peer| {
        let mut line = Vec::new();
        assert!(reader.read(10).now_or_never().is_none());
        assert!(reader.read_into(&mut [0; 10]).now_or_never().is_none());
        give_up_on_all(&mut reader, &mut line).await;
        for (place, piece) in [&b"a few"[..], b" bytes ", b"at a time"].into_iter().enumerate() {
            peer.send(piece).await;
            let so_far = [5, 12, 21][place];
            until(|| format!("{reader:?}").contains(&format!(" {so_far} bytes"))).await;
            give_up_on_all(&mut reader, &mut line).await;
        }
        peer.end_sending();
        assert_eq!(reader.read_to_end().await?, b"a few bytes at a time");
        assert!(line.is_empty());
        Ok(())
    });
}

#[test]
fn a_read_that_is_dropped_while_it_waits_for_much_does_not_let_everything_in() {
    on_both_sides(1000, async |mut reader, writer, mut peer| {
        {
            let mut read = pin!(reader.readexactly(10_000_000));
            assert!(read.as_mut().now_or_never().is_none());
        }
        peer.send(&[7; 3000]).await;
        until(|| !writer.transport().is_reading()).await;
        Ok(())
    });
}

/// The result is there, and so is the request: the request wins, and the bytes stay.
#[test]
fn a_cancellation_is_not_overtaken_by_data() {
    run(async |_| {
        let mut reader = StreamReader::new();
        let feeder = reader.feeder();
        let task = loop_api::create_task(async move {
            let first = catch_cancelled(reader.readline()).await;
            (first.is_err(), reader.readline().await)
        })?;
        loop_api::yield_now().await;
        feeder.feed_data(b"a line\n")?;
        task.cancel();
        let (cancelled, line) = task.await?;
        assert!(cancelled);
        assert_eq!(line?.as_deref(), Some(&b"a line\n"[..]));
        Ok(())
    });
}

/// A read that need not wait does not notice the request.
#[test]
fn a_read_that_need_not_wait_is_not_cancelled() {
    run(async |_| {
        let task = loop_api::create_task(async move {
            let mut reader = StreamReader::new();
            reader.feed_data(b"one\ntwo\n")?;
            loop_api::current_task()?.expect("a task").cancel();
            let lines = (reader.readline().await?, reader.readline().await?);
            assert_eq!(lines.1.as_deref(), Some(&b"two\n"[..]));
            reader.readline().await?;
            unreachable!("this one had to wait");
            #[allow(unreachable_code)]
            Ok::<_, Error>(())
        })?;
        assert!(task.await.unwrap_err().is_cancelled());
        Ok(())
    });
}

#[test]
fn reads_cancelled_at_random_lose_nothing() {
    on_both_sides(1 << 20, async |mut reader, _writer, mut peer| {
        let lines: Vec<String> =
            (0..2000).map(|number| format!("line {number} {}\n", "x".repeat(number % 97))).collect();
        let all = lines.concat();
        let sender = loop_api::create_task(async move {
            let mut rest = all.as_bytes();
            let mut step = 1;
            while !rest.is_empty() {
                step = step * 31 % 257 + 1;
                let (piece, after) = rest.split_at(step.min(rest.len()));
                peer.send(piece).await;
                rest = after;
                if step % 3 == 0 {
                    loop_api::yield_now().await;
                }
            }
            peer
        })?;
        let mut given_up = 0;
        for (number, line) in lines.iter().enumerate() {
            let read = loop {
                // Each attempt is given a few passes, then dropped.
                let patience = async {
                    for _ in 0..number % 3 {
                        loop_api::yield_now().await;
                    }
                };
                match futures_util::future::select(pin!(reader.readline()), pin!(patience)).await {
                    futures_util::future::Either::Left((read, _)) => break read?,
                    futures_util::future::Either::Right(_) => given_up += 1,
                }
                loop_api::yield_now().await;
            };
            assert_eq!(read.as_deref(), Some(line.as_bytes()));
        }
        assert!(given_up > 0, "some reads had to be given up for this to show anything");
        drop(sender.await?);
        Ok(())
    });
}

/// The task that reads is cancelled; whoever has the reader next misses nothing.
#[test]
fn a_cancelled_task_leaves_its_bytes_to_the_next() {
    on_both_sides(DEFAULT_LIMIT, async |reader, _writer, mut peer| {
        let reader = Rc::new(RefCell::new(reader));
        peer.send(b"half a ").await;
        #[expect(clippy::await_holding_refcell_ref, reason = "the two tasks take turns")]
        async fn read(reader: Rc<RefCell<StreamReader>>) -> loop_api::Result<Option<Vec<u8>>> {
            reader.try_borrow_mut().expect("one at a time").readline().await
        }
        let first = loop_api::create_task(read(reader.clone()))?;
        some_passes().await;
        first.cancel();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = loop_api::create_task(read(reader))?;
        peer.send(b"line\n").await;
        assert_eq!(second.await??.as_deref(), Some(&b"half a line\n"[..]));
        Ok(())
    });
}

#[test]
fn waits_of_writers_can_be_given_up() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, mut peer| {
        writer.write(&vec![7; crate::world::TOO_MUCH])?;
        assert!(writer.drain().now_or_never().is_none());
        assert!(writer.wait_closed().now_or_never().is_none());
        let waiting = loop_api::create_task({
            let writer = writer.clone();
            async move { writer.drain().await }
        })?;
        let other = loop_api::create_task({
            let writer = writer.clone();
            async move { writer.drain().await }
        })?;
        loop_api::yield_now().await;
        waiting.cancel();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(peer.receive(crate::world::TOO_MUCH).await.len(), crate::world::TOO_MUCH);
        other.await??;
        writer.drain().await?;
        Ok(())
    });
}

/// Dropped on the way, a close has begun all the same.
#[test]
fn a_close_that_is_given_up_closes() {
    on_both_sides(DEFAULT_LIMIT, async |_reader, mut writer, mut peer| {
        writer.write(b"the last")?;
        assert!(writer.close().now_or_never().is_none());
        assert!(writer.is_closing());
        assert_eq!(peer.receive_all().await, b"the last");
        writer.wait_closed().await
    });
}

#[test]
fn a_read_is_ended_by_time() {
    run(async |event_loop| {
        let mut reader = StreamReader::new();
        reader.feed_data(b"not a line")?;
        {
            let time = event_loop.sleep_for(Duration::from_micros(10));
            let mut line = pin!(reader.readline());
            let ended = futures_util::future::select(line.as_mut(), time).await;
            assert!(matches!(ended, futures_util::future::Either::Right(_)));
        }
        assert_eq!(reader.read(100).await?, b"not a line");
        Ok(())
    });
}

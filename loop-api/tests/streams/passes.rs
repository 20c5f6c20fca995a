//! Who runs when: a read that waited goes on in the pass after its data came, as in asyncio.

use std::cell::RefCell;
use std::rc::Rc;

use loop_api::{StreamReader, StreamWriter, create_task};

use crate::world::{pair, run};

#[test]
fn a_read_that_waited_goes_on_a_pass_later() {
    run(async |lp| {
        let mut reader = StreamReader::new();
        let feeder = reader.feeder();
        let read = create_task({
            let lp = lp.clone();
            async move {
                reader.read(10).await?;
                let first = lp.passes();
                reader.feed_data(b"there already")?;
                reader.read(10).await?;
                assert_eq!(lp.passes(), first, "a read that need not wait does not");
                Ok::<_, loop_api::Error>(first)
            }
        })?;
        loop_api::yield_now().await;
        feeder.feed_data(b"now")?;
        let fed = lp.passes();
        assert_eq!(read.await??, fed + 1);
        Ok(())
    });
}

#[test]
fn readers_wake_in_the_order_of_their_data() {
    run(async |_| {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut feeders = Vec::new();
        let mut tasks = Vec::new();
        for name in 0..4 {
            let mut reader = StreamReader::new();
            feeders.push(reader.feeder());
            let log = Rc::clone(&log);
            tasks.push(create_task(async move {
                while !reader.read(10).await?.is_empty() {
                    log.borrow_mut().push(name);
                }
                Ok::<_, loop_api::Error>(())
            })?);
        }
        loop_api::yield_now().await;
        for name in [2, 0, 3, 1] {
            feeders[name].feed_data(b"x")?;
        }
        loop_api::yield_now().await;
        assert_eq!(log.take(), [2, 0, 3, 1]);
        feeders.iter().for_each(loop_api::StreamFeeder::feed_eof);
        for task in tasks {
            task.await??;
        }
        Ok(())
    });
}

/// A read that needs much is not woken for every little that comes.
#[test]
fn a_read_is_woken_when_it_can_go_on() {
    run(async |_| {
        let mut reader = StreamReader::new();
        let feeder = reader.feeder();
        let polls = Rc::new(std::cell::Cell::new(0));
        let counted = Rc::clone(&polls);
        let read = create_task(async move {
            let mut read = std::pin::pin!(reader.readexactly(100));
            std::future::poll_fn(|context| {
                counted.set(counted.get() + 1);
                read.as_mut().poll(context)
            })
            .await
        })?;
        for _ in 0..100 {
            loop_api::yield_now().await;
            feeder.feed_data(b"x")?;
        }
        assert_eq!(read.await??.len(), 100);
        assert_eq!(polls.get(), 2);
        Ok(())
    });
}

#[test]
fn drains_and_closes_go_on_in_the_order_in_which_they_waited() {
    run(async |_| {
        let ((_reader, writer), (_far_reader, _far_writer)) = pair(1000).await?;
        let log = Rc::new(RefCell::new(Vec::new()));
        let waiter = |name: &'static str, writer: StreamWriter, closed: bool| {
            let log = Rc::clone(&log);
            create_task(async move {
                let outcome = if closed { writer.wait_closed().await } else { writer.drain().await };
                log.borrow_mut().push(name);
                outcome
            })
        };
        let mut filler = writer.clone();
        filler.write(&vec![7; crate::world::TOO_MUCH])?;
        let tasks = [
            waiter("drain 1", writer.clone(), false)?,
            waiter("close 1", writer.clone(), true)?,
            waiter("drain 2", writer.clone(), false)?,
            waiter("close 2", writer.clone(), true)?,
        ];
        loop_api::yield_now().await;
        writer.transport().abort();
        for task in tasks {
            task.await??;
        }
        // The end is told to those who wait for it first, as in asyncio.
        assert_eq!(log.take(), ["close 1", "close 2", "drain 1", "drain 2"]);
        Ok(())
    });
}

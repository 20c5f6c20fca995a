//! Streams that are dropped half-way close their descriptors, wherever half-way was. A program of its own, with a single
//! test: descriptors are counted.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use loop_api::{
    ConnectOptions, DEFAULT_LIMIT, Result, ServerOptions, StreamReader, StreamWriter, get_running_loop, new_event_loop,
    open_connection, open_connection_with, start_server, start_server_with, yield_now,
};

const LONG: Duration = Duration::from_secs(20);

/// More than the kernel takes from a writer whose peer does not read.
const TOO_MUCH: usize = 32 * 1024 * 1024;

/// The descriptors of this process that are open, and what they are.
fn open() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // The directory that is being read is gone when its link is looked at.
            let target = std::fs::read_link(entry.path()).ok()?;
            (!target.starts_with("/proc")).then(|| format!("{} {}", entry.file_name().display(), target.display()))
        })
        .collect();
    open.sort();
    open
}

async fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        yield_now().await;
    }
}

/// Never reads, never ends; or ends at once; or echoes.
async fn serve(mut reader: StreamReader, mut writer: StreamWriter) -> Result<()> {
    match reader.read(1).await?.first() {
        Some(b'n') => std::future::pending().await,
        Some(b'e') => Ok(()),
        Some(b'f') => loop {
            writer.write(&[7; 16 * 1024])?;
            writer.drain().await?;
        },
        _ => {
            while let Some(line) = reader.readline().await? {
                writer.write(&line)?;
                writer.drain().await?;
            }
            writer.close().await
        }
    }
}

/// Lets go of connections in every state.
async fn round(round: usize) -> Result<()> {
    let server = start_server("127.0.0.1:0", serve).await?;
    let address = server.local_addr().expect("it listens");

    // While it is being made.
    {
        let mut opening = pin!(open_connection(address));
        for _ in 0..round {
            let mut context = Context::from_waker(Waker::noop());
            match opening.as_mut().poll(&mut context) {
                Poll::Ready(made) => {
                    drop(made?);
                    break;
                }
                Poll::Pending => yield_now().await,
            }
        }
    }
    // While it waits for data, with some there.
    let (mut reader, mut writer) = open_connection(address).await?;
    writer.write(b"-half a line")?;
    assert!(reader.readline().now_or_never().is_none());
    drop((reader, writer));
    // The reader first, or the writer first.
    let (reader, writer) = open_connection(address).await?;
    drop(writer);
    yield_now().await;
    drop(reader);
    let (reader, writer) = open_connection(address).await?;
    drop(reader);
    yield_now().await;
    drop(writer);
    // While it waits for a peer that does not read; what cannot be sent is given up.
    let (_reader, mut writer) = open_connection(address).await?;
    writer.write(b"n")?;
    writer.write(&vec![7; TOO_MUCH])?;
    assert!(writer.drain().now_or_never().is_none());
    writer.transport().abort();
    drop(writer);
    // While it is paused, with more to come.
    let (reader, mut writer) = open_connection_with(address, ConnectOptions::default(), 10).await?;
    writer.write(b"f")?;
    until(|| !writer.transport().is_reading()).await;
    drop((reader, writer));
    // While it closes, or has ended one side, or waits for the end.
    let (_reader, mut writer) = open_connection(address).await?;
    assert!(writer.close().now_or_never().is_none());
    drop(writer);
    let (_reader, mut writer) = open_connection(address).await?;
    writer.write_eof();
    assert!(writer.wait_closed().now_or_never().is_none());
    drop(writer);
    // Where the other side lets go first.
    let (mut reader, mut writer) = open_connection(address).await?;
    writer.write(b"e")?;
    assert_eq!(reader.read_to_end().await?, b"");
    drop((reader, writer));
    // In a task that is cancelled.
    let task = loop_api::create_task(async move {
        let (mut reader, mut writer) = open_connection(address).await?;
        writer.write(b"-no newline")?;
        reader.readline().await
    })?;
    for _ in 0..round {
        yield_now().await;
    }
    task.cancel();
    task.await.expect_err("cancelled");

    server.close();
    // Of the handlers, one waits for ever.
    for task in loop_api::all_tasks()? {
        if Some(&task) != loop_api::current_task()?.as_ref() {
            task.cancel();
        }
    }
    until(|| server.connection_count() == 0).await;
    server.wait_closed().await;
    Ok(())
}

#[test]
fn whatever_is_dropped_closes_its_descriptors() {
    // Whatever is opened once per process is open after this.
    new_event_loop().unwrap().close().unwrap();
    let at_first = open();

    let ended = loop_api::run(async {
        let lp = get_running_loop()?;
        let stuck = lp.clone();
        let alarm = lp.call_later(LONG, move || stuck.stop())?;
        let before = open();
        for number in 0..30 {
            round(number).await?;
            until(|| open() == before).await;
        }
        alarm.cancel();
        Ok::<_, loop_api::Error>(())
    });
    ended.expect("it does not hang: descriptors are left open otherwise").unwrap();
    assert_eq!(open(), at_first, "after the loop was closed");

    // Left to the end of the loop: halves held elsewhere, tasks that wait, a connection that is being made.
    for held in [false, true] {
        let lp = new_event_loop().unwrap();
        let halves = lp
            .run_until_complete(async {
                let options = ServerOptions::default();
                let server = start_server_with("127.0.0.1:0", serve, options, DEFAULT_LIMIT).await?;
                let address = server.local_addr().expect("it listens");
                let (reader, mut writer) = open_connection(address).await?;
                writer.write(b"f")?;
                loop_api::create_task(async move {
                    let (mut reader, _writer) = open_connection(address).await?;
                    reader.readline().await
                })?;
                until(|| server.connection_count() == 2).await;
                loop_api::create_task(open_connection(address))?;
                yield_now().await;
                Ok::<_, loop_api::Error>((reader, writer))
            })
            .unwrap()
            .unwrap();
        if held {
            lp.close().unwrap();
            assert_eq!(open(), at_first, "after the loop was closed under its streams");
            drop(halves);
        } else {
            drop(halves);
            lp.close().unwrap();
        }
        assert_eq!(open(), at_first, "after a loop with streams was closed");
    }
}

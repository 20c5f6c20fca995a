//! A real program on every backend that this machine has: a TCP server with a hundred clients, timers, a job in the
//! executor, a call from another thread, and a clean shutdown. It prints what happens, checks it, and ends by itself.
//!
//! `cargo run --release --example quickstart`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use loop_api as asyncio;
use loop_api::{BackendKind, LoopOptions, Runner, StreamReader, StreamWriter};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const CLIENTS: usize = 100;
const LINES: usize = 50;

fn main() -> Outcome {
    let mut ran = 0;
    for kind in BackendKind::ALL {
        let available = asyncio::available_backends().into_iter().find(|(name, _)| *name == kind.name());
        match available {
            Some((_, Ok(()))) => {
                on_backend(*kind)?;
                ran += 1;
            }
            Some((_, Err(reason))) => println!("== {kind}: not here ({reason})\n"),
            None => {}
        }
    }
    check(ran > 0, "at least one backend ran")?;
    println!("all good on {ran} backend(s)");
    Ok(())
}

/// Fails with what was expected.
fn check(holds: bool, expected: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("expected that {expected}").into()) }
}

fn on_backend(kind: BackendKind) -> Outcome {
    println!("== {kind}");
    let start = Instant::now();
    let cleaned_up = Rc::new(Cell::new(false));
    // `run` makes a loop, runs the coroutine to its end, and cleans up; this is the same, on a backend of our choice.
    let runner = Runner::builder().loop_factory(move || LoopOptions::new().backend(kind).build());
    runner.run(program(Rc::clone(&cleaned_up)))??;
    check(cleaned_up.get(), "the leftover task cleaned up before run returned")?;
    check(asyncio::get_running_loop().is_err(), "no loop runs any more")?;
    println!("  shutdown  leftover tasks cancelled and awaited, executor joined, loop closed");
    println!("  total     {:.0?}\n", start.elapsed());
    Ok(())
}

async fn program(cleaned_up: Rc<Cell<bool>>) -> Outcome {
    let lp = asyncio::get_running_loop()?;
    println!("  loop      {lp:?}");
    clients_and_server().await?;
    timers().await?;
    executor().await?;
    other_thread().await?;

    // Left running on purpose: `run` cancels it, and waits for its asynchronous clean-up.
    asyncio::create_task(async move {
        if let Err(cancelled) = asyncio::catch_cancelled(asyncio::sleep(Duration::from_secs(3600))).await {
            let flushed = asyncio::sleep(Duration::from_millis(1)).await;
            cleaned_up.set(flushed.is_ok());
            println!("  cancel    the sleeper was cancelled and cleaned up");
            cancelled.raise().await
        }
    })?;
    asyncio::sleep(Duration::from_millis(1)).await?;
    Ok(())
}

/// A server that answers each line in capitals, and a hundred clients at once.
async fn clients_and_server() -> Outcome {
    let server = asyncio::start_server("127.0.0.1:0", shout).await?;
    let address = server.local_addr().ok_or("a bound server has an address")?;
    let start = Instant::now();
    let mut clients = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        clients.push(asyncio::create_task(async move {
            let (mut reader, mut writer) = asyncio::open_connection(address).await?;
            let mut right = 0;
            for line in 0..LINES {
                writer.write(format!("client {number} says {line}\n").as_bytes())?;
                writer.drain().await?;
                let answer = reader.readline().await?.unwrap_or_default();
                right += usize::from(answer == format!("CLIENT {number} SAYS {line}\n").as_bytes());
            }
            writer.close().await?;
            Ok::<usize, asyncio::Error>(right)
        })?);
    }
    let mut right = 0;
    for client in clients {
        right += client.await??;
    }
    let took = start.elapsed();
    server.close();
    server.wait_closed().await;
    check(right == CLIENTS * LINES, "every client got every answer")?;
    println!(
        "  server    {CLIENTS} clients, {right} requests answered right in {took:.0?}: {:.0} requests/s",
        right as f64 / took.as_secs_f64()
    );
    Ok(())
}

async fn shout(mut reader: StreamReader, mut writer: StreamWriter) -> asyncio::Result<()> {
    while let Some(line) = reader.readline().await? {
        writer.write(&line.to_ascii_uppercase())?;
        writer.drain().await?;
    }
    writer.close().await
}

/// Timers fire in the order of their deadlines, whatever the order they were set in, and never early.
async fn timers() -> Outcome {
    let lp = asyncio::get_running_loop()?;
    let fired = Rc::new(RefCell::new(Vec::new()));
    for milliseconds in [8, 2, 6, 4, 2] {
        let when = lp.time() + Duration::from_millis(milliseconds);
        let (fired, clock) = (Rc::clone(&fired), lp.clone());
        lp.call_at(when, move || {
            let late = clock.time().checked_sub(when);
            fired.borrow_mut().push((milliseconds, late));
        })?;
    }
    let cancelled = lp.call_later(Duration::from_millis(1), || unreachable!("it was cancelled"))?;
    cancelled.cancel();
    asyncio::sleep(Duration::from_millis(9)).await?;

    let fired = fired.take();
    let order: Vec<u64> = fired.iter().map(|timer| timer.0).collect();
    check(order == [2, 2, 4, 6, 8], "timers fire by deadline")?;
    let mut late: Vec<Duration> = fired.iter().filter_map(|timer| timer.1).collect();
    check(late.len() == order.len(), "no timer fires early")?;
    late.sort();
    println!("  timers    fired at {order:?} ms, median lateness {:.0?}", late[late.len() / 2]);
    Ok(())
}

/// A job that keeps a core busy, while the loop goes on ticking: the job does not end before it ticked three times.
async fn executor() -> Outcome {
    let (tick, ticks) = mpsc::channel();
    let ticker = asyncio::create_task(async move {
        while tick.send(()).is_ok() {
            if asyncio::sleep(Duration::from_millis(1)).await.is_err() {
                break;
            }
        }
    })?;
    let start = Instant::now();
    let (primes, seen) = asyncio::to_thread(move || {
        let primes = count_primes(200_000);
        (primes, ticks.iter().take(3).count())
    })
    .await?;
    ticker.cancel();
    check(primes == 17_984, "there are 17,984 primes below 200,000")?;
    check(seen == 3, "the loop went on while the job ran")?;
    println!("  executor  {primes} primes below 200,000 in {:.0?}, and the loop kept ticking", start.elapsed());
    Ok(())
}

fn count_primes(below: usize) -> usize {
    let mut composite = vec![false; below];
    let mut count = 0;
    for number in 2..below {
        if composite[number] {
            continue;
        }
        count += 1;
        (number * number..below).step_by(number).for_each(|multiple| composite[multiple] = true);
    }
    count
}

/// Another thread sends a call, and runs a coroutine here and waits for it there.
async fn other_thread() -> Outcome {
    let lp = asyncio::get_running_loop()?;
    let handle = lp.handle();
    let called = Rc::new(Cell::new(0));
    let (send, answers) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for number in 1..=3 {
            let send = send.clone();
            let sent = handle.call_soon_threadsafe(move |lp| {
                let _ = send.send((number, lp.is_running()));
            });
            if sent.is_err() {
                return 0;
            }
        }
        let coroutine =
            handle.run_coroutine_threadsafe(|| async { asyncio::sleep(Duration::from_millis(1)).await.map(|()| 42) });
        coroutine.ok().and_then(|future| future.result(None).ok()).and_then(Result::ok).unwrap_or(0)
    });
    // Joined in the executor: the loop must not wait for a thread that waits for the loop.
    let answer = asyncio::to_thread(move || thread.join()).await?;
    called.set(answers.try_iter().filter(|(_, running)| *running).count());
    check(called.get() == 3, "three calls arrived on the running loop")?;
    check(matches!(answer, Ok(42)), "the coroutine's result reached the thread")?;
    println!("  threads   3 calls and 1 coroutine came from another thread");
    Ok(())
}

//! A generator that holds a transaction, and every way out of it: whichever is taken, the transaction is rolled back,
//! by an exchange with the database, exactly once.
//!
//! `cargo run --example transaction`

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use loop_api as asyncio;
use loop_api::{AsyncGenerator, StreamReader, StreamWriter};

/// What the database has seen.
#[derive(Default)]
struct Book {
    begun: AtomicU32,
    rolled_back: AtomicU32,
}

/// A session with the database: one line asks, one line answers. After row 3 it waits for a lock that nobody releases.
async fn session(book: Arc<Book>, mut reader: StreamReader, mut writer: StreamWriter) -> asyncio::Result<()> {
    let mut row = 0;
    while let Some(line) = reader.readline().await? {
        match line.trim_ascii() {
            b"BEGIN" => {
                book.begun.fetch_add(1, SeqCst);
                writer.write(b"OK\n")?;
            }
            b"NEXT" if row < 3 => {
                row += 1;
                writer.write(format!("row {row}\n").as_bytes())?;
            }
            b"ROLLBACK" => {
                book.rolled_back.fetch_add(1, SeqCst);
                writer.write(b"OK\n")?;
            }
            _ => {}
        }
        writer.drain().await?;
    }
    writer.close().await
}

/// Runs the database in a thread of its own, as long as the program; its address.
fn start_database(book: &Arc<Book>) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    let book = Arc::clone(book);
    thread::spawn(move || {
        asyncio::run(async move {
            let serve = move |reader, writer| session(Arc::clone(&book), reader, writer);
            let server = asyncio::start_server("127.0.0.1:0", serve).await?;
            tell.send(server.local_addr().expect("bound")).expect("somebody waits for it");
            server.serve_forever().await
        })
    });
    told.recv().expect("the database starts")
}

/// A transaction, which is a connection.
struct Transaction {
    reader: StreamReader,
    writer: StreamWriter,
}

impl Transaction {
    async fn begin(database: SocketAddr) -> asyncio::Result<Self> {
        let (reader, writer) = asyncio::open_connection(database).await?;
        let mut this = Self { reader, writer };
        this.ask(b"BEGIN\n").await?;
        Ok(this)
    }

    async fn ask(&mut self, line: &[u8]) -> asyncio::Result<String> {
        self.writer.write(line)?;
        self.writer.drain().await?;
        let answer = self.reader.readline().await?.unwrap_or_default();
        Ok(String::from_utf8_lossy(answer.trim_ascii()).into_owned())
    }

    async fn roll_back(mut self) -> asyncio::Result<()> {
        self.ask(b"ROLLBACK\n").await?;
        self.writer.close().await
    }
}

/// The rows of a query. However it ends, the transaction is rolled back before it is over.
fn rows(database: SocketAddr) -> AsyncGenerator<String> {
    asyncio::async_generator(move |mut out| async move {
        let mut transaction = Transaction::begin(database).await?;
        // Python: try ... finally.
        let query = asyncio::catch_cancelled(async {
            loop {
                let row = transaction.ask(b"NEXT\n").await?;
                if out.emit(row).await.is_err() {
                    // Closed, let go of, or the loop is shutting down.
                    return Ok::<_, asyncio::Error>(());
                }
            }
        });
        let ended = query.await;
        transaction.roll_back().await?;
        match ended {
            Ok(outcome) => outcome,
            Err(cancelled) => cancelled.raise().await,
        }
    })
}

/// A way out of the loop over the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Break,
    Close,
    Cancel,
    Timeout,
    Panic,
    /// `run` ends while somebody outside of it still holds the generator.
    RunEnds,
}

/// Reads rows for ever, which row 4 makes impossible.
async fn read_all(rows: &AsyncGenerator<String>) -> asyncio::Result<()> {
    while rows.anext().await?.is_some() {}
    Ok(())
}

async fn leave_by(
    way: Way,
    rows: AsyncGenerator<String>,
    kept: &RefCell<Option<AsyncGenerator<String>>>,
) -> asyncio::Result<()> {
    let first = rows.anext().await?;
    assert_eq!(first.as_deref(), Some("row 1"));
    match way {
        // It goes out of scope half-way: the loop closes it.
        Way::Break => {}
        Way::Close => rows.aclose().await?,
        Way::Cancel => {
            let reads = asyncio::create_task(async move { read_all(&rows).await })?;
            asyncio::sleep(0.01).await?;
            reads.cancel();
            assert!(reads.await.is_err_and(|error| error.is_cancelled()));
        }
        Way::Timeout => {
            let limited = asyncio::timeout(Duration::from_millis(10), read_all(&rows)).await;
            assert!(matches!(limited, Err(asyncio::Error::TimedOut)));
        }
        Way::Panic => {
            let reads = asyncio::create_task(async move {
                let _rows = rows;
                // A panic, without the message of one.
                std::panic::resume_unwind(Box::new("the reader panics"))
            })?;
            let ended: Result<(), _> = reads.await;
            assert!(ended.is_err());
        }
        Way::RunEnds => _ = kept.replace(Some(rows)),
    }
    Ok(())
}

/// Takes each way out in a run of its own: how many transactions were begun and rolled back by then.
pub(crate) fn every_way_out() -> asyncio::Result<Vec<(Way, u32, u32)>> {
    let book = Arc::new(Book::default());
    let database = start_database(&book);
    let mut seen = Vec::new();
    for way in [Way::Break, Way::Close, Way::Cancel, Way::Timeout, Way::Panic, Way::RunEnds] {
        let kept = Rc::new(RefCell::new(None));
        let keeps = Rc::clone(&kept);
        asyncio::run(async move { leave_by(way, rows(database), &keeps).await })??;
        seen.push((way, book.begun.swap(0, SeqCst), book.rolled_back.swap(0, SeqCst)));
    }
    Ok(seen)
}

#[allow(dead_code, reason = "the tests run the part above")]
fn main() -> asyncio::Result<()> {
    for (way, begun, rolled_back) in every_way_out()? {
        println!("{way:?}: {begun} transaction begun, {rolled_back} rolled back");
    }
    Ok(())
}

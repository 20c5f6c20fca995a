//! monoio, on io_uring and on epoll, which it calls legacy.

use std::io;
use std::marker::PhantomData;
use std::time::Duration;

use monoio::blocking::DefaultThreadPool;
use monoio::buf::IoBuf as _;
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt as _};
use monoio::net::TcpListener;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::{Announce, EchoServer, Peer, anywhere};
use crate::runtime::{Pool, Runtime};
use crate::workloads;

pub(super) const URING: Peer = Peer {
    name: "monoio-uring",
    about: "monoio 0.2 on io_uring",
    backend: None,
    available: uring,
    measures: &[workloads::tasks::<Monoio<IoUringDriver>>, workloads::pool::<Monoio<IoUringDriver>>],
    echo: &[EchoServer { style: "", serve: serve::<IoUringDriver> }],
};

pub(super) const LEGACY: Peer = Peer {
    name: "monoio-legacy",
    about: "monoio 0.2 on epoll",
    backend: None,
    available: anywhere,
    measures: &[workloads::tasks::<Monoio<LegacyDriver>>, workloads::pool::<Monoio<LegacyDriver>>],
    echo: &[EchoServer { style: "", serve: serve::<LegacyDriver> }],
};

struct Monoio<D>(PhantomData<D>);

/// A driver, and a runtime on it.
trait Driver: 'static {
    fn block_on<F: Future>(future: F) -> F::Output;
}

/// How many threads its pool may have: it has to be said, and is what the machine has.
fn pool() -> Box<DefaultThreadPool> {
    Box::new(DefaultThreadPool::new(std::thread::available_parallelism().map_or(1, usize::from)))
}

impl Driver for IoUringDriver {
    fn block_on<F: Future>(future: F) -> F::Output {
        let builder = RuntimeBuilder::<TimeDriver<Self>>::new().attach_thread_pool(pool());
        builder.build().expect("a runtime can be made").block_on(future)
    }
}

impl Driver for LegacyDriver {
    fn block_on<F: Future>(future: F) -> F::Output {
        let builder = RuntimeBuilder::<TimeDriver<Self>>::new().attach_thread_pool(pool());
        builder.build().expect("a runtime can be made").block_on(future)
    }
}

fn uring() -> Result<(), String> {
    if monoio::utils::detect_uring() { Ok(()) } else { Err("it finds no io_uring it could use".to_owned()) }
}

impl<D: Driver> Runtime for Monoio<D> {
    fn block_on<F: Future>(future: F) -> F::Output {
        D::block_on(future)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        monoio::spawn(future)
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }
}

impl<D: Driver> Pool for Monoio<D> {
    fn block_on<F: Future>(future: F) -> F::Output {
        D::block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        let task = monoio::spawn_blocking(work);
        async { task.await.expect("the work does not panic") }
    }
}

fn serve<D: Driver>(announce: Announce, size: usize) -> io::Result<()> {
    D::block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        announce(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            monoio::spawn(async move {
                let mut buffer = vec![0; size];
                loop {
                    let (result, read) = stream.read(buffer).await;
                    let Ok(count @ 1..) = result else { return };
                    let (result, written) = stream.write_all(read.slice(..count)).await;
                    if result.is_err() {
                        return;
                    }
                    buffer = written.into_inner();
                }
            });
        }
    })
}

//! smol: async-executor's local executor, async-io.

use std::io;
use std::time::Duration;

use smol::io::{AsyncReadExt as _, AsyncWriteExt as _};
use smol::{LocalExecutor, Task, Timer};

use super::{Announce, EchoServer, Peer, anywhere};
use crate::runtime::{Pool, Runtime};
use crate::workloads;

pub(super) const PEER: Peer = Peer {
    name: "smol",
    about: "smol 2: async-executor's LocalExecutor, async-io; its pool is the crate `blocking`",
    backend: None,
    available: anywhere,
    measures: &[workloads::tasks::<Smol>, workloads::pool::<Smol>],
    echo: &[EchoServer { style: "", serve }],
};

struct Smol;

thread_local! {
    // The executor is given to nobody else, and a program has one per thread.
    static EXECUTOR: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
}

fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    EXECUTOR.with(|executor| executor.spawn(future))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let executor = EXECUTOR.with(|executor| *executor);
    smol::block_on(executor.run(future))
}

impl Runtime for Smol {
    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        spawn(future)
    }

    fn yield_now() -> impl Future<Output = ()> + 'static {
        smol::future::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        let timer = Timer::after(duration);
        async {
            timer.await;
        }
    }
}

impl Pool for Smol {
    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        smol::unblock(work)
    }
}

fn serve(announce: Announce, size: usize) -> io::Result<()> {
    block_on(async {
        let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            spawn(async move {
                let mut buffer = vec![0; size];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            })
            .detach();
        }
    })
}

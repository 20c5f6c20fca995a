//! tokio, with the current-thread runtime.

#![allow(unsafe_code, reason = "its cheapest spawn asks for futures that may change threads")]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime as CurrentThread};

use super::{Announce, EchoServer, Peer, anywhere};
use crate::runtime::{Pool, Runtime, joined, joined_with};
use crate::workloads;

pub(super) const PEER: Peer = Peer {
    name: "tokio",
    about: "tokio 1, current_thread",
    backend: None,
    available: anywhere,
    measures: &[workloads::tasks::<Tokio>, workloads::pool::<Tokio>],
    echo: &[EchoServer { style: "", serve }],
};

struct Tokio;

fn runtime() -> io::Result<CurrentThread> {
    Builder::new_current_thread().enable_all().build()
}

/// What stays in the thread it was made in, although nothing but the reader of this file knows.
struct Staying<T>(T);

// SAFETY: the runtime is the current-thread one, made and blocked on in one thread, which polls its tasks and drops
// them, outputs included; nothing wrapped here is passed elsewhere.
unsafe impl<T> Send for Staying<T> {}

impl<F: Future> Future for Staying<F> {
    type Output = Staying<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the field is pinned as its owner is: it is moved out of nowhere.
        let inner = unsafe { self.map_unchecked_mut(|staying| &mut staying.0) };
        inner.poll(cx).map(Staying)
    }
}

impl Runtime for Tokio {
    fn block_on<F: Future>(future: F) -> F::Output {
        runtime().expect("a runtime can be made").block_on(future)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        joined_with(tokio::spawn(Staying(future)), |staying| staying.0)
    }

    fn yield_now() -> impl Future<Output = ()> + 'static {
        tokio::task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }

    fn oneshot<T: 'static>() -> (impl FnOnce(T) + 'static, impl Future<Output = T> + 'static) {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let send = move |value| assert!(sender.send(value).is_ok(), "the receiver waits");
        (send, joined(receiver))
    }
}

impl Pool for Tokio {
    fn block_on<F: Future>(future: F) -> F::Output {
        <Self as Runtime>::block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        let task = tokio::task::spawn_blocking(work);
        async { task.await.expect("the work does not panic") }
    }
}

fn serve(announce: Announce, size: usize) -> io::Result<()> {
    runtime()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = vec![0; size];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            });
        }
    })
}

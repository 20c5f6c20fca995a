//! glommio, on io_uring.

use std::io;
use std::time::Duration;

use futures_lite::io::{AsyncReadExt as _, AsyncWriteExt as _};
use glommio::net::TcpListener;
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement};

use super::{Announce, EchoServer, Peer};
use crate::runtime::{Pool, Runtime};
use crate::workloads;

pub(super) const PEER: Peer = Peer {
    name: "glommio",
    about: "glommio 0.9, unbound placement",
    backend: None,
    available,
    measures: &[workloads::tasks::<Glommio>, workloads::pool::<Glommio>],
    echo: &[EchoServer { style: "", serve }],
};

struct Glommio;

fn executor() -> Result<LocalExecutor, String> {
    // Its default; the process is pinned already.
    LocalExecutorBuilder::new(Placement::Unbound).make().map_err(|error| error.to_string())
}

fn available() -> Result<(), String> {
    executor().map(drop)
}

fn block_on<F: Future>(future: F) -> F::Output {
    executor().expect("an executor can be made").run(future)
}

impl Runtime for Glommio {
    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        glommio::spawn_local(future)
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        let timer = glommio::timer::Timer::new(duration);
        async {
            timer.await;
        }
    }
}

impl Pool for Glommio {
    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        glommio::executor().spawn_blocking(work)
    }
}

/// Its errors may hold what only one thread may look at: the text is enough.
fn failed(error: GlommioError<()>) -> io::Error {
    io::Error::other(error.to_string())
}

fn serve(announce: Announce, size: usize) -> io::Result<()> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        announce(listener.local_addr().map_err(failed)?);
        loop {
            let mut stream = listener.accept().await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let connection = async move {
                let mut buffer = vec![0; size];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            };
            glommio::spawn_local(connection).detach();
        }
    })
}

//! compio, tuned as its documentation says for one thread: `single_issuer`, `coop_taskrun` and `defer_taskrun`.

use std::io;
use std::time::Duration;

use compio::BufResult;
use compio::buf::{IntoInner as _, IoBuf as _};
use compio::driver::ProactorBuilder;
use compio::io::{AsyncRead as _, AsyncWriteExt as _};
use compio::net::TcpListener;

use super::{Announce, EchoServer, Peer};
use crate::runtime::{Pool, Runtime, joined};
use crate::workloads;

pub(super) const PEER: Peer = Peer {
    name: "compio",
    about: "compio 0.19 on io_uring, with single_issuer, coop_taskrun and defer_taskrun",
    backend: None,
    available,
    measures: &[workloads::tasks::<Compio>, workloads::pool::<Compio>],
    echo: &[EchoServer { style: "", serve }],
};

struct Compio;

fn runtime() -> io::Result<compio::runtime::Runtime> {
    let mut proactor = ProactorBuilder::new();
    proactor.single_issuer(true).coop_taskrun(true).defer_taskrun(true);
    compio::runtime::Runtime::builder().with_proactor(proactor).build()
}

fn available() -> Result<(), String> {
    runtime().map(drop).map_err(|error| error.to_string())
}

fn block_on<F: Future>(future: F) -> F::Output {
    runtime().expect("a runtime can be made").block_on(future)
}

impl Runtime for Compio {
    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future)
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        joined(compio::runtime::spawn(future))
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        compio::runtime::time::sleep(duration)
    }
}

impl Pool for Compio {
    fn block_on<F: Future>(future: F) -> F::Output {
        block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        let task = compio::runtime::spawn_blocking(work);
        async { task.await.expect("the work does not panic") }
    }
}

fn serve(announce: Announce, size: usize) -> io::Result<()> {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        announce(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let connection = async move {
                let mut buffer = Vec::with_capacity(size);
                loop {
                    let BufResult(result, read) = stream.read(buffer).await;
                    let Ok(count @ 1..) = result else { return };
                    let BufResult(result, written) = stream.write_all(read.slice(..count)).await;
                    if result.is_err() {
                        return;
                    }
                    buffer = written.into_inner();
                    buffer.clear();
                }
            };
            compio::runtime::spawn(connection).detach();
        }
    })
}

//! This project's loop, on each of its backends.

use std::marker::PhantomData;
use std::time::Duration;

use loop_api::{BackendKind, EventLoop, LoopFuture, LoopOptions};

use super::{EchoServer, Peer};
use crate::runtime::{Pool, Runtime, joined};
use crate::workloads;

mod echo;

/// The loop on one backend.
pub(crate) struct Ours<B>(PhantomData<B>);

/// A backend as a type.
pub(crate) trait On: 'static {
    const KIND: BackendKind;
}

pub(crate) struct Epoll;

impl On for Epoll {
    const KIND: BackendKind = BackendKind::Epoll;
}

pub(crate) struct Uring;

impl On for Uring {
    const KIND: BackendKind = BackendKind::Uring;
}

pub(super) const EPOLL: Peer = Peer {
    name: "ours-epoll",
    about: "this project's loop on epoll",
    backend: Some("epoll"),
    available: available::<Epoll>,
    measures: &[workloads::tasks::<Ours<Epoll>>, workloads::callbacks::<Epoll>, workloads::pool::<Ours<Epoll>>],
    echo: &servers::<Epoll>(),
};

pub(super) const URING: Peer = Peer {
    name: "ours-uring",
    about: "this project's loop on io_uring",
    backend: Some("uring"),
    available: available::<Uring>,
    measures: &[workloads::tasks::<Ours<Uring>>, workloads::callbacks::<Uring>, workloads::pool::<Ours<Uring>>],
    echo: &servers::<Uring>(),
};

const fn servers<B: On>() -> [EchoServer; 3] {
    [
        EchoServer { style: "protocol", serve: echo::protocol::<B> },
        EchoServer { style: "stream", serve: echo::stream::<B> },
        EchoServer { style: "sock", serve: echo::sock::<B> },
    ]
}

fn available<B: On>() -> Result<(), String> {
    let lp = LoopOptions::new().backend(B::KIND).build().map_err(|error| error.to_string())?;
    lp.close().map_err(|error| error.to_string())
}

/// A new loop on the backend. Whether that works is asked before anything is measured.
pub(crate) fn new_loop<B: On>() -> EventLoop {
    LoopOptions::new().backend(B::KIND).build().expect("the backend is available")
}

impl<B: On> Runtime for Ours<B> {
    fn block_on<F: Future>(future: F) -> F::Output {
        new_loop::<B>().run_until_complete(future).expect("the loop ran to the future's end")
    }

    fn spawn<F>(future: F) -> impl Future<Output = F::Output> + 'static
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        joined(loop_api::create_task(future).expect("a loop runs here"))
    }

    fn yield_now() -> impl Future<Output = ()> + 'static {
        loop_api::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        let lp = loop_api::get_running_loop().expect("a loop runs here");
        lp.sleep_for(duration)
    }

    fn oneshot<T: 'static>() -> (impl FnOnce(T) + 'static, impl Future<Output = T> + 'static) {
        let future: LoopFuture<T> = loop_api::create_future().expect("a loop runs here");
        let receiver = future.clone();
        let send = move |value| future.set_result(value).expect("the future is pending");
        (send, joined(receiver))
    }
}

impl<B: On> Pool for Ours<B> {
    fn block_on<F: Future>(future: F) -> F::Output {
        <Self as Runtime>::block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        let lp = loop_api::get_running_loop().expect("a loop runs here");
        let outcome = lp.run_in_executor(None, work).expect("the executor takes work");
        async { outcome.await.expect("the work does not panic") }
    }
}

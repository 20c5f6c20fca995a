//! rayon: a thread pool and nothing else, asked from a thread that waits.

use super::{Peer, anywhere};
use crate::runtime::Pool;
use crate::workloads;

pub(super) const PEER: Peer = Peer {
    name: "rayon",
    about: "rayon 1, its global pool",
    backend: None,
    available: anywhere,
    measures: &[workloads::pool::<Rayon>],
    echo: &[],
};

struct Rayon;

impl Pool for Rayon {
    fn block_on<F: Future>(future: F) -> F::Output {
        futures_lite::future::block_on(future)
    }

    fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + 'static {
        let (sender, receiver) = futures_channel::oneshot::channel();
        rayon::spawn(move || {
            // Whoever asked may be gone.
            _ = sender.send(work());
        });
        async { receiver.await.expect("the work does not panic") }
    }
}

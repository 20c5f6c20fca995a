//! What these tests share: connections in the states that they need.

use std::io::Read as _;

use loop_core::{Control, Socket, Transport};

use crate::net::{Case, Recorder, pattern};

/// More than a socket and its peer's can hold.
pub(crate) const BIG: usize = 16 * 1024 * 1024;

/// What the simulated network holds in flight.
pub(crate) const IN_FLIGHT: usize = 64 * 1024;

/// Resets the connection rather than ending it.
pub(crate) fn reset(socket: Socket) {
    socket.set(&Control::ResetOnClose).unwrap();
}

/// A connection whose socket takes nothing more, as its peer reads nothing: what is written from now on is unsent, to
/// the byte. The high water mark is out of reach.
pub(crate) async fn stalled(case: &Case, log_of: Recorder) -> (Transport, Peer) {
    let (transport, peer) = if case.backend_name() == "virtual" {
        let (transport, peer) = case.connection(log_of).await;
        (transport, Peer::Loop(peer))
    } else {
        // Unix sockets, unlike TCP's, have buffers of a fixed size.
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = case.adopt_socket(ours).unwrap();
        let (transport, _) = case.connect_accepted_socket(|| log_of, socket).await.unwrap();
        (transport, Peer::Std(theirs))
    };
    transport.set_write_buffer_limits(Some(usize::MAX), None).unwrap();
    transport.write(&pattern(1024 * 1024)).unwrap();
    case.settle().await;
    assert!(transport.write_buffer_size() > 0, "a megabyte fits into no socket");
    (transport, peer)
}

pub(crate) enum Peer {
    Loop(Socket),
    Std(std::os::unix::net::UnixStream),
}

impl Peer {
    /// Reads to the end of the stream.
    pub(crate) async fn read_to_end(self, case: &Case) -> Vec<u8> {
        match self {
            Self::Loop(socket) => case.read_to_end(&socket).await,
            Self::Std(mut socket) => {
                case.in_thread(move || {
                    let mut bytes = Vec::new();
                    socket.read_to_end(&mut bytes).unwrap();
                    bytes
                })
                .await
            }
        }
    }

    /// Reads so many bytes.
    pub(crate) async fn read(&self, case: &Case, count: usize) -> Vec<u8> {
        match self {
            Self::Loop(socket) => case.read_exact(socket, count).await,
            Self::Std(socket) => {
                let mut socket = socket.try_clone().unwrap();
                case.in_thread(move || {
                    let mut bytes = vec![0; count];
                    socket.read_exact(&mut bytes).unwrap();
                    bytes
                })
                .await
            }
        }
    }
}

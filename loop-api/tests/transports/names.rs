//! What a connection is called.

use std::io::{self};

use loop_core::{Control, Reply};

use crate::net::{on_each, on_real};

/// TR-25.
#[test]
fn names_are_known_also_after_close() {
    on_each(async |case| {
        let recorder = case.recorder();
        let log = recorder.log.clone();
        let (transport, peer) = case.connection(recorder).await;
        let (ours, theirs) = (peer.peer_addr().unwrap(), peer.local_addr().unwrap());
        assert_eq!(transport.sockname().unwrap(), ours);
        assert_eq!(transport.peername().unwrap(), theirs);
        transport.close();
        log.lost().await;
        assert_eq!(transport.sockname().unwrap(), ours);
        assert_eq!(transport.peername().unwrap(), theirs);
        assert_eq!(transport.raw_fd(), None);
        let gone = transport.control(&Control::Type);
        assert_eq!(gone.unwrap_err().kind(), io::ErrorKind::NotConnected);
    });
}

/// TR-25, TR-26.
#[test]
fn the_socket_can_be_asked() {
    on_each(async |case| {
        let (transport, _peer) = case.connection(case.recorder()).await;
        assert!(matches!(transport.control(&Control::Type), Ok(Reply::Type(socket2::Type::STREAM))));
        assert!(transport.get_loop().is_same(case));
        transport.abort();
    });
}

/// TR-25: a Unix socket pair has no names.
#[test]
fn a_connection_without_names_has_none() {
    on_real(async |case| {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = case.adopt_socket(ours).unwrap();
        let (transport, _) = case.connect_accepted_socket(|| case.recorder(), socket).await.unwrap();
        assert!(transport.sockname().is_some_and(|name| name.as_pathname().is_none()));
        transport.abort();
    });
}

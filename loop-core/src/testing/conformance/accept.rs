//! Accepting, one connection and many.

use super::{Make, assert_cancelled, harness};
use crate::fd::FdKey;
use crate::op::{Op, Outcome};
use crate::op_table::OpKey;
use crate::testing::{Arrival, Harness};

fn next_accepted(h: &mut Harness, accept: OpKey) -> FdKey {
    match h.next_of(accept) {
        Arrival::More(_, Outcome::Accepted(fd)) => fd,
        other => panic!("accept came to {other:?}"),
    }
}

pub(super) fn accept_multi_takes_every_connection(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(8);
    // Some are there before, the others come while it waits.
    let mut clients: Vec<FdKey> = (0..4).map(|_| h.connect(&addr)).collect();
    let accept = h.start(Op::AcceptMulti { fd: listener });
    let mut servers: Vec<FdKey> = (0..4).map(|_| next_accepted(&mut h, accept)).collect();
    for _ in 0..5 {
        clients.push(h.connect(&addr));
    }
    for _ in 0..5 {
        servers.push(next_accepted(&mut h, accept));
    }
    for (client, server) in clients.into_iter().zip(servers) {
        assert_eq!(h.local_addr(client), h.peer_addr(server));
        h.send_all(client, b"to");
        h.send_all(server, b"fro");
        assert_eq!(h.recv_exact(server, 2), b"to");
        assert_eq!(h.recv_exact(client, 3), b"fro");
    }
    assert!(h.is_in_flight(accept), "it stays armed");
    h.cancel(accept);
    assert_cancelled(&h.run_until(accept).0);
}

pub(super) fn accept_multi_may_be_asked_for_more_at_once(make: &mut Make<'_>) {
    let mut h = harness(make);
    h.resume_eagerly(true);
    let (listener, addr) = h.listener(8);
    let accept = h.start(Op::AcceptMulti { fd: listener });
    for _ in 0..3 {
        let clients = [(); 3].map(|()| {
            let fd = h.stream();
            (fd, h.start(Op::Connect { fd, addr: Box::new(addr.clone()) }))
        });
        for (client, connect) in clients {
            assert!(matches!(h.run_until(connect).0, Ok(Outcome::Done)));
            let server = next_accepted(&mut h, accept);
            assert_eq!(h.peer_addr(server), h.local_addr(client));
        }
    }
    h.cancel(accept);
    assert_cancelled(&h.run_until(accept).0);
}

pub(super) fn accepts_complete_in_order(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(8);
    let accepts = [(); 3].map(|()| h.start(Op::Accept { fd: listener }));
    let clients = [(); 3].map(|()| h.connect(&addr));
    for (accept, client) in accepts.into_iter().zip(clients) {
        let (result, _) = h.run_until(accept);
        let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
        assert_eq!(h.peer_addr(server), h.local_addr(client));
    }
}

pub(super) fn accept_needs_a_listening_socket(make: &mut Make<'_>) {
    let mut h = harness(make);
    let fd = h.stream();
    assert!(h.run(Op::Accept { fd }).0.is_err());
    assert!(h.run(Op::AcceptMulti { fd }).0.is_err());
}

pub(super) fn a_cancelled_accept_multi_leaves_the_backlog_alone(make: &mut Make<'_>) {
    let mut h = harness(make);
    let (listener, addr) = h.listener(8);
    let accept = h.start(Op::AcceptMulti { fd: listener });
    let first = h.connect(&addr);
    let server = next_accepted(&mut h, accept);
    assert_eq!(h.peer_addr(server), h.local_addr(first));
    h.cancel(accept);
    assert_cancelled(&h.run_until(accept).0);
    let second = h.connect(&addr);
    let (result, _) = h.run(Op::Accept { fd: listener });
    let Ok(Outcome::Accepted(server)) = result else { panic!("accept came to {result:?}") };
    assert_eq!(h.peer_addr(server), h.local_addr(second));
}

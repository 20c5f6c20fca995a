//! Connecting: in progress, refused, and what waits behind it.

mod sockets;

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use loop_core::{Control, Op, Outcome};
use socket2::{Domain, SockAddr, Type};
use sockets::harness;

fn address(listener: &TcpListener) -> SockAddr {
    listener.local_addr().unwrap().into()
}

#[test]
fn a_send_waits_behind_its_connect() {
    use std::io::Read;
    let mut h = harness();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fd = h.stream();
    let connect = h.start(Op::Connect { fd, addr: Box::new(address(&listener)) });
    let send = h.start(Op::Send { fd, buf: b"hello".to_vec(), start: 0 });
    assert!(matches!(h.run_until(connect).0, Ok(Outcome::Done)));
    assert!(matches!(h.run_until(send).0, Ok(Outcome::Count(5))));
    let mut got = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");
}

#[test]
fn a_refused_socket_can_connect_elsewhere() {
    let mut h = harness();
    let refusing = h.stream();
    h.control(refusing, &Control::Bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()));
    let nobody = h.local_addr(refusing);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fd = h.stream();
    let (result, _) = h.run(Op::Connect { fd, addr: Box::new(nobody) });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    // Linux tells of a failed attempt once more, to the next one.
    let again = h.run(Op::Connect { fd, addr: Box::new(address(&listener)) }).0;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    let (result, _) = h.run(Op::Connect { fd, addr: Box::new(address(&listener)) });
    assert!(matches!(result, Ok(Outcome::Done)), "{result:?}");
    // What ended the first attempt is no end of the second's stream.
    let (peer, _) = listener.accept().unwrap();
    for word in [&b"one"[..], b"two"] {
        sockets::put(&peer, word);
        assert_eq!(h.recv_exact(fd, 3), word);
    }
}

#[test]
fn a_full_unix_backlog_is_an_error() {
    let mut h = harness();
    let place = std::env::temp_dir().join(format!("loop-epoll-backlog-{}", std::process::id()));
    let _ = std::fs::remove_file(&place);
    let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let addr = SockAddr::unix(&place).unwrap();
    listener.bind(&addr).unwrap();
    listener.listen(0).unwrap();
    let mut connected = 0;
    let error = loop {
        let fd = h.backend().open(Domain::UNIX, Type::STREAM, None).unwrap();
        match h.run(Op::Connect { fd, addr: Box::new(addr.clone()) }).0 {
            Ok(_) => connected += 1,
            Err(error) => break error,
        }
        assert!(connected < 100, "the backlog never fills");
    };
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    std::fs::remove_file(&place).unwrap();
    drop(UnixListener::from(listener));
}

#[test]
fn a_connect_without_a_route_fails_at_once_or_later_but_fails() {
    let mut h = harness();
    let fd = h.stream();
    // Broadcast is no address to connect to.
    let addr = "255.255.255.255:9".parse::<std::net::SocketAddr>().unwrap().into();
    assert!(h.run(Op::Connect { fd, addr: Box::new(addr) }).0.is_err());
}

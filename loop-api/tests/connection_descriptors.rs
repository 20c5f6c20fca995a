//! Every descriptor of a connection, a server or an operation is closed: once whoever had it is gone, and at the latest
//! with the loop. A program of its own, with a single test: descriptors are counted.

mod net;

use std::cell::RefCell;
use std::net::{SocketAddr, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use loop_core::{ConnectOptions, Protocol, ServerOptions, Socket, Transport};
use net::{Case, Flag, on_real, pattern, poll_once};
use socket2::{Domain, Type};

/// The descriptors of this process that are open, and what they are.
fn open() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let mut open: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            // The directory that is being read is gone when its link is looked at.
            let target = std::fs::read_link(entry.path()).ok()?;
            (!target.starts_with("/proc")).then(|| format!("{} {}", entry.file_name().display(), target.display()))
        })
        .collect();
    open.sort();
    open
}

/// Nothing may be left, neither once all has settled, nor after the loop's close.
fn leaves_nothing(name: &str, scenario: impl AsyncFn(&Case)) {
    let before = open();
    on_real(async |case| {
        let before = open();
        scenario(case).await;
        // What has no peer in this process is waited for in vain, so: until it is so.
        let same = || open().len() == before.len();
        for _ in 0..1000 {
            if same() {
                break;
            }
            case.pass().await;
        }
        assert_eq!(open(), before, "{name}: once all has settled");
        case.take_reports();
    });
    assert_eq!(open(), before, "{name}: after the loop's close");
}

/// The loop's end is the end of everything, whoever holds it still.
fn ends_with_the_loop<T>(name: &str, dropped: bool, scenario: impl AsyncFn(&loop_core::EventLoop) -> T) {
    let before = open();
    let lp = loop_api::new_event_loop().unwrap();
    let kept = lp.run_until_complete(scenario(&lp)).unwrap();
    let during = open();
    assert!(during.len() > before.len() + 1, "{name}: there is something to close");
    if dropped {
        drop(lp);
    } else {
        lp.close().unwrap();
    }
    assert_eq!(open(), before, "{name}: after the loop's end");
    drop(kept);
    assert_eq!(open(), before, "{name}: after everything else's end");
}

struct Quiet;

impl Protocol for Quiet {}

/// Holds its transport, and so itself.
#[derive(Default)]
struct Selfish(Rc<RefCell<Vec<Transport>>>);

impl Protocol for Selfish {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.borrow_mut().push(transport.clone());
        transport.write(&pattern(16 * 1024 * 1024)).unwrap();
    }
}

fn fails() -> Quiet {
    panic!("the factory fails")
}

async fn hole(case: &Case) -> (Socket, SocketAddr, Vec<TcpStream>) {
    let listener = case.socket(Domain::IPV4, Type::STREAM).unwrap();
    listener.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let mut full = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
        full.push(stream);
    }
    (listener, addr, full)
}

#[test]
fn descriptors_are_closed() {
    // Whatever is opened once per process is open after this.
    on_real(async |case| {
        let (transport, _) = case.connection(case.recorder()).await;
        transport.close();
    });
    // Those that are meant to fail need not say so.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some("the factory fails") {
            hook(info);
        }
    }));

    leaves_nothing("connections closed, aborted, let go of, ended by the peer", async |case| {
        for way in 0..4 {
            let (transport, peer) = case.connection(case.recorder()).await;
            match way {
                0 => transport.close(),
                1 => transport.abort(),
                2 => transport.pause_reading(),
                _ => drop(peer),
            }
        }
    });
    leaves_nothing("a connection with unsent data, aborted and closed", async |case| {
        for abort in [true, false] {
            let (transport, peer) = case.connection(case.recorder()).await;
            transport.write(&pattern(16 * 1024 * 1024)).unwrap();
            transport.close();
            case.settle().await;
            if abort {
                transport.abort();
            }
            drop(peer);
        }
    });
    leaves_nothing("cancelled connects", async |case| {
        let (_listener, addr, _full) = hole(case).await;
        for passes in 0..4 {
            let flag = Arc::new(Flag::default());
            let mut connecting = pin!(case.connect_with(case.recorder(), addr));
            assert!(poll_once(connecting.as_mut(), &flag).is_pending());
            for _ in 0..passes {
                case.overtake().await;
            }
        }
    });
    leaves_nothing("the losers of a race", async |case| {
        let (_listener, slow, _full) = hole(case).await;
        let (_other, good) = case.listener();
        let options = ConnectOptions::default().happy_eyeballs_delay(Duration::from_millis(1));
        let (transport, _) = case.create_connection(|| Quiet, vec![slow, slow, good], options).await.unwrap();
        transport.close();
    });
    leaves_nothing("failing factories", async |case| {
        let (listener, addr) = case.listener();
        assert!(case.create_connection(fails, addr, ConnectOptions::default()).await.is_err());
        let (accepted, _) = case.sock_accept(&listener).await.unwrap();
        assert!(case.connect_accepted_socket(fails, accepted).await.is_err());
        let (server, addr) = case.serve(fails).await;
        let client = case.connect(addr).await;
        assert_eq!(case.read_to_end(&client).await, b"");
        server.close();
    });
    leaves_nothing("connections given up while they are made", async |case| {
        for polls in 1..4 {
            let (one, _other) = case.pair().await;
            let flag = Arc::new(Flag::default());
            let mut connecting = pin!(case.connect_accepted_socket(|| Quiet, one));
            for _ in 0..polls {
                if poll_once(connecting.as_mut(), &flag).is_ready() {
                    break;
                }
                case.overtake().await;
            }
        }
        // The last transport that was ready is let go of while it reads: it ends with its peer.
    });
    leaves_nothing("accepted, and never taken", async |case| {
        for passes in 0..4 {
            let (listener, addr) = case.listener();
            let flag = Arc::new(Flag::default());
            let mut accepting = Box::pin(case.sock_accept(&listener));
            assert!(poll_once(accepting.as_mut(), &flag).is_pending());
            let client = case.connect(addr).await;
            for _ in 0..passes {
                case.overtake().await;
            }
            drop(accepting);
            drop(client);
        }
    });
    leaves_nothing("a server closed with connections in every state", async |case| {
        for passes in 0..5 {
            let (server, addr) = case.serve(|| Quiet).await;
            let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(addr).unwrap()).collect();
            for _ in 0..passes {
                case.overtake().await;
            }
            server.close();
            server.abort_clients();
            drop(clients);
        }
    });
    leaves_nothing("servers that could not be made", async |case| {
        let (_listener, taken) = case.listener();
        let list: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.2:0".parse().unwrap(), taken];
        assert!(case.create_server(|| Quiet, list, ServerOptions::default()).await.is_err());
        let options = ServerOptions::default().start_serving(false);
        drop(case.create_server(|| Quiet, "127.0.0.1:0", options).await.unwrap());
    });
    leaves_nothing("sockets let go of with operations under way", async |case| {
        let flag = Arc::new(Flag::default());
        for passes in 0..3 {
            let (one, two) = case.pair().await;
            let mut receiving = Box::pin(case.sock_recv(&one, 10));
            assert!(poll_once(receiving.as_mut(), &flag).is_pending());
            let mut sending = Box::pin(case.sock_sendall(&one, pattern(16 * 1024 * 1024)));
            assert!(poll_once(sending.as_mut(), &flag).is_pending());
            for _ in 0..passes {
                case.overtake().await;
            }
            drop((receiving, sending));
            drop((one, two));
        }
    });

    for dropped in [true, false] {
        ends_with_the_loop("operations in flight", dropped, async |lp| {
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            let socket = Rc::new(lp.adopt_socket(one).unwrap());
            let listener = lp.socket(Domain::IPV4, Type::STREAM).unwrap();
            listener.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
            listener.listen(1).unwrap();
            let (reading, inside) = (Rc::clone(&socket), socket.get_loop());
            lp.create_task(async move { inside.sock_recv(&reading, 10).await.map(drop) }).unwrap();
            let inside = socket.get_loop();
            lp.create_task(async move { inside.sock_accept(&listener).await.map(drop) }).unwrap();
            for _ in 0..5 {
                lp.sleep_until(Duration::ZERO).await;
            }
            // Its end is not looked at any more.
            drop(other);
            socket
        });
        ends_with_the_loop("open connections on both sides, and their server", dropped, async |lp| {
            let transports: Rc<RefCell<Vec<Transport>>> = Rc::default();
            let seen = Rc::clone(&transports);
            let factory = move || Selfish(Rc::clone(&seen));
            let server = lp.create_server(factory, "127.0.0.1:0", ServerOptions::default()).await.unwrap();
            let addr = server.local_addr().unwrap();
            let seen = Rc::clone(&transports);
            lp.create_connection(|| Selfish(seen), addr, ConnectOptions::default()).await.unwrap();
            while transports.borrow().len() < 2 {
                lp.sleep_until(Duration::ZERO).await;
            }
            transports.borrow()[0].pause_reading();
            (server, transports)
        });
        ends_with_the_loop("a paused connection that nobody but itself holds", dropped, async |lp| {
            let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
            let socket = lp.adopt_socket(one).unwrap();
            let protocol = Selfish::default();
            lp.connect_accepted_socket(|| protocol, socket).await.unwrap().0.pause_reading();
            drop(other);
        });
    }
}

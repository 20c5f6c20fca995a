//! Operations of a loop ended in every way and at every stage: no descriptor, no ring buffer and no operation slot is left.

mod rings;
#[path = "rings/counted.rs"]
mod slots;

use std::future::{Future, poll_fn};
use std::mem::{drop as let_go, forget};
use std::net::TcpStream;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use loop_core::testing::CheckedBackend;
use loop_core::{EventLoop, Protocol, ServerOptions, Socket, Transport};
use loop_uring::{Options, UringBackend};
use rings::{alone, open_descriptors, put, tiny};
use slots::{Counted, Slots};

/// What is under way.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Receive,
    Send,
    Accept,
    Connect,
    ReceiveFrom,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// Polled once, in this very pass: its request is written, and not handed over.
    Queued,
    /// The kernel has it.
    Waiting,
    /// What it waits for has happened, and nobody has looked.
    Ready,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Drop,
    TaskCancel,
    Forget,
    CloseLoop,
    DropLoop,
}

/// A loop, the slots of its table, and the ring's buffers that are lent.
fn new_loop(options: &Options) -> (EventLoop, Rc<Slots>, impl Fn() -> usize + use<>) {
    let backend = UringBackend::with(options).expect("io_uring");
    let lent = backend.lent_buffers();
    let (counted, slots) = Counted::new(Box::new(backend));
    (EventLoop::new(Box::new(CheckedBackend::new(Box::new(counted)))), slots, lent)
}

/// Sockets of the loop's, and the world outside.
struct Scene {
    stream: Socket,
    listener: Socket,
    datagram: Socket,
    connecting: Socket,
    peer: TcpStream,
    /// Nobody accepts from it.
    deaf: std::net::TcpListener,
}

impl Scene {
    fn new(lp: &EventLoop) -> Self {
        let local = || std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
        let outside = local();
        let ours = TcpStream::connect(outside.local_addr().expect("an address")).expect("connect");
        let (peer, _) = outside.accept().expect("accept");
        let listener = local();
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let connecting = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        Self {
            stream: lp.adopt_socket(ours).expect("adopt"),
            listener: lp.adopt_socket(listener).expect("adopt"),
            datagram: lp.adopt_socket(datagram).expect("adopt"),
            connecting: lp.adopt_socket(connecting).expect("adopt"),
            peer,
            deaf: local(),
        }
    }

    fn socket(&self, kind: Kind) -> &Socket {
        match kind {
            Kind::Receive | Kind::Send => &self.stream,
            Kind::Accept => &self.listener,
            Kind::Connect => &self.connecting,
            Kind::ReceiveFrom => &self.datagram,
        }
    }

    /// What happens outside.
    fn happen(&mut self, kind: Kind) -> Option<TcpStream> {
        let address = |socket: &Socket| socket.local_addr().expect("bound").as_socket().expect("an internet address");
        match kind {
            Kind::Receive => put(&self.peer, b"bytes"),
            Kind::Send | Kind::Connect => {}
            Kind::Accept => return TcpStream::connect(address(&self.listener)).ok(),
            Kind::ReceiveFrom => {
                let outside = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
                outside.send_to(b"datagram", address(&self.datagram)).expect("send");
            }
        }
        None
    }
}

/// The operation, its outcome thrown away.
async fn operation(lp: EventLoop, scene: Rc<Scene>, kind: Kind) {
    let socket = scene.socket(kind);
    match kind {
        Kind::Receive => let_go(lp.sock_recv(socket, 16).await),
        // Too much for the socket, so it waits for the peer.
        Kind::Send => let_go(lp.sock_sendall(socket, vec![3; 32 << 20]).await),
        Kind::Accept => let_go(lp.sock_accept(socket).await),
        Kind::Connect => {
            let deaf = scene.deaf.local_addr().expect("an address");
            let_go(lp.sock_connect(socket, deaf).await);
        }
        Kind::ReceiveFrom => let_go(lp.sock_recvfrom(socket, 16).await),
    }
}

/// Runs the loop until no more slots are in use than before.
fn until_there_are(lp: &EventLoop, slots: &Slots, resting: usize) {
    let mut passes = 0;
    while slots.used.get() > resting {
        lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        passes += 1;
        assert!(passes < 100_000, "{} slots are in use, where {resting} were", slots.used.get());
    }
}

fn play(options: &Options, kind: Kind, stage: Stage, way: Way) {
    let case = format!("{kind:?} {stage:?} {way:?}");
    let (lp, slots, lent) = new_loop(options);
    lp.set_exception_handler(Some(Rc::new(|_, _| {})));
    let mut scene = Scene::new(&lp);
    let resting = slots.used.get();
    let outside = if stage == Stage::Ready { scene.happen(kind) } else { None };
    let scene = Rc::new(scene);
    let under_way = Rc::clone(&scene);
    let leaves = lp.run_until_complete(async {
        let running = EventLoop::running().unwrap();
        let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(operation(running.clone(), under_way, kind));
        if way == Way::TaskCancel {
            let task = running.create_task(future).unwrap();
            running.sleep_for(Duration::ZERO).await;
            if stage != Stage::Queued {
                running.sleep_for(Duration::ZERO).await;
            }
            task.cancel();
            let_go(task.await);
            return None;
        }
        let once = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        assert!(once.is_pending() || stage == Stage::Ready || matches!(kind, Kind::Connect), "{case}: it waits");
        if stage != Stage::Queued {
            running.sleep_for(Duration::ZERO).await;
        }
        match way {
            Way::Drop => let_go(future),
            Way::Forget => forget(future),
            _ => return Some(future),
        }
        None
    });
    let leaves = leaves.unwrap();
    if matches!(way, Way::Drop | Way::TaskCancel) {
        // It ends with no help of a closing loop.
        until_there_are(&lp, &slots, resting);
    }
    if way == Way::DropLoop {
        let_go(leaves);
        let_go(scene);
        let_go(lp);
    } else {
        lp.close().unwrap();
        let_go(leaves);
    }
    assert_eq!(slots.left.get(), Some(0), "operations after {case}");
    assert!(slots.gone.get(), "the table is there after {case}");
    assert_eq!(lent(), 0, "buffers after {case}");
    let_go(outside);
}

/// A forgotten future keeps what is in it, its hold of the peer's end among that: descriptors that are not the loop's.
fn descriptors_of_a_forgotten_scene() -> usize {
    ["peer", "deaf"].len()
}

fn play_all(options: &Options) {
    let _alone = alone();
    for kind in [Kind::Receive, Kind::Send, Kind::Accept, Kind::Connect, Kind::ReceiveFrom] {
        for stage in [Stage::Queued, Stage::Waiting, Stage::Ready] {
            for way in [Way::Drop, Way::TaskCancel, Way::Forget, Way::CloseLoop, Way::DropLoop] {
                let before = open_descriptors();
                play(options, kind, stage, way);
                let kept = if way == Way::Forget { descriptors_of_a_forgotten_scene() } else { 0 };
                assert!(rings::are_closed_down_to(before + kept), "descriptors after {kind:?} {stage:?} {way:?}");
            }
        }
    }
}

#[test]
fn nothing_is_left_whatever_ends_an_operation() {
    play_all(&Options::default());
}

#[test]
fn nor_with_queues_that_are_always_full() {
    play_all(&tiny());
}

struct Silent;

impl Protocol for Silent {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// Transports, with reads armed and a write that waits: closed, aborted, forgotten, or left to the loop's end.
#[test]
fn nothing_is_left_of_transports() {
    let _alone = alone();
    for way in ["close", "abort", "forget", "close loop", "drop loop"] {
        let before = open_descriptors();
        {
            let (lp, slots, lent) = new_loop(&Options::default());
            lp.set_exception_handler(Some(Rc::new(|_, _| {})));
            let resting = slots.used.get();
            let server = lp.create_server(|| Silent, "127.0.0.1:0", ServerOptions::default());
            let server = lp.run_until_complete(server).unwrap().unwrap();
            let mut peer = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            while server.connection_count() == 0 {
                lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
            }
            let transport = server.transports().remove(0);
            server.close();
            // With nothing under way but what the loop itself keeps.
            transport.write(&vec![1; 16 << 20]).unwrap();
            // A socket that is closed over such bytes resets the connection.
            if way != "close" {
                put(&mut peer, b"bytes that nobody has looked at");
            }
            match way {
                "close" => transport.close(),
                "abort" => transport.abort(),
                "forget" => forget(transport.clone()),
                _ => {}
            }
            if way == "close" {
                // What was written goes out first.
                let drains = std::thread::spawn(move || std::io::copy(&mut peer, &mut std::io::sink()).unwrap());
                lp.run_until_complete(server.wait_closed()).unwrap();
                assert_eq!(drains.join().unwrap(), 16 << 20);
            }
            if way == "abort" {
                lp.run_until_complete(server.wait_closed()).unwrap();
            }
            if matches!(way, "close" | "abort") {
                until_there_are(&lp, &slots, resting);
            }
            if way == "drop loop" {
                let_go((transport, server));
            } else {
                lp.close().unwrap();
            }
            let_go(lp);
            assert_eq!((slots.left.get(), lent(), slots.gone.get()), (Some(0), 0, true), "{way}");
        }
        // A forgotten handle has no descriptor of its own: the loop closed it.
        assert_eq!(open_descriptors(), before, "{way}");
    }
}

/// A write that a thread of the kernel's is at while the loop is closed: `close` waits for it, or leaves its memory alone.
#[test]
fn a_file_is_whole_up_to_where_the_loop_was_closed() {
    const LEN: usize = 32 << 20;
    let _alone = alone();
    let mut overtaken = 0;
    for _ in 0..20 {
        let (lp, ..) = new_loop(&Options::default());
        let mut name = std::env::temp_dir();
        name.push(format!("loop-uring-{}-closing", std::process::id()));
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(true).open(&name).unwrap();
        std::fs::remove_file(&name).unwrap();
        let seen = Arc::new(file.try_clone().unwrap());
        let file = lp.adopt_file(file).unwrap();
        lp.run_until_complete(async {
            let mut write = Box::pin(file.write_at(vec![7; LEN], 0));
            let mut under_way = false;
            for _ in 0..2 {
                under_way = poll_fn(|context| Poll::Ready(write.as_mut().poll(context).is_pending())).await;
                if !under_way {
                    break;
                }
                lp.sleep_for(Duration::ZERO).await;
            }
            overtaken += usize::from(under_way);
            let_go(write);
        })
        .unwrap();
        lp.close().unwrap();
        // Memory of the same size, for a write that would still read from the old place.
        let others = vec![0xFF_u8; LEN];
        let len = seen.metadata().unwrap().len() as usize;
        let mut written = vec![0; len];
        std::os::unix::fs::FileExt::read_exact_at(&*seen, &mut written, 0).unwrap();
        assert!(written.iter().all(|byte| *byte == 7), "another's memory was written");
        let_go(others);
    }
    assert!(overtaken > 0, "in none of the rounds was the write under way at the close");
}

//! The loop on this backend: what is dropped, forgotten, cancelled or closed leaves nothing behind.

mod rings;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use loop_core::testing::CheckedBackend;
use loop_core::{EventLoop, Protocol, ServerOptions, Socket, Transport};
use loop_uring::{Options, UringBackend};
use rings::{alone, open_descriptors, tiny};
use socket2::{Domain, Type};

fn new_loop(options: &Options) -> (EventLoop, impl Fn() -> usize + use<>) {
    let backend = UringBackend::with(options).expect("io_uring");
    let lent = backend.lent_buffers();
    (EventLoop::new(Box::new(CheckedBackend::new(Box::new(backend)))), lent)
}

/// A socket of the loop's, and the peer.
fn pair(lp: &EventLoop) -> (Socket, TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listen");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
    let (peer, _) = listener.accept().expect("accept");
    (lp.adopt_socket(ours).expect("adopt"), peer)
}

#[test]
fn a_receive_that_is_dropped_loses_nothing() {
    let _alone = alone();
    let (lp, _) = new_loop(&Options::default());
    let (socket, mut peer) = pair(&lp);
    lp.run_until_complete(async {
        for round in 0..50_u8 {
            // Polled once, so that it is under way, and dropped.
            let mut receive = Box::pin(lp.sock_recv(&socket, 4));
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(receive.as_mut().poll(cx))).await.is_pending());
            if round % 2 == 0 {
                lp.sleep_for(Duration::ZERO).await;
            }
            peer.write_all(&[round; 4]).unwrap();
            if round % 3 == 0 {
                lp.sleep_for(Duration::ZERO).await;
            }
            drop(receive);
            let mut got = Vec::new();
            while got.len() < 4 {
                got.extend(lp.sock_recv(&socket, 4 - got.len()).await.unwrap());
            }
            assert_eq!(got, [round; 4]);
        }
    })
    .unwrap();
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data).expect("open");
    }
}

fn serve(lp: &EventLoop) -> loop_core::Server {
    let listen = lp.create_server(|| Echo, "127.0.0.1:0", ServerOptions::default());
    lp.run_until_complete(listen).expect("the loop runs").expect("a server")
}

#[test]
fn an_echo_server_serves_and_leaves_nothing() {
    let _alone = alone();
    for options in [Options::default(), Options { buffers: 4, buffer_size: 512, ..tiny() }] {
        let before = open_descriptors();
        let (lp, lent) = new_loop(&options);
        let server = serve(&lp);
        let addr = server.local_addr().unwrap();
        let handle = lp.handle();
        let clients = std::thread::spawn(move || {
            let mut peers: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
            for round in 0..30_usize {
                let bytes: Vec<u8> = (0..round * 300 + 1).map(|n| (n * 31 + round) as u8).collect();
                for peer in &mut peers {
                    peer.write_all(&bytes).unwrap();
                }
                for peer in &mut peers {
                    let mut got = vec![0; bytes.len()];
                    peer.read_exact(&mut got).unwrap();
                    assert!(got == bytes);
                }
            }
            // Half of them stay connected.
            peers.truncate(10);
            handle.stop();
            peers
        });
        lp.run_forever().unwrap();
        let peers = clients.join().unwrap();
        server.close();
        lp.close().unwrap();
        drop((server, lp));
        for mut peer in peers {
            match peer.read(&mut [0; 4]) {
                Ok(count) => assert_eq!(count, 0, "a closed loop's connections are closed"),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
        assert_eq!(lent(), 0);
        assert!(rings::are_closed_down_to(before), "descriptors");
    }
}

#[test]
fn tasks_that_are_cancelled_end_what_they_await() {
    let _alone = alone();
    let before = open_descriptors();
    {
        let (lp, _) = new_loop(&Options::default());
        let listener = lp.socket(Domain::IPV4, Type::STREAM).unwrap();
        listener.bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.listen(8).unwrap();
        let listener = Rc::new(listener);
        let accepting = lp.create_task({
            let (lp, listener) = (lp.clone(), Rc::clone(&listener));
            async move { lp.sock_accept(&listener).await.map(|_| ()) }
        });
        let accepting = accepting.unwrap();
        for _ in 0..2 {
            lp.run_until_complete(lp.sleep_for(Duration::ZERO)).unwrap();
        }
        // A connection comes in as the task is told to end: it is closed, or stays in the backlog.
        let addr = listener.local_addr().unwrap().as_socket().unwrap();
        let _peer = TcpStream::connect(addr).unwrap();
        assert!(loop_core::Future::cancel(&accepting));
        assert!(lp.run_until_complete(accepting).is_ok_and(|ended| ended.is_err()));
        lp.close().unwrap();
    }
    assert!(rings::are_closed_down_to(before), "descriptors");
}

#[derive(Default)]
struct Kept(Rc<RefCell<Vec<u8>>>);

impl Protocol for Kept {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
    }
}

#[test]
fn connections_that_pause_hold_up_nobody() {
    let _alone = alone();
    let (lp, _) = new_loop(&Options { buffers: 4, buffer_size: 256, ..Options::default() });
    let paused = lp
        .run_until_complete(lp.create_server(Kept::default, "127.0.0.1:0", ServerOptions::default()))
        .unwrap()
        .unwrap();
    let echo = serve(&lp);
    let (idle, busy) = (paused.local_addr().unwrap(), echo.local_addr().unwrap());
    let handle = lp.handle();
    let clients = std::thread::spawn(move || {
        let mut waiting: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(idle).unwrap()).collect();
        waiting.iter_mut().for_each(|peer| peer.write_all(&[1; 1000]).unwrap());
        let mut peer = TcpStream::connect(busy).unwrap();
        for round in 0..50_u8 {
            peer.write_all(&[round; 100]).unwrap();
            let mut got = [0; 100];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(got, [round; 100]);
        }
        handle.stop();
    });
    lp.run_forever().unwrap();
    clients.join().unwrap();
    lp.close().unwrap();
}

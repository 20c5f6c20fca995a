//! A server that runs out of descriptors: row SRV-09 of the inventory, and the faults DEF-02 and DEF-03. A program of its
//! own, with a single test: the limit is the process's.
//!
//! The rest after such a failure is a second of the machine's time, as the descriptors are the machine's.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use loop_core::{EventLoop, ExceptionContext, Protocol, ServerOptions, Transport};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

struct Counts(Rc<Cell<usize>>);

impl Protocol for Counts {
    fn connection_made(&mut self, _: &Transport) {
        self.0.set(self.0.get() + 1);
    }
}

/// Takes every descriptor that is left.
fn exhaust() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return files;
            }
        }
    }
}

/// A socket to connect later, when there are no descriptors any more.
fn client() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).unwrap()
}

async fn until(lp: &EventLoop, what: &str, so: impl Fn() -> bool) {
    let limit = lp.time() + Duration::from_secs(30);
    while !so() {
        assert!(lp.time() < limit, "{what} does not happen");
        lp.sleep_for(Duration::from_millis(1)).await;
    }
}

#[test]
fn out_of_descriptors_is_reported_once_and_accepting_rests_for_a_second() {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limits.maximum }).unwrap();
    let lp = loop_api::new_event_loop().unwrap();
    let reports: Rc<RefCell<Vec<(Duration, String, bool)>>> = Rc::default();
    let told = Rc::clone(&reports);
    lp.set_exception_handler(Some(Rc::new(move |lp: &EventLoop, context: &ExceptionContext| {
        let complete = context.get("socket").is_some()
            && context.exception.as_ref().is_some_and(|error| error.to_string().contains("os error 24"));
        let message = context.message.as_deref().unwrap_or_default().to_owned();
        told.borrow_mut().push((lp.time(), message, complete));
    })));
    let made = Rc::new(Cell::new(0));
    let count = Rc::clone(&made);
    lp.run_until_complete(async {
        let factory = move || Counts(Rc::clone(&count));
        let server = lp.create_server(factory, "127.0.0.1:0", ServerOptions::default()).await.unwrap();
        let addr: SocketAddr = server.local_addr().unwrap();

        // It accepts.
        let first = client();
        first.connect(&addr.into()).unwrap();
        until(&lp, "the first connection", || made.get() == 1).await;

        // Then there is nothing left to accept with.
        let clients = [client(), client(), client()];
        let timers = lp.timer_count();
        let files = exhaust();
        for client in &clients {
            client.connect(&addr.into()).unwrap();
        }
        until(&lp, "the report", || !reports.borrow().is_empty()).await;
        for _ in 0..100 {
            lp.sleep_until(Duration::ZERO).await;
        }
        let (when, message, complete) = reports.borrow()[0].clone();
        assert_eq!(message, "socket.accept() out of system resource");
        assert!(complete, "with the error and the socket");
        assert_eq!(reports.borrow().len(), 1, "DEF-02: once");
        assert_eq!(lp.timer_count() - timers, 1, "DEF-02: and with one timer");
        assert!(server.is_serving(), "the socket stays open");

        // There is room again, and nobody had to ask: all of them are served.
        drop(files);
        until(&lp, "the retry", || made.get() == 4).await;
        assert!(lp.time() - when >= Duration::from_secs(1), "after a rest of a second");
        assert_eq!((reports.borrow().len(), lp.timer_count()), (1, timers));

        // DEF-03: closed while it rests.
        let late = client();
        let files = exhaust();
        late.connect(&addr.into()).unwrap();
        until(&lp, "the second report", || reports.borrow().len() == 2).await;
        assert_eq!(lp.timer_count() - timers, 1);
        server.close();
        assert_eq!(lp.timer_count(), timers, "there is nothing to go on with");
        drop(files);
        server.close_clients();
        server.wait_closed().await;
        assert_eq!(reports.borrow().len(), 2);
        assert_eq!(made.get(), 4, "nobody accepted the last one");

        // The loop's own end, with a listener that rests.
        let factory = || Counts(Rc::default());
        let server = lp.create_server(factory, "127.0.0.1:0", ServerOptions::default()).await.unwrap();
        let late = client();
        let files = exhaust();
        late.connect(&server.local_addr().unwrap().into()).unwrap();
        until(&lp, "the third report", || reports.borrow().len() == 3).await;
        drop(files);
    })
    .unwrap();
    lp.close().unwrap();
    assert_eq!(Rc::strong_count(&made), 1, "the factory went with the loop");
}

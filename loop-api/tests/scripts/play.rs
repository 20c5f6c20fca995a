//! A loop that plays a script.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use loop_api::{
    BackendKind, EventLoop, LoopBuilder, LoopError, LoopOptions, LoopTask, Socket, StreamReader, StreamWriter,
    TaskError,
};
use loop_core::testing::{CheckedBackend, VirtualBackend};
use socket2::{Domain, Type};

use crate::loops::collect_reports;
use crate::script::{Act, Layer, Script, Side, bytes, first_wrong};

/// On what a script is played.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    /// The simulated network, as readiness.
    Readiness,
    /// The simulated network, as completions.
    Completion,
    Real(BackendKind),
}

/// What the script alone decides of one direction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Everything that was sent has arrived, so much, and then the end.
    Whole(usize),
    /// The sender gave up, or the receiver went: some first part arrived.
    Part,
}

/// How many descriptors are open.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("a list of descriptors").count()
}

/// One end.
enum End {
    Socket(Rc<Socket>),
    /// A reader is with the read that waits, if there is one.
    Stream(Rc<RefCell<Option<StreamReader>>>, Rc<RefCell<Option<StreamWriter>>>),
    Gone,
}

/// One direction: what was sent in it, and what has arrived.
#[derive(Default)]
struct Direction {
    sent: Cell<usize>,
    arrived: RefCell<Vec<u8>>,
    ended: Cell<bool>,
    /// Only a first part need arrive: the sender gave up, or one end is gone.
    ragged: Cell<bool>,
    /// No more is sent.
    half_closed: Cell<bool>,
}

struct Played {
    ends: [RefCell<End>; 2],
    directions: [Rc<Direction>; 2],
    sends: [RefCell<Vec<LoopTask<()>>>; 2],
    receives: [RefCell<VecDeque<Receiving>>; 2],
}

/// A receive that was started.
struct Receiving {
    task: LoopTask<()>,
    dropper: Rc<Dropper>,
}

/// Has a future dropped from outside, where it stands.
#[derive(Default)]
struct Dropper {
    asked: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Dropper {
    fn drop_it(&self) {
        self.asked.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Its output, unless it is dropped before that.
    async fn or_dropped<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(Some(future));
        poll_fn(|context| {
            if self.asked.get() {
                future.set(None);
            }
            let Some(inner) = future.as_mut().as_pin_mut() else { return Poll::Ready(None) };
            self.waker.set(Some(context.waker().clone()));
            inner.poll(context).map(Some)
        })
        .await
    }
}

/// Counts operations that began and did not end.
type UnderWay = Rc<Cell<isize>>;

struct Counted(UnderWay);

impl Counted {
    fn new(count: &UnderWay) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

pub(crate) fn play(stage: Stage, script: &Script) -> Vec<[Shown; 2]> {
    let backend = match stage {
        Stage::Readiness => Box::new(VirtualBackend::new()) as Box<dyn loop_api::Backend>,
        Stage::Completion => Box::new(VirtualBackend::new().completing()),
        Stage::Real(kind) => LoopOptions::new().backend(kind).open_backend().expect("it worked before"),
    };
    // Asserts that every operation ends once, and that none is left when the loop is closed.
    let lp = LoopBuilder::new(Box::new(CheckedBackend::new(backend))).build();
    let reports = collect_reports(&lp);
    let under_way = UnderWay::default();
    let shown = lp.run_until_complete(async {
        let mut act = pin!(act_out(&lp, script, &under_way));
        let mut patience = pin!(lp.sleep_for(Duration::from_secs(20)));
        poll_fn(|context| {
            if let Poll::Ready(shown) = act.as_mut().poll(context) {
                return Poll::Ready(shown);
            }
            assert!(patience.as_mut().poll(context).is_pending(), "it hangs");
            Poll::Pending
        })
        .await
    });
    let shown = shown.expect("nobody cancels the play");
    assert!(lp.all_tasks().is_empty(), "these tasks have not ended: {:?}", lp.all_tasks());
    assert_eq!(under_way.get(), 0, "every operation has ended");
    lp.close().expect("it does not run");
    assert_eq!(reports.len(), 0, "nothing is reported: {:?}", crate::loops::messages(&reports));
    shown
}

async fn act_out(lp: &EventLoop, script: &Script, under_way: &UnderWay) -> Vec<[Shown; 2]> {
    let mut played = Vec::new();
    for layer in &script.connections {
        played.push(connect(lp, *layer).await);
    }
    for step in &script.steps {
        let connection = &played[step.connection];
        let (side, stream) = (step.side, step.connection * 2 + step.side);
        match step.act {
            Act::Send(count) => connection.send(lp, side, stream, count, under_way),
            Act::Receive(limit) => connection.receive(lp, side, limit, under_way),
            Act::GiveUp { by_cancelling } => connection.give_up(side, by_cancelling).await,
            Act::CancelSend => connection.cancel_send(side).await,
            Act::HalfClose => connection.half_close(lp, side),
            Act::Close => connection.close(side).await,
            Act::Wait(passes) => {
                for _ in 0..passes {
                    loop_api::yield_now().await;
                }
            }
        }
    }
    let mut shown = Vec::new();
    for (number, connection) in played.iter().enumerate() {
        shown.push(connection.wind_up(lp, number, under_way).await);
    }
    shown
}

async fn connect(lp: &EventLoop, layer: Layer) -> Played {
    let listener = lp.socket(Domain::IPV4, Type::STREAM).unwrap();
    listener.bind("127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    listener.listen(1).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let ends = match layer {
        Layer::Sockets => {
            let ours = lp.socket(Domain::IPV4, Type::STREAM).unwrap();
            lp.sock_connect(&ours, addr).await.unwrap();
            let (theirs, _) = lp.sock_accept(&listener).await.unwrap();
            [ours, theirs].map(|socket| End::Socket(Rc::new(socket)))
        }
        Layer::Streams => {
            drop(listener);
            let accepted: Rc<RefCell<Option<(StreamReader, StreamWriter)>>> = Rc::default();
            let place = Rc::clone(&accepted);
            let server = loop_api::start_server("127.0.0.1:0", move |reader, writer| {
                place.replace(Some((reader, writer)));
                std::future::ready(())
            });
            let server = server.await.unwrap();
            let ours = loop_api::open_connection(server.local_addr().unwrap()).await.unwrap();
            while accepted.borrow().is_none() {
                lp.sleep_until(Duration::ZERO).await;
            }
            server.close();
            let theirs = accepted.take().expect("it was accepted");
            [ours, theirs].map(|(reader, writer)| {
                End::Stream(Rc::new(RefCell::new(Some(reader))), Rc::new(RefCell::new(Some(writer))))
            })
        }
    };
    let [ours, theirs] = ends;
    Played {
        ends: [RefCell::new(ours), RefCell::new(theirs)],
        directions: Default::default(),
        sends: Default::default(),
        receives: Default::default(),
    }
}

impl Played {
    fn send(&self, lp: &EventLoop, side: Side, stream: usize, count: usize, under_way: &UnderWay) {
        let direction = &self.directions[side];
        if direction.half_closed.get() || direction.ragged.get() {
            return;
        }
        let data = bytes(stream, direction.sent.get(), count);
        let counted = Counted::new(under_way);
        let before = self.sends[side].borrow().last().cloned();
        let task = match &*self.ends[side].borrow() {
            End::Socket(socket) => {
                let (socket, lp, direction) = (Rc::clone(socket), lp.clone(), Rc::clone(direction));
                self.spawn(async move {
                    let _counted = counted;
                    // A whole send at a time, and none behind one that was given up half-way.
                    if let Some(before) = before
                        && (&before).await.is_err()
                    {
                        return;
                    }
                    if lp.sock_sendall(&socket, data).await.is_err() {
                        direction.ragged.set(true);
                    }
                })
            }
            End::Stream(_, writer) => {
                let (writer, direction) = (Rc::clone(writer), Rc::clone(direction));
                self.spawn(async move {
                    let _counted = counted;
                    let Some(mut own) = writer.take() else { return direction.ragged.set(true) };
                    let written = own.write(&data);
                    writer.replace(Some(own));
                    if written.is_err() {
                        direction.ragged.set(true);
                    }
                })
            }
            End::Gone => return,
        };
        direction.sent.set(direction.sent.get() + count);
        self.sends[side].borrow_mut().push(task);
    }

    fn receive(&self, lp: &EventLoop, side: Side, limit: usize, under_way: &UnderWay) {
        // What this end receives is what the other one sends.
        let direction = Rc::clone(&self.directions[1 - side]);
        let (counted, dropper) = (Counted::new(under_way), Rc::new(Dropper::default()));
        let task = match &*self.ends[side].borrow() {
            End::Socket(socket) => {
                let (socket, lp, dropper) = (Rc::clone(socket), lp.clone(), Rc::clone(&dropper));
                self.spawn(async move {
                    let _counted = counted;
                    if let Some(got) = dropper.or_dropped(lp.sock_recv(&socket, limit)).await {
                        direction.took(got.map_err(io_error));
                    }
                })
            }
            End::Stream(reader, _) => {
                let Some(own) = reader.take() else { return };
                let (mut lent, dropper) = (Lent(Rc::clone(reader), Some(own)), Rc::clone(&dropper));
                self.spawn(async move {
                    let _counted = counted;
                    let reader = lent.1.as_mut().expect("until it is given back");
                    if let Some(got) = dropper.or_dropped(reader.read(limit)).await {
                        direction.took(got.map_err(|error| io::Error::other(error.to_string())));
                    }
                })
            }
            End::Gone => return,
        };
        self.receives[side].borrow_mut().push_back(Receiving { task, dropper });
    }

    fn spawn(&self, work: impl Future<Output = ()> + 'static) -> LoopTask<()> {
        loop_api::create_task(work).expect("in the loop")
    }

    async fn give_up(&self, side: Side, by_cancelling: bool) {
        let Some(Receiving { task, dropper }) = self.receives[side].borrow_mut().pop_front() else { return };
        if by_cancelling {
            task.cancel();
        } else {
            dropper.drop_it();
        }
        let outcome = task.await;
        assert!(matches!(outcome, Ok(()) | Err(TaskError::Cancelled(_))), "{outcome:?}");
    }

    async fn cancel_send(&self, side: Side) {
        let tasks = self.sends[side].take();
        tasks.iter().for_each(|task| _ = task.cancel());
        for task in tasks {
            let _ = task.await;
        }
        // Whether it was in time or not: that is the backend's to decide.
        self.directions[side].ragged.set(true);
    }

    fn half_close(&self, lp: &EventLoop, side: Side) {
        let direction = &self.directions[side];
        if direction.ragged.get() || direction.half_closed.replace(true) {
            return;
        }
        let sends = self.sends[side].borrow().clone();
        let work = match &*self.ends[side].borrow() {
            End::Socket(socket) => {
                let socket = Rc::clone(socket);
                let _ = lp;
                self.spawn(async move {
                    for send in sends {
                        let _ = (&send).await;
                    }
                    // The other end may be gone.
                    let _ = socket.shutdown(Shutdown::Write);
                })
            }
            End::Stream(_, writer) => {
                let writer = Rc::clone(writer);
                self.spawn(async move {
                    for send in sends {
                        let _ = (&send).await;
                    }
                    if let Some(writer) = &mut *writer.borrow_mut() {
                        writer.write_eof();
                    }
                })
            }
            End::Gone => return,
        };
        self.sends[side].borrow_mut().push(work);
    }

    async fn close(&self, side: Side) {
        if let End::Gone = *self.ends[side].borrow() {
            return;
        }
        // What is under way at this end goes with it.
        for direction in &self.directions {
            direction.ragged.set(true);
        }
        let receives = self.receives[side].take().into_iter().map(|receiving| receiving.task);
        let tasks: Vec<_> = self.sends[side].take().into_iter().chain(receives).collect();
        tasks.iter().for_each(|task| _ = task.cancel());
        for task in tasks {
            let _ = task.await;
        }
        let end = self.ends[side].replace(End::Gone);
        if let End::Stream(_, writer) = &end
            && let Some(writer) = writer.take()
        {
            writer.transport().abort();
        }
        drop(end);
    }

    /// Everything comes to its end: what was sent is read, and each end is closed.
    async fn wind_up(&self, lp: &EventLoop, number: usize, under_way: &UnderWay) -> [Shown; 2] {
        for side in [0, 1] {
            self.half_close(lp, side);
            if self.directions[side].ragged.get() {
                // Nobody says the end otherwise.
                self.close(side).await;
            }
        }
        for side in [0, 1] {
            while !self.directions[1 - side].ended.get() && !matches!(*self.ends[side].borrow(), End::Gone) {
                self.receive(lp, side, 100_000, under_way);
                let receives = self.receives[side].take();
                assert!(!receives.is_empty(), "a reader that nobody reads from is there");
                for receive in receives {
                    let _ = receive.task.await;
                }
            }
        }
        let mut shown = Vec::new();
        for side in [0, 1] {
            for task in self.sends[side].take() {
                let _ = task.await;
            }
            let direction = &self.directions[side];
            let (stream, arrived) = (number * 2 + side, direction.arrived.borrow());
            if let Some(place) = first_wrong(stream, 0, &arrived) {
                panic!("connection {number}, sent by {side}: byte {place} of {} is not what was sent", arrived.len());
            }
            let sent = direction.sent.get();
            assert!(arrived.len() <= sent, "connection {number}, sent by {side}: more than was sent");
            if direction.ragged.get() {
                shown.push(Shown::Part);
            } else {
                assert_eq!(arrived.len(), sent, "connection {number}, sent by {side}: not all has arrived");
                shown.push(Shown::Whole(sent));
            }
        }
        for side in [0, 1] {
            self.close(side).await;
        }
        shown.try_into().expect("two directions")
    }
}

/// A reader with the read that has it; given back in whatever way that ends.
struct Lent(Rc<RefCell<Option<StreamReader>>>, Option<StreamReader>);

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.replace(self.1.take());
    }
}

impl Direction {
    /// A receive came to something.
    fn took(&self, got: io::Result<Vec<u8>>) {
        match got {
            Ok(got) if got.is_empty() => self.ended.set(true),
            Ok(got) => {
                assert!(!self.ended.get(), "nothing comes behind the end");
                self.arrived.borrow_mut().extend(got);
            }
            Err(error) => {
                assert!(self.ragged.get(), "a receive failed though nobody went: {error}");
                self.ended.set(true);
            }
        }
    }
}

fn io_error(error: LoopError) -> io::Error {
    io::Error::other(error.to_string())
}

//! The simulated network: sockets, the operations that wait on them, and the agenda of what `poll` reports.
//!
//! The rules that make it right and always the same:
//!
//! * an operation that waits is in the queue of one socket and direction, and only the head of a queue is ever
//!   tried (**B3**); leaving the queue and having a final completion are one step (**B1**);
//! * whatever changes a socket puts it on the agenda if somebody waits there; `collect` works the agenda off in
//!   order. Maps are only looked up, never walked.

mod connections;
mod moving;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Type};

use super::address::{Binding, shown};
use super::datagram::Mailbox;
use super::stream::{End, Stream};
use crate::buffer::ReceivePool;
use crate::fd::{FdKey, FdTable};
use crate::op::{Completion, Event, Interest, Op, Outcome, Submitted};
use crate::op_table::{OpKey, OpTable};
use moving::into_spare;

/// The size of a multishot receive's chunks: less than a connection holds, so that there are several.
const CHUNK: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Network {
    /// Everything completes out of `poll`.
    pub(super) completing: bool,
    sockets: FdTable<Socket>,
    /// Where each waiting operation waits.
    waiting: HashMap<OpKey, Place>,
    agenda: VecDeque<Item>,
    pool: ReceivePool,
    next_port: u16,
}

#[derive(Debug)]
struct Place {
    fd: FdKey,
    interest: Interest,
    /// `Resume` was reported and is not answered yet.
    told: bool,
}

#[derive(Debug)]
enum Item {
    Report(OpKey, io::Result<Outcome>),
    Look(FdKey, Interest),
}

#[derive(Debug)]
struct Socket {
    domain: Domain,
    state: State,
    local: Option<SocketAddr>,
    /// It has its address by itself, not by being accepted: nobody else may have it.
    claims: bool,
    options: Options,
    queues: [Queue; 2],
}

#[derive(Debug)]
enum State {
    Stream(Stream),
    Datagram(Mailbox),
}

#[derive(Debug, Clone, Copy, Default)]
struct Options {
    reuse_address: bool,
    reuse_port: bool,
    only_v6: bool,
    broadcast: bool,
    reset_on_close: bool,
}

#[derive(Debug, Default)]
struct Queue {
    ops: VecDeque<OpKey>,
    on_agenda: bool,
}

impl Socket {
    fn new(domain: Domain, state: State) -> Self {
        Self { domain, state, local: None, claims: false, options: Options::default(), queues: Default::default() }
    }

    fn queue(&mut self, interest: Interest) -> &mut Queue {
        &mut self.queues[interest as usize]
    }

    fn binding(&self) -> Option<Binding> {
        Some(Binding { addr: self.local?, only_v6: self.options.only_v6 })
    }

    fn is_stream(&self) -> bool {
        matches!(self.state, State::Stream(_))
    }

    /// Whether the head of the queue would get somewhere, be it an error.
    fn is_ready(&self, interest: Interest) -> bool {
        match (&self.state, interest) {
            (State::Stream(Stream::Fresh), _) => true,
            (State::Stream(Stream::Listening(listener)), Interest::Read) => !listener.backlog.is_empty(),
            (State::Stream(Stream::Listening(_)), Interest::Write) => true,
            (State::Stream(Stream::Connecting { .. }), _) => false,
            (State::Stream(Stream::Connected(end)), Interest::Read) => end.is_readable(),
            (State::Stream(Stream::Connected(end)), Interest::Write) => end.is_writable(),
            (State::Datagram(mailbox), Interest::Read) => mailbox.is_readable(),
            (State::Datagram(_), Interest::Write) => true,
        }
    }
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn unknown() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

/// `None` where it would block.
fn unless_blocked<T>(result: io::Result<T>) -> Option<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        other => Some(other),
    }
}

impl Network {
    pub(super) fn new() -> Self {
        Self {
            completing: false,
            sockets: FdTable::default(),
            waiting: HashMap::new(),
            agenda: VecDeque::new(),
            pool: ReceivePool::new(CHUNK),
            next_port: requests::FIRST_PORT,
        }
    }

    pub(super) fn open(&mut self, domain: Domain, kind: Type) -> io::Result<FdKey> {
        if domain != Domain::IPV4 && domain != Domain::IPV6 {
            return Err(errno(libc::EAFNOSUPPORT));
        }
        let state = match kind {
            Type::STREAM => State::Stream(Stream::Fresh),
            Type::DGRAM => State::Datagram(Mailbox::default()),
            _ => return Err(errno(libc::ESOCKTNOSUPPORT)),
        };
        Ok(self.sockets.insert(Socket::new(domain, state)))
    }

    fn socket(&mut self, fd: FdKey) -> io::Result<&mut Socket> {
        self.sockets.get_mut(fd).ok_or_else(unknown)
    }

    // ---- the agenda ----

    /// Puts a socket's direction on the agenda, if somebody waits there.
    fn look(&mut self, fd: FdKey, interest: Interest) {
        if let Some(socket) = self.sockets.get_mut(fd) {
            let queue = socket.queue(interest);
            if !queue.ops.is_empty() && !std::mem::replace(&mut queue.on_agenda, true) {
                self.agenda.push_back(Item::Look(fd, interest));
            }
        }
    }

    /// Something happened to a connection: whoever waits at either end may go on.
    fn look_at_both(&mut self, end: &End) {
        for fd in end.owners().into_iter().flatten() {
            self.look(fd, Interest::Read);
            self.look(fd, Interest::Write);
        }
    }

    /// Works off the agenda.
    pub(super) fn collect(&mut self, ops: &mut OpTable, out: &mut Vec<Completion>) {
        while let Some(item) = self.agenda.pop_front() {
            match item {
                Item::Report(op, result) => out.push(Completion { op, event: Event::Final(result) }),
                Item::Look(fd, interest) => {
                    if let Some(socket) = self.sockets.get_mut(fd) {
                        socket.queue(interest).on_agenda = false;
                    }
                    while let Some(head) = self.ready_head(fd, interest) {
                        if !self.completing {
                            let place = self.waiting.get_mut(&head).expect("what is queued waits");
                            if !std::mem::replace(&mut place.told, true) {
                                out.push(Completion { op: head, event: Event::Resume });
                            }
                            break;
                        }
                        match self.attempt(ops, head) {
                            None => break,
                            Some(Attempt::More(outcome)) => {
                                out.push(Completion { op: head, event: Event::More(outcome) });
                            }
                            Some(Attempt::Over(result)) => {
                                self.unqueue(head);
                                out.push(Completion { op: head, event: Event::Final(result) });
                            }
                        }
                    }
                }
            }
        }
    }

    /// The head of a queue, if it can go on.
    fn ready_head(&mut self, fd: FdKey, interest: Interest) -> Option<OpKey> {
        let socket = self.sockets.get_mut(fd)?;
        let head = *socket.queue(interest).ops.front()?;
        socket.is_ready(interest).then_some(head)
    }

    // ---- operations ----

    pub(super) fn submit(&mut self, ops: &mut OpTable, key: OpKey) -> Submitted {
        let Some(op) = ops.get(key) else { return Submitted::Unsupported };
        let Some(fd) = op.fd() else { return Submitted::Unsupported };
        if self.sockets.get(fd).is_none() {
            return self.at_once(key, Err(unknown()));
        }
        let interest = match op {
            Op::Shutdown { how, .. } => {
                let result = self.shutdown(fd, *how);
                return self.at_once(key, result.map(|()| Outcome::Done));
            }
            Op::Connect { addr, .. } => {
                let addr = addr.clone();
                return match self.connect(fd, &addr, key) {
                    Ok(true) => Submitted::Queued,
                    Ok(false) => self.at_once(key, Ok(Outcome::Done)),
                    Err(error) => self.at_once(key, Err(error)),
                };
            }
            op => op.direction().expect("every other socket operation has a direction"),
        };
        let first = self.sockets.get_mut(fd).is_some_and(|socket| socket.queue(interest).ops.is_empty());
        if first && !self.completing {
            match self.attempt(ops, key) {
                Some(Attempt::Over(result)) => return Submitted::Done(result),
                Some(Attempt::More(outcome)) => {
                    self.enqueue(fd, interest, key);
                    return Submitted::More(outcome);
                }
                None => {}
            }
        }
        self.enqueue(fd, interest, key);
        Submitted::Queued
    }

    /// A result that is there already, told in this backend's manner.
    fn at_once(&mut self, key: OpKey, result: io::Result<Outcome>) -> Submitted {
        if !self.completing {
            return Submitted::Done(result);
        }
        self.agenda.push_back(Item::Report(key, result));
        Submitted::Queued
    }

    fn enqueue(&mut self, fd: FdKey, interest: Interest, key: OpKey) {
        if let Some(socket) = self.sockets.get_mut(fd) {
            socket.queue(interest).ops.push_back(key);
            self.waiting.insert(key, Place { fd, interest, told: false });
            self.look(fd, interest);
        }
    }

    /// The operation waits no longer; the next in its queue may go on.
    fn unqueue(&mut self, key: OpKey) -> Option<Place> {
        let place = self.waiting.remove(&key)?;
        if let Some(socket) = self.sockets.get_mut(place.fd) {
            socket.queue(place.interest).ops.retain(|other| *other != key);
            self.look(place.fd, place.interest);
        }
        Some(place)
    }

    pub(super) fn resume(&mut self, ops: &mut OpTable, key: OpKey) -> Submitted {
        let Some(place) = self.waiting.get_mut(&key) else { return Submitted::Queued };
        place.told = false;
        let (fd, interest) = (place.fd, place.interest);
        // B3: only the head goes on. What completes by itself is never told to.
        if self.completing || self.ready_head(fd, interest) != Some(key) {
            return Submitted::Queued;
        }
        match self.attempt(ops, key) {
            None => Submitted::Queued,
            Some(Attempt::More(outcome)) => {
                self.look(fd, interest);
                Submitted::More(outcome)
            }
            Some(Attempt::Over(result)) => {
                self.unqueue(key);
                Submitted::Done(result)
            }
        }
    }

    /// A receive goes on, into this memory.
    pub(super) fn resume_into(&mut self, ops: &OpTable, key: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        let fd = self.waiting.get(&key)?.fd;
        let is_next = !self.completing && self.ready_head(fd, Interest::Read) == Some(key);
        if !is_next || !matches!(ops.get(key), Some(Op::RecvMulti { .. })) {
            return None;
        }
        let received = self.recv_now(fd, buf);
        if matches!(received, Ok(1..)) {
            if let Some(place) = self.waiting.get_mut(&key) {
                place.told = false;
            }
            self.look(fd, Interest::Read);
        }
        Some(received)
    }

    pub(super) fn cancel(&mut self, key: OpKey) {
        if let Some(place) = self.unqueue(key) {
            self.stop_connecting(place.fd, key);
            self.agenda.push_back(Item::Report(key, Err(errno(libc::ECANCELED))));
        }
    }

    pub(super) fn close(&mut self, fd: FdKey) {
        let Some(socket) = self.sockets.remove(fd) else { return };
        for op in socket.queues.iter().flat_map(|queue| &queue.ops) {
            self.waiting.remove(op);
            self.agenda.push_back(Item::Report(*op, Err(errno(libc::ECANCELED))));
        }
        match socket.state {
            State::Stream(Stream::Connected(end)) => {
                end.close(socket.options.reset_on_close);
                self.look_at_both(&end);
            }
            State::Stream(Stream::Listening(listener)) => self.end_listening(listener),
            State::Stream(Stream::Connecting { listener, .. }) => {
                if let Some(listener) = self.listener(listener) {
                    listener.knocking.retain(|other| *other != fd);
                }
            }
            State::Stream(Stream::Fresh) | State::Datagram(_) => {}
        }
    }

    /// Everything that was in flight is over, and nobody is told.
    pub(super) fn forget_operations(&mut self) {
        let queues = self.sockets.iter().flat_map(|(fd, socket)| socket.queues.iter().map(move |queue| (fd, queue)));
        let waiting: Vec<(FdKey, OpKey)> =
            queues.flat_map(|(fd, queue)| queue.ops.iter().map(move |key| (fd, *key))).collect();
        for (fd, key) in waiting {
            self.unqueue(key);
            self.stop_connecting(fd, key);
        }
        self.agenda.clear();
    }

    /// Tries the head of a queue, or what is submitted to an empty one. `None`: nothing to go on with.
    fn attempt(&mut self, ops: &mut OpTable, key: OpKey) -> Option<Attempt> {
        let op = ops.get_mut(key)?;
        let count = |result: io::Result<usize>| unless_blocked(result.map(Outcome::Count)).map(Attempt::Over);
        match op {
            Op::Accept { fd } => unless_blocked(self.accept(*fd).map(Outcome::Accepted)).map(Attempt::Over),
            Op::AcceptMulti { fd } => unless_blocked(self.accept(*fd)).map(|result| match result {
                Ok(fd) => Attempt::More(Outcome::Accepted(fd)),
                Err(error) => Attempt::Over(Err(error)),
            }),
            Op::Recv { fd, buf, limit } => count(self.receive(*fd, *limit, into_spare(buf)).map(|(count, _)| count)),
            Op::RecvFrom { fd, buf, limit, from } => {
                let domain = self.sockets.get(*fd).map_or(Domain::IPV4, |socket| socket.domain);
                count(self.receive(*fd, *limit, into_spare(buf)).map(|(count, sender)| {
                    if let Some(sender) = sender {
                        from.set(&shown(sender, domain));
                    }
                    count
                }))
            }
            Op::RecvMulti { fd } => self.receive_chunk(*fd),
            Op::Send { fd, buf, start } => count(self.send(*fd, [&buf[*start..]].into_iter(), None)),
            Op::SendVectored { fd, bufs } => count(self.send(*fd, bufs.iter().map(|buf| &buf[..]), None)),
            Op::SendTo { fd, buf, addr } => count(self.send(*fd, [&buf[..]].into_iter(), Some(addr))),
            Op::Connect { .. } => None,
            Op::Readiness { .. } | Op::Shutdown { .. } | Op::ReadAt { .. } | Op::WriteAt { .. } => None,
        }
    }
}

/// How far the head of a queue got.
enum Attempt {
    /// It had an outcome and stays.
    More(Outcome),
    Over(io::Result<Outcome>),
}

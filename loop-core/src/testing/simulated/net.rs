//! The simulated network: sockets, the operations that wait on them, and the agenda of what `poll` reports.
//!
//! The rules that make it right and always the same:
//!
//! * an operation that waits is in the queue of one socket and direction, and only the head of a queue is ever
//!   tried (**B3**); leaving the queue and having a final completion are one step (**B1**);
//! * whatever changes a socket puts it on the agenda if somebody waits there; `collect` works the agenda off in
//!   order. Maps are only looked up, never walked.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};

use socket2::{Domain, SockAddr, Type};

use super::address::{Binding, destination, parse, shown, unspecified};
use super::datagram::{LARGEST, Mailbox};
use super::stream::{End, Listener, Stream};
use crate::buffer::ReceivePool;
use crate::control::{Control, Reply};
use crate::fd::{FdKey, FdTable};
use crate::op::{Completion, Event, Interest, Op, Outcome, Submitted};
use crate::op_table::{OpKey, OpTable};

/// The size of a multishot receive's chunks: less than a connection holds, so that there are several.
const CHUNK: usize = 16 << 10;

/// The first port that is given to who asks for any.
const FIRST_PORT: u16 = 49_152;

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
            next_port: FIRST_PORT,
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
        let waiting: Vec<(OpKey, FdKey)> = self.waiting.iter().map(|(key, place)| (*key, place.fd)).collect();
        for (key, fd) in waiting {
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

    /// Takes what is there, also in the place of an operation that waits for it and was told.
    pub(super) fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> io::Result<usize> {
        self.receive_into(fd, buf)
    }

    /// An error of `WouldBlock` also where sends wait: their bytes come first.
    pub(super) fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.socket(fd)?.queue(Interest::Write).ops.is_empty() {
            self.send(fd, bufs.iter().map(|buf| &buf[..]), None)
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }

    // ---- moving bytes ----

    fn receive_into(&mut self, fd: FdKey, buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let limit = buf.len();
        let take = |part: &[u8]| {
            buf[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        };
        self.receive(fd, limit, take).map(|(count, _)| count)
    }

    fn receive(&mut self, fd: FdKey, limit: usize, take: impl FnMut(&[u8])) -> io::Result<(usize, Option<SocketAddr>)> {
        match &mut self.socket(fd)?.state {
            State::Datagram(mailbox) => mailbox.read(limit, take),
            State::Stream(Stream::Connected(end)) => {
                let end = end.clone();
                let result = end.read(limit, take);
                self.look_at_both(&end);
                result.map(|count| (count, None))
            }
            State::Stream(Stream::Connecting { .. }) => Err(io::ErrorKind::WouldBlock.into()),
            State::Stream(_) => Err(errno(libc::ENOTCONN)),
        }
    }

    fn receive_chunk(&mut self, fd: FdKey) -> Option<Attempt> {
        let pool = self.pool.clone();
        let datagram = self.sockets.get(fd).is_some_and(|socket| !socket.is_stream());
        let chunk = pool.fill(|buf| self.receive_into(fd, buf));
        unless_blocked(chunk).map(|result| match result {
            Ok(chunk) if chunk.is_empty() && !datagram => Attempt::Over(Ok(Outcome::Count(0))),
            Ok(chunk) => Attempt::More(Outcome::Chunk(chunk)),
            Err(error) => Attempt::Over(Err(error)),
        })
    }

    fn send<'a>(
        &mut self,
        fd: FdKey,
        pieces: impl Iterator<Item = &'a [u8]>,
        to: Option<&SockAddr>,
    ) -> io::Result<usize> {
        match &self.socket(fd)?.state {
            State::Stream(Stream::Connected(end)) => {
                let end = end.clone();
                let result = end.write(pieces);
                self.look_at_both(&end);
                result
            }
            State::Stream(Stream::Connecting { .. }) => Err(io::ErrorKind::WouldBlock.into()),
            State::Stream(_) => Err(errno(libc::EPIPE)),
            State::Datagram(_) => self.post(fd, pieces.collect::<Vec<_>>().concat(), to),
        }
    }

    /// Sends a datagram.
    fn post(&mut self, fd: FdKey, bytes: Vec<u8>, to: Option<&SockAddr>) -> io::Result<usize> {
        let socket = self.socket(fd)?;
        let (domain, options) = (socket.domain, socket.options);
        let to = to.map(|to| parse(to, domain)).transpose()?;
        let State::Datagram(mailbox) = &mut socket.state else { return Err(errno(libc::EPROTOTYPE)) };
        if let Some(error) = mailbox.take_error() {
            return Err(error);
        }
        if mailbox.write_shut {
            return Err(errno(libc::EPIPE));
        }
        let connected = mailbox.peer.is_some();
        let to = destination(to.or(mailbox.peer).ok_or_else(|| errno(libc::EDESTADDRREQ))?);
        let broadcast = to.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
        if to.port() == 0 {
            return Err(errno(libc::EINVAL));
        }
        if broadcast && !options.broadcast {
            return Err(errno(libc::EACCES));
        }
        if bytes.len() > LARGEST {
            return Err(errno(libc::EMSGSIZE));
        }
        let bound = self.bound(fd)?;
        let from = SocketAddr::new(sender_ip(bound.ip(), to.ip()), bound.port());

        let mut receivers: Vec<(u8, FdKey)> = Vec::new();
        for (other, socket) in self.sockets.iter() {
            let (State::Datagram(mailbox), Some(binding)) = (&socket.state, socket.binding()) else { continue };
            let fit = if broadcast {
                (socket.domain == Domain::IPV4).then_some(0)
            } else {
                // A mailbox connected to the sender comes before one that hears everybody.
                binding.fit(to.ip()).map(|fit| fit * 2 + u8::from(mailbox.peer.is_some()))
            };
            if let Some(fit) = fit
                && binding.addr.port() == to.port()
                && mailbox.hears(from)
            {
                receivers.push((fit, other));
            }
        }
        if !broadcast {
            receivers.sort_by_key(|(fit, _)| std::cmp::Reverse(*fit));
            receivers.truncate(1);
        }
        let count = bytes.len();
        if receivers.is_empty()
            && connected
            && let State::Datagram(mailbox) = &mut self.socket(fd)?.state
        {
            mailbox.refused = true;
            self.look(fd, Interest::Read);
        }
        for (_, receiver) in receivers {
            if let State::Datagram(mailbox) = &mut self.socket(receiver)?.state {
                mailbox.put(from, bytes.clone());
                self.look(receiver, Interest::Read);
            }
        }
        Ok(count)
    }

    // ---- connections ----

    fn listener(&mut self, fd: FdKey) -> Option<&mut Listener> {
        match &mut self.sockets.get_mut(fd)?.state {
            State::Stream(Stream::Listening(listener)) => Some(listener),
            _ => None,
        }
    }

    /// Connects. `true`: the operation's completion follows out of `poll`.
    fn connect(&mut self, fd: FdKey, addr: &SockAddr, key: OpKey) -> io::Result<bool> {
        let socket = self.socket(fd)?;
        let to = destination(parse(addr, socket.domain)?);
        match &mut socket.state {
            State::Datagram(mailbox) => {
                mailbox.peer = Some(to);
                let bound = self.bound(fd)?;
                let local = SocketAddr::new(sender_ip(bound.ip(), to.ip()), bound.port());
                self.socket(fd)?.local = Some(local);
                return Ok(false);
            }
            State::Stream(Stream::Fresh) => {}
            State::Stream(Stream::Connecting { .. }) => return Err(errno(libc::EALREADY)),
            State::Stream(Stream::Connected(_) | Stream::Listening(_)) => return Err(errno(libc::EISCONN)),
        }
        self.bound(fd)?;
        let mut best: Option<(u8, FdKey)> = None;
        for (other, socket) in self.sockets.iter() {
            let (State::Stream(Stream::Listening(listener)), Some(binding)) = (&socket.state, socket.binding()) else {
                continue;
            };
            if let Some(fit) = binding.fit(to.ip())
                && binding.addr.port() == to.port()
            {
                // Of equals, one that has room.
                let rank = fit * 2 + u8::from(listener.backlog.len() < listener.capacity);
                if best.is_none_or(|(best, _)| rank > best) {
                    best = Some((rank, other));
                }
            }
        }
        let Some((_, listener_fd)) = best else {
            self.agenda.push_back(Item::Report(key, Err(errno(libc::ECONNREFUSED))));
            return Ok(true);
        };
        self.socket(fd)?.state = State::Stream(Stream::Connecting { listener: listener_fd, to, op: key });
        self.enqueue(fd, Interest::Write, key);
        if let Some(listener) = self.listener(listener_fd) {
            listener.knocking.push_back(fd);
        }
        self.let_in(listener_fd);
        Ok(true)
    }

    /// Makes connections of those that knock, as long as there is room.
    fn let_in(&mut self, listener_fd: FdKey) {
        loop {
            let Some(listener) = self.listener(listener_fd) else { return };
            if listener.backlog.len() >= listener.capacity {
                return;
            }
            let Some(fd) = listener.knocking.pop_front() else { return };
            let Some(socket) = self.sockets.get_mut(fd) else { continue };
            let State::Stream(Stream::Connecting { to, op, .. }) = socket.state else { continue };
            let bound = socket.local.unwrap_or_else(|| unspecified(socket.domain));
            let local = SocketAddr::new(sender_ip(bound.ip(), to.ip()), bound.port());
            let (client, server) = End::pair(local, to);
            client.set_owner(fd);
            socket.local = Some(local);
            socket.state = State::Stream(Stream::Connected(client));
            if let Some(listener) = self.listener(listener_fd) {
                listener.backlog.push_back(server);
            }
            self.agenda.push_back(Item::Report(op, Ok(Outcome::Done)));
            self.unqueue(op);
            self.look(fd, Interest::Read);
            self.look(listener_fd, Interest::Read);
        }
    }

    /// If the operation was the socket's connecting, the socket is as before it.
    fn stop_connecting(&mut self, fd: FdKey, key: OpKey) {
        let Some(socket) = self.sockets.get_mut(fd) else { return };
        if let State::Stream(Stream::Connecting { listener, op, .. }) = socket.state
            && op == key
        {
            socket.state = State::Stream(Stream::Fresh);
            if let Some(listener) = self.listener(listener) {
                listener.knocking.retain(|other| *other != fd);
            }
            self.look(fd, Interest::Read);
        }
    }

    fn end_listening(&mut self, listener: Listener) {
        for end in listener.backlog {
            end.close(true);
            self.look_at_both(&end);
        }
        for fd in listener.knocking {
            let Some(socket) = self.sockets.get_mut(fd) else { continue };
            let State::Stream(Stream::Connecting { op, .. }) = socket.state else { continue };
            socket.state = State::Stream(Stream::Fresh);
            self.agenda.push_back(Item::Report(op, Err(errno(libc::ECONNREFUSED))));
            self.unqueue(op);
            self.look(fd, Interest::Read);
        }
    }

    fn accept(&mut self, fd: FdKey) -> io::Result<FdKey> {
        let socket = self.socket(fd)?;
        let (domain, options) = (socket.domain, socket.options);
        let end = match &mut socket.state {
            State::Stream(Stream::Listening(listener)) => listener.backlog.pop_front(),
            State::Stream(_) => return Err(errno(libc::EINVAL)),
            State::Datagram(_) => return Err(errno(libc::EOPNOTSUPP)),
        };
        let end = end.ok_or(io::ErrorKind::WouldBlock)?;
        let mut accepted = Socket::new(domain, State::Stream(Stream::Connected(end.clone())));
        accepted.local = Some(end.local());
        accepted.options = options;
        let accepted = self.sockets.insert(accepted);
        end.set_owner(accepted);
        self.let_in(fd);
        Ok(accepted)
    }

    fn shutdown(&mut self, fd: FdKey, how: Shutdown) -> io::Result<()> {
        let socket = self.socket(fd)?;
        let (read, write) = (how != Shutdown::Write, how != Shutdown::Read);
        match &mut socket.state {
            State::Stream(Stream::Connected(end)) => {
                let end = end.clone();
                end.shutdown(how);
                self.look_at_both(&end);
            }
            State::Stream(Stream::Listening(_)) if read => {
                let state = std::mem::replace(&mut socket.state, State::Stream(Stream::Fresh));
                if let State::Stream(Stream::Listening(listener)) = state {
                    self.end_listening(listener);
                }
                self.look(fd, Interest::Read);
            }
            State::Stream(_) => return Err(errno(libc::ENOTCONN)),
            State::Datagram(mailbox) if mailbox.peer.is_none() => return Err(errno(libc::ENOTCONN)),
            State::Datagram(mailbox) => {
                mailbox.read_shut |= read;
                mailbox.write_shut |= write;
                self.look(fd, Interest::Read);
            }
        }
        Ok(())
    }

    // ---- addresses and requests ----

    /// Whether somebody has the address already.
    fn is_taken(&self, fd: FdKey, binding: &Binding, stream: bool, options: Options) -> bool {
        self.sockets.iter().any(|(other, socket)| {
            let shared = (options.reuse_port && socket.options.reuse_port)
                || (options.reuse_address
                    && socket.options.reuse_address
                    && !matches!(socket.state, State::Stream(Stream::Listening(_))));
            other != fd
                && socket.claims
                && socket.is_stream() == stream
                && !shared
                && socket.binding().is_some_and(|other| other.overlaps(binding))
        })
    }

    fn bind(&mut self, fd: FdKey, addr: SocketAddr) -> io::Result<()> {
        let socket = self.socket(fd)?;
        if socket.local.is_some() || !matches!(socket.state, State::Stream(Stream::Fresh) | State::Datagram(_)) {
            return Err(errno(libc::EINVAL));
        }
        let (stream, options) = (socket.is_stream(), socket.options);
        let mut binding = Binding { addr, only_v6: options.only_v6 };
        if addr.port() == 0 {
            let mut tries = u16::MAX - FIRST_PORT;
            loop {
                binding.addr.set_port(self.next_port);
                self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
                if !self.is_taken(fd, &binding, stream, Options::default()) {
                    break;
                }
                tries = tries.checked_sub(1).ok_or_else(|| errno(libc::EADDRINUSE))?;
            }
        } else if self.is_taken(fd, &binding, stream, options) {
            return Err(errno(libc::EADDRINUSE));
        }
        let socket = self.socket(fd)?;
        socket.local = Some(binding.addr);
        socket.claims = true;
        Ok(())
    }

    /// The socket's address; it gets one if it has none.
    fn bound(&mut self, fd: FdKey) -> io::Result<SocketAddr> {
        let socket = self.socket(fd)?;
        if let Some(local) = socket.local {
            return Ok(local);
        }
        let any = unspecified(socket.domain);
        self.bind(fd, any)?;
        self.socket(fd)?.local.ok_or_else(unknown)
    }

    fn listen(&mut self, fd: FdKey, backlog: i32) -> io::Result<()> {
        match &mut self.socket(fd)?.state {
            State::Stream(Stream::Fresh) => {}
            State::Stream(Stream::Listening(listener)) => {
                listener.capacity = Listener::capacity_for(backlog);
                self.let_in(fd);
                return Ok(());
            }
            State::Stream(_) => return Err(errno(libc::EINVAL)),
            State::Datagram(_) => return Err(errno(libc::EOPNOTSUPP)),
        }
        self.bound(fd)?;
        let socket = self.socket(fd)?;
        let (binding, reuse_port) = (socket.binding(), socket.options.reuse_port);
        let taken = self.sockets.iter().any(|(other, socket)| {
            other != fd
                && matches!(socket.state, State::Stream(Stream::Listening(_)))
                && !(reuse_port && socket.options.reuse_port)
                && binding.zip(socket.binding()).is_some_and(|(one, two)| one.overlaps(&two))
        });
        if taken {
            return Err(errno(libc::EADDRINUSE));
        }
        self.socket(fd)?.state = State::Stream(Stream::Listening(Listener::new(backlog)));
        self.look(fd, Interest::Read);
        Ok(())
    }

    pub(super) fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        let socket = self.socket(fd)?;
        let domain = socket.domain;
        match control {
            Control::Bind(addr) => {
                let addr = parse(addr, domain)?;
                self.bind(fd, addr)?;
            }
            Control::Listen(backlog) => self.listen(fd, *backlog)?,
            Control::LocalAddr => {
                let local = socket.local.unwrap_or_else(|| unspecified(domain));
                return Ok(Reply::Address(shown(local, domain)));
            }
            Control::PeerAddr => {
                let peer = match &socket.state {
                    State::Stream(Stream::Connected(end)) => Some(end.peer()),
                    State::Datagram(mailbox) => mailbox.peer,
                    State::Stream(_) => None,
                };
                let peer = peer.ok_or_else(|| errno(libc::ENOTCONN))?;
                return Ok(Reply::Address(shown(peer, domain)));
            }
            Control::Type => return Ok(Reply::Type(if socket.is_stream() { Type::STREAM } else { Type::DGRAM })),
            Control::TakeError => {
                return Ok(Reply::Error(match &mut socket.state {
                    State::Stream(Stream::Connected(end)) => end.take_error(),
                    State::Stream(_) => None,
                    State::Datagram(mailbox) => mailbox.take_error(),
                }));
            }
            Control::Shutdown(how) => self.shutdown(fd, *how)?,
            Control::ReuseAddress(on) => socket.options.reuse_address = *on,
            Control::ReusePort(on) => socket.options.reuse_port = *on,
            Control::Broadcast(on) => socket.options.broadcast = *on,
            Control::OnlyV6(on) => {
                if domain != Domain::IPV6 {
                    return Err(errno(libc::ENOPROTOOPT));
                }
                if socket.local.is_some() {
                    return Err(errno(libc::EINVAL));
                }
                socket.options.only_v6 = *on;
            }
            Control::ResetOnClose => socket.options.reset_on_close = true,
            Control::NoDelay(_) | Control::KeepAlive(_) => {}
        }
        Ok(Reply::Done)
    }
}

/// How far the head of a queue got.
enum Attempt {
    /// It had an outcome and stays.
    More(Outcome),
    Over(io::Result<Outcome>),
}

/// Writes received parts one after the other into a buffer's spare capacity.
fn into_spare(buf: &mut Vec<u8>) -> impl FnMut(&[u8]) {
    let mut room = buf.spare_capacity_mut();
    move |part| {
        let (here, rest) = std::mem::take(&mut room).split_at_mut(part.len());
        here.write_copy_of_slice(part);
        room = rest;
    }
}

/// From which address a socket that is bound so reaches a destination.
fn sender_ip(bound: IpAddr, to: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        bound
    } else if to == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Ipv4Addr::LOCALHOST.into()
    } else {
        to
    }
}

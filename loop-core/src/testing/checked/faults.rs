//! The checker checked: backends that each break one rule, and the message that says so.
//!
//! A fault is a hook on a [`VirtualBackend`] that is otherwise sound, so what panics is what was bent.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::os::fd::{OwnedFd, RawFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Type};

use super::CheckedBackend;
use crate::backend::{Backend, Capabilities, Unpark, Wait};
use crate::buffer::{Chunk, ChunkSource, ReceivePool};
use crate::control::{Control, Reply};
use crate::fd::FdKey;
use crate::op::{Completion, Event, Op, Outcome, Submitted};
use crate::op_table::{OpKey, OpTable, Target};
use crate::testing::harness::recv_op;
use crate::testing::{Arrival, Harness, VirtualBackend};

type Hook<A, R> = Option<Box<dyn FnMut(&mut VirtualBackend, &mut OpTable, A) -> R>>;
type OnPoll = Option<Box<dyn FnMut(&mut VirtualBackend, &mut OpTable, Wait, &mut Vec<Completion>)>>;

type OnSubmit = Box<dyn FnMut(&mut VirtualBackend, &mut OpTable, OpKey) -> Submitted>;

/// A sound backend, but for the hooks that are set.
#[derive(Default)]
struct Bent {
    straight: VirtualBackend,
    submit: Hook<OpKey, Submitted>,
    resume: Hook<OpKey, Submitted>,
    cancel: Hook<OpKey, ()>,
    poll: OnPoll,
    drain: Option<usize>,
    now: Option<Box<dyn Fn(Duration) -> Duration>>,
    deaf: bool,
    open: Option<FdKey>,
    control: bool,
    recv_now: Option<usize>,
    resume_into: Option<usize>,
    released: Option<OwnedFd>,
    capabilities: Capabilities,
}

struct Deaf;

impl Unpark for Deaf {
    fn unpark(&self) {}
}

// SAFETY: it is not sound, which is its purpose; but it never touches an operation's memory other than through
// the table, and the tests end before anybody relies on a false count.
unsafe impl Backend for Bent {
    fn name(&self) -> &'static str {
        "bent"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn now(&self) -> Duration {
        let now = self.straight.now();
        self.now.as_ref().map_or(now, |bend| bend(now))
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        if self.deaf { Arc::new(Deaf) } else { self.straight.unparker() }
    }

    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        match self.open {
            Some(fd) => Ok(fd),
            None => self.straight.open(domain, kind, protocol),
        }
    }

    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        self.straight.adopt(fd)
    }

    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        if self.control { Ok(Reply::Done) } else { self.straight.control(fd, control) }
    }

    fn raw_fd(&self, _fd: FdKey) -> Option<RawFd> {
        self.control.then_some(77)
    }

    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        self.straight.close(ops, fd);
    }

    fn release(&mut self, ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        self.released.take().map_or_else(|| self.straight.release(ops, fd), Ok)
    }

    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        match &mut self.submit {
            Some(hook) => hook(&mut self.straight, ops, op),
            None => self.straight.submit(ops, op),
        }
    }

    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        match &mut self.resume {
            Some(hook) => hook(&mut self.straight, ops, op),
            None => self.straight.resume(ops, op),
        }
    }

    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.resume_into.map_or_else(|| self.straight.resume_into(ops, op, buf), |count| Some(Ok(count)))
    }

    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        match &mut self.cancel {
            Some(hook) => hook(&mut self.straight, ops, op),
            None => self.straight.cancel(ops, op),
        }
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.recv_now.map_or_else(|| self.straight.recv_now(fd, buf), |count| Some(Ok(count)))
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.straight.send_now(fd, bufs)
    }

    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        match &mut self.poll {
            Some(hook) => {
                hook(&mut self.straight, ops, wait, out);
                Ok(())
            }
            None => self.straight.poll(ops, wait, out),
        }
    }

    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize {
        self.drain.unwrap_or_else(|| self.straight.drain(ops, limit))
    }

    fn hold_clock(&mut self, hold: bool) {
        self.straight.hold_clock(hold);
    }
}

/// A harness around a checked backend that is bent so.
fn bent(bend: impl FnOnce(&mut Bent)) -> Harness {
    Harness::new(Box::new(checked(bend)))
}

fn checked(bend: impl FnOnce(&mut Bent)) -> CheckedBackend {
    let straight = VirtualBackend::new();
    let capabilities = straight.capabilities();
    let mut backend = Bent { straight, capabilities, ..Bent::default() };
    bend(&mut backend);
    CheckedBackend::new(Box::new(backend))
}

/// A pair, bent: `what` replaces every submission of a receive.
fn pair_with_receives(
    what: impl FnMut(&mut VirtualBackend, &mut OpTable, OpKey) -> Submitted + 'static,
) -> (Harness, FdKey, FdKey) {
    let mut h = bent(|backend| backend.submit = Some(receives(what)));
    let (client, server) = h.tcp_pair();
    (h, client, server)
}

/// A hook on the submission of receives alone.
fn receives(mut what: impl FnMut(&mut VirtualBackend, &mut OpTable, OpKey) -> Submitted + 'static) -> OnSubmit {
    Box::new(move |straight, ops, key| match ops.get(key) {
        Some(Op::Recv { .. } | Op::RecvMulti { .. }) => what(straight, ops, key),
        _ => straight.submit(ops, key),
    })
}

fn count(count: usize) -> Submitted {
    Submitted::Done(Ok(Outcome::Count(count)))
}

fn last(key: OpKey, result: io::Result<Outcome>) -> Completion {
    Completion { op: key, event: Event::Final(result) }
}

#[test]
fn a_sound_backend_passes() {
    let mut h = bent(|_| {});
    let (client, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    h.send_all(client, b"sound");
    assert_eq!(h.received(receive).unwrap(), b"sound");
}

// ---- B1 ----

#[test]
#[should_panic(expected = "B1: a final completion (Ok(Count(0))) for")]
fn b1_a_second_final_completion() {
    let mut h = bent(|backend| {
        backend.poll = Some(Box::new(|straight, ops, wait, out| {
            straight.poll(ops, wait, out).unwrap();
            if let Some(Completion { op, event: Event::Final(_) }) = out.last() {
                let op = *op;
                out.push(last(op, Ok(Outcome::Count(0))));
            }
        }));
    });
    let (_client, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    h.cancel(receive);
    h.poll(Wait::Now);
}

#[test]
#[should_panic(expected = "B1: a final completion")]
fn b1_a_completion_after_done() {
    let over = Rc::new(Cell::new(None));
    let mut h = bent(|backend| {
        let receive = Rc::clone(&over);
        backend.submit = Some(receives(move |_, _, key| {
            receive.set(Some(key));
            count(0)
        }));
        backend.poll = Some(Box::new(move |straight, ops, wait, out| {
            straight.poll(ops, wait, out).unwrap();
            out.extend(over.take().map(|key| last(key, Ok(Outcome::Count(0)))));
        }));
    });
    let (_client, server) = h.tcp_pair();
    h.start(recv_op(server, 5));
    h.poll(Wait::Now);
}

#[test]
#[should_panic(expected = "B1: Resume for")]
fn b1_a_resume_for_an_unknown_operation() {
    let mut h = bent(|backend| {
        backend.poll = Some(Box::new(|_, _, _, out| {
            out.push(Completion { op: OpKey::from_u64(5), event: Event::Resume });
        }));
    });
    h.poll(Wait::Now);
}

#[test]
#[should_panic(expected = "B1: an outcome")]
fn b1_an_outcome_for_an_unknown_operation() {
    let mut h = bent(|backend| {
        backend.poll = Some(Box::new(|_, _, _, out| {
            out.push(Completion { op: OpKey::from_u64(5), event: Event::More(Outcome::Done) });
        }));
    });
    h.poll(Wait::Now);
}

#[test]
#[should_panic(expected = "is not multishot")]
fn b1_a_single_operation_that_goes_on() {
    let (mut h, _, server) = pair_with_receives(|_, _, _| Submitted::More(Outcome::Count(1)));
    h.start(recv_op(server, 5));
}

#[test]
#[should_panic(expected = "B1: Recv came to Done")]
fn b1_an_outcome_of_another_kind() {
    let (mut h, _, server) = pair_with_receives(|_, _, _| Submitted::Done(Ok(Outcome::Done)));
    h.start(recv_op(server, 5));
}

#[test]
#[should_panic(expected = "B1: RecvMulti ended with bytes")]
fn b1_a_last_chunk_with_bytes() {
    let pool = ReceivePool::new(8);
    let (mut h, _, server) =
        pair_with_receives(move |_, _, _| Submitted::Done(Ok(Outcome::Chunk(pool.fill(|_| Ok::<_, ()>(3)).unwrap()))));
    h.start(Op::RecvMulti { fd: server });
}

#[test]
#[should_panic(expected = "B1: resume answered Unsupported")]
fn b1_a_queued_operation_turned_away() {
    let mut h = bent(|backend| backend.resume = Some(Box::new(|_, _, _| Submitted::Unsupported)));
    let (client, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    h.send_all(client, b"x");
    h.run_until(receive).0.unwrap();
}

#[test]
#[should_panic(expected = "B1: a final completion")]
fn b1_a_resume_answered_after_the_end() {
    let mut h = bent(|backend| backend.resume = Some(Box::new(|_, _, _| count(0))));
    let (backend, ops) = h.parts();
    backend.resume(ops, OpKey::from_u64(9));
}

#[test]
#[should_panic(expected = "B1: dropped with operations neither completed nor drained: Recv")]
fn b1_an_operation_forgotten() {
    let mut backend = checked(|backend| backend.submit = Some(Box::new(|_, _, _| Submitted::Queued)));
    let fd = backend.open(Domain::IPV4, Type::STREAM, None).unwrap();
    let mut ops = OpTable::new();
    let key = ops.insert(recv_op(fd, 5), Target::Nobody);
    backend.submit(&mut ops, key);
    drop(backend);
}

#[test]
#[should_panic(expected = "B1: drain left 3 operations in flight, where 1 were")]
fn b1_a_drain_that_counts_wrong() {
    let mut h = bent(|backend| backend.drain = Some(3));
    let (_client, server) = h.tcp_pair();
    h.start(recv_op(server, 5));
    h.drain();
}

#[test]
fn what_a_drain_could_not_end_is_accounted_for() {
    let mut backend = checked(|backend| backend.drain = Some(1));
    let fd = backend.open(Domain::IPV4, Type::DGRAM, None).unwrap();
    let mut ops = OpTable::new();
    let key = ops.insert(recv_op(fd, 5), Target::Nobody);
    assert!(matches!(backend.submit(&mut ops, key), Submitted::Queued));
    ops.set_in_flight(key);
    assert_eq!(backend.drain(&mut ops, Duration::ZERO), 1);
    drop(backend);
}

#[test]
#[should_panic(expected = "B1: poll took completions out of the caller's list")]
fn b1_a_poll_that_does_not_append() {
    let mut backend = checked(|backend| backend.poll = Some(Box::new(|_, _, _, out| out.clear())));
    let mut out = vec![Completion { op: OpKey::from_u64(5), event: Event::Resume }];
    backend.poll(&mut OpTable::new(), Wait::Now, &mut out).unwrap();
}

// ---- B2 ----

#[test]
#[should_panic(expected = "B2: Recv")]
fn b2_a_buffer_replaced_in_flight() {
    let (mut h, _, server) = pair_with_receives(|straight, ops, key| {
        if let Some(Op::Recv { buf, limit, .. }) = ops.get_mut(key) {
            *buf = Vec::with_capacity(*limit * 2);
        }
        straight.submit(ops, key)
    });
    h.start(recv_op(server, 50));
}

#[test]
#[should_panic(expected = "B2: Recv")]
fn b2_a_length_set_by_the_backend() {
    let (mut h, client, server) = pair_with_receives(|straight, ops, key| {
        let answer = straight.submit(ops, key);
        if let Some(Op::Recv { buf, .. }) = ops.get_mut(key) {
            buf.push(1);
        }
        answer
    });
    h.send_all(client, b"x");
    h.start(recv_op(server, 50));
}

#[test]
#[should_panic(expected = "B2: SendVectored")]
fn b2_a_piece_replaced_before_the_end() {
    let mut h = bent(|backend| {
        backend.cancel = Some(Box::new(|straight, ops, key| {
            if let Some(Op::SendVectored { bufs, .. }) = ops.get_mut(key) {
                bufs[1] = b"another".to_vec();
            }
            straight.cancel(ops, key);
        }));
    });
    let (client, _server) = h.tcp_pair();
    h.send_all(client, &[0; 64 << 10]);
    let send = h.start(Op::SendVectored { fd: client, bufs: vec![b"one".to_vec(), b"two".to_vec()] });
    h.cancel(send);
    h.poll(Wait::Now);
}

#[test]
#[should_panic(expected = "B2: Recv")]
fn b2_an_operation_freed_by_its_caller() {
    let mut h = bent(|_| {});
    let (_client, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    // The harness never would: the table is tricked into it.
    let (backend, ops) = h.parts();
    ops.set_landed(receive);
    drop(ops.remove(receive));
    backend.cancel(ops, receive);
}

#[test]
#[should_panic(expected = "caller: Recv")]
fn an_operation_that_is_not_marked_in_flight() {
    let mut h = bent(|_| {});
    let (_client, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    h.parts().1.set_landed(receive);
    h.poll(Wait::Now);
}

// ---- B3 ----

#[test]
#[should_panic(expected = "B3: Recv")]
fn b3_a_receive_at_once_before_one_that_waits() {
    let mut first = true;
    let (mut h, _, server) =
        pair_with_receives(
            move |straight, ops, key| {
                if std::mem::take(&mut first) { straight.submit(ops, key) } else { count(1) }
            },
        );
    h.start(recv_op(server, 5));
    h.start(recv_op(server, 5));
}

#[test]
#[should_panic(expected = "B3: Recv")]
fn b3_completions_in_the_wrong_order() {
    let mut h = bent(|backend| {
        backend.straight = VirtualBackend::new().completing();
        backend.capabilities = backend.straight.capabilities();
        backend.poll = Some(Box::new(|straight, ops, wait, out| {
            straight.poll(ops, wait, out).unwrap();
            out.reverse();
        }));
    });
    let (client, server) = h.tcp_pair();
    h.start(recv_op(server, 1));
    h.start(recv_op(server, 1));
    let send = h.start(Op::Send { fd: client, buf: b"ab".to_vec(), start: 0 });
    h.run_until(send).0.unwrap();
}

#[test]
fn b3_a_cancelled_operation_may_be_overtaken() {
    let mut h = bent(|backend| {
        // Cancels take their time.
        backend.cancel = Some(Box::new(|_, _, _| {}));
        let mut first = None;
        backend.submit = Some(receives(move |straight, ops, key| match first {
            None => {
                first = Some(key);
                straight.submit(ops, key)
            }
            Some(_) => count(0),
        }));
    });
    let (_client, server) = h.tcp_pair();
    let first = h.start(recv_op(server, 5));
    h.cancel(first);
    h.start(recv_op(server, 5));
}

// ---- B5 ----

#[test]
#[should_panic(expected = "B5: poll slept through an unpark")]
fn b5_an_unpark_before_a_wait_that_is_lost() {
    let mut h = bent(|backend| backend.deaf = true);
    h.backend().unparker().unpark();
    let end = h.now() + Duration::from_secs(1);
    h.poll(Wait::Until(end));
}

#[test]
#[should_panic(expected = "B5: poll slept through an unpark")]
fn b5_an_unpark_before_an_endless_wait_that_is_lost() {
    let mut h = bent(|backend| backend.deaf = true);
    h.backend().unparker().unpark();
    h.poll(Wait::Forever);
}

#[test]
fn b5_an_unpark_that_an_earlier_poll_may_have_taken_is_none() {
    let mut h = bent(|_| {});
    h.backend().unparker().unpark();
    h.poll(Wait::Peek);
    let end = h.now() + Duration::from_secs(1);
    h.poll(Wait::Until(end));
    assert_eq!(h.now(), end);
}

// ---- B6 ----

#[test]
#[should_panic(expected = "B6: the clock went back")]
fn b6_a_clock_that_goes_back() {
    let readings = Cell::new(0);
    let h = bent(|backend| {
        backend.now = Some(Box::new(move |now| {
            readings.set(readings.get() + 1);
            now - Duration::from_nanos(readings.get() / 3)
        }));
    });
    for _ in 0..5 {
        let _ = h.now();
    }
}

#[test]
#[should_panic(expected = "B6: the virtual clock moved")]
fn b6_a_virtual_clock_that_moves_in_a_peek() {
    let mut h = bent(|backend| {
        backend.poll = Some(Box::new(|straight, _, _, _| straight.clock().advance(Duration::from_nanos(1))));
    });
    h.poll(Wait::Peek);
}

#[test]
#[should_panic(expected = "B6: the virtual clock moved")]
fn b6_a_virtual_clock_that_jumps_too_far() {
    let mut h = bent(|backend| {
        backend.poll = Some(Box::new(|straight, _, _, _| straight.clock().advance(Duration::from_secs(2))));
    });
    let end = h.now() + Duration::from_secs(1);
    h.poll(Wait::Until(end));
}

// ---- B7 ----

#[test]
#[should_panic(expected = "B7: Recv moved 6 bytes where 5 were asked for")]
fn b7_a_receive_beyond_its_limit() {
    let (mut h, _, server) = pair_with_receives(|_, _, _| count(6));
    h.start(Op::Recv { fd: server, buf: Vec::with_capacity(50), limit: 5 });
}

#[test]
#[should_panic(expected = "B7: Send moved 5 bytes where 4 were asked for")]
fn b7_a_send_of_more_than_there_is() {
    let mut h = bent(|backend| {
        backend.submit = Some(Box::new(|straight, ops, key| match ops.get(key) {
            Some(Op::Send { .. }) => count(5),
            _ => straight.submit(ops, key),
        }));
    });
    let (client, _) = h.tcp_pair();
    h.start(Op::Send { fd: client, buf: b"12345".to_vec(), start: 1 });
}

#[test]
#[should_panic(expected = "wrote behind its limit of 5 bytes")]
fn b7_a_receive_that_writes_behind_its_limit() {
    let (mut h, _, server) = pair_with_receives(|_, ops, key| {
        if let Some(Op::Recv { buf, .. }) = ops.get_mut(key) {
            buf.spare_capacity_mut()[5].write(0);
        }
        count(5)
    });
    h.start(Op::Recv { fd: server, buf: Vec::with_capacity(50), limit: 5 });
}

/// Lends memory of its own.
struct Large(Vec<u8>);

// SAFETY: the vector is never touched again.
unsafe impl ChunkSource for Large {
    fn recycle(&self, _id: u32) {}
}

#[test]
#[should_panic(expected = "B7: a chunk of")]
fn b7_a_chunk_beyond_reason() {
    let large = Rc::new(Large(vec![0; super::LARGEST_CHUNK + 1]));
    let (mut h, _, server) = pair_with_receives(move |_, _, _| {
        let start = NonNull::from(&large.0[..]).cast();
        let source = Rc::clone(&large) as Rc<dyn ChunkSource>;
        // SAFETY: the bytes are zeroed, and the source keeps them where they are as long as it lives.
        let chunk = unsafe { Chunk::new(source, 0, start, large.0.len()) };
        Submitted::More(Outcome::Chunk(chunk))
    });
    h.start(Op::RecvMulti { fd: server });
}

#[test]
#[should_panic(expected = "B7: recv_now moved 9 bytes where 8 were asked for")]
fn b7_a_synchronous_receive_beyond_its_buffer() {
    let mut h = bent(|backend| backend.recv_now = Some(9));
    let (_, server) = h.tcp_pair();
    let _ = h.backend().recv_now(server, &mut [0; 8]);
}

/// A backend that says of a receive that goes on that so much has come, and the receive, which was told of something.
fn goes_on_with(count: usize, op: impl FnOnce(FdKey) -> Op) -> (Harness, OpKey) {
    let mut h = bent(|backend| backend.resume_into = Some(count));
    let (client, server) = h.tcp_pair();
    let receiving = h.start(op(server));
    h.hold_resumes(true);
    h.send_all(client, b"bytes");
    h.wait_for("a Resume", |h| h.has_resume(receiving).then_some(()));
    (h, receiving)
}

#[test]
#[should_panic(expected = "B7: resume_into moved 9 bytes where 8 were asked for")]
fn b7_a_receive_that_goes_on_beyond_its_buffer() {
    let (mut h, receiving) = goes_on_with(9, |fd| Op::RecvMulti { fd });
    let _ = h.resume_into(receiving, &mut [0; 8]);
}

#[test]
#[should_panic(expected = "B1: Recv ")]
fn b1_bytes_for_a_receive_that_has_a_buffer_of_its_own() {
    let (mut h, receiving) = goes_on_with(5, |fd| recv_op(fd, 5));
    let _ = h.resume_into(receiving, &mut [0; 8]);
}

#[test]
#[should_panic(expected = "B1: bytes for ")]
fn b1_bytes_for_nobody() {
    let mut h = bent(|backend| backend.resume_into = Some(5));
    let _ = h.resume_into(OpKey::from_u64(7), &mut [0; 8]);
}

// ---- keys ----

#[test]
#[should_panic(expected = "has been given before")]
fn a_key_given_twice() {
    let mut h = bent(|backend| backend.open = Some(FdKey::new(3, 3)));
    h.stream();
    h.stream();
}

#[test]
#[should_panic(expected = "was accepted, and has been given before")]
fn an_accepted_key_given_before() {
    let mut h = bent(|backend| {
        backend.submit = Some(Box::new(|straight, ops, key| match ops.get(key) {
            Some(Op::Accept { fd }) => Submitted::Done(Ok(Outcome::Accepted(*fd))),
            _ => straight.submit(ops, key),
        }));
    });
    let (listener, _) = h.listener(1);
    h.start(Op::Accept { fd: listener });
}

#[test]
#[should_panic(expected = "keys: Type of a closed or unknown key was answered")]
fn a_request_answered_for_a_closed_key() {
    let mut h = bent(|backend| backend.control = true);
    let _ = h.backend().control(FdKey::new(0, 0), &Control::Type);
}

#[test]
#[should_panic(expected = "keys: a closed or unknown key has the number")]
fn a_number_for_a_closed_key() {
    let mut h = bent(|backend| backend.control = true);
    let _ = h.backend().raw_fd(FdKey::new(0, 0));
}

#[test]
#[should_panic(expected = "keys: Recv on a closed or unknown key came to")]
fn an_operation_that_succeeds_on_a_closed_key() {
    let (mut h, client, _) = pair_with_receives(|_, _, _| count(0));
    h.close(client);
    h.start(recv_op(client, 5));
}

#[test]
#[should_panic(expected = "keys: recv_now on a closed or unknown key")]
fn a_synchronous_receive_on_a_closed_key() {
    let mut h = bent(|backend| backend.recv_now = Some(0));
    let _ = h.backend().recv_now(FdKey::new(0, 0), &mut [0; 8]);
}

#[test]
#[should_panic(expected = "keys: released while Recv was in flight on it")]
fn a_release_under_an_operation() {
    let mut h = bent(|backend| backend.released = Some(io::pipe().unwrap().0.into()));
    let (_, server) = h.tcp_pair();
    h.start(recv_op(server, 5));
    let (backend, ops) = h.parts();
    let _ = backend.release(ops, server);
}

// ---- the caller's side, and the rest ----

#[test]
#[should_panic(expected = "caller: OpKey")]
fn an_operation_submitted_twice() {
    let mut h = bent(|_| {});
    let (_, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    let (backend, ops) = h.parts();
    backend.submit(ops, receive);
}

#[test]
#[should_panic(expected = "was resumed without a Resume")]
fn a_resume_that_nobody_asked_for() {
    let mut h = bent(|_| {});
    let (_, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    let (backend, ops) = h.parts();
    backend.resume(ops, receive);
}

#[test]
#[should_panic(expected = "was resumed without a Resume")]
fn a_receive_that_goes_on_though_nobody_asked_for_it() {
    let mut h = bent(|_| {});
    let (_, server) = h.tcp_pair();
    let receiving = h.start(Op::RecvMulti { fd: server });
    let _ = h.resume_into(receiving, &mut [0; 8]);
}

#[test]
#[should_panic(expected = "was reported ready 16 polls ago, and never resumed")]
fn a_resume_that_is_never_answered() {
    let mut h = bent(|_| {});
    let (client, server) = h.tcp_pair();
    h.hold_resumes(true);
    let receive = h.start(recv_op(server, 5));
    h.start(Op::Send { fd: client, buf: b"hello".to_vec(), start: 0 });
    h.wait_for("a Resume", |h| h.has_resume(receive).then_some(()));
    for _ in 0..=16 {
        h.poll(Wait::Now);
    }
}

#[test]
#[should_panic(expected = "caller: room for 3 bytes")]
fn a_limit_beyond_the_buffer() {
    let mut h = bent(|_| {});
    let (_, server) = h.tcp_pair();
    h.start(Op::Recv { fd: server, buf: Vec::with_capacity(3), limit: 50 });
}

#[test]
#[should_panic(expected = "caller: recv_now always answers")]
fn an_announced_synchronous_call_that_is_not_answered() {
    let mut h = bent(|backend| {
        backend.straight = VirtualBackend::new().completing();
        backend.capabilities.synchronous = true;
    });
    let (_, server) = h.tcp_pair();
    let _ = h.backend().recv_now(server, &mut [0; 8]);
}

#[test]
#[should_panic(expected = "did not come within")]
fn the_harness_does_not_wait_for_ever() {
    let mut h = bent(|_| {});
    let (_, server) = h.tcp_pair();
    let receive = h.start(recv_op(server, 5));
    // Nobody sends: a real loop would wait for ever, and the deadline turns that into a failure.
    match h.next_of(receive) {
        Arrival::Final(..) | Arrival::More(..) => unreachable!(),
    }
}

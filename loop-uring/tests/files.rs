//! Files: the one thing that the kernel does on threads of its own, and goes on with when the ring is closed.

mod rings;

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loop_core::testing::Harness;
use loop_core::{
    Backend, Capabilities, Completion, Control, FdKey, Op, OpKey, OpTable, Outcome, Reply, Submitted, Unpark, Wait,
};
use loop_uring::UringBackend;
use rings::usual;
use socket2::{Domain, Protocol, Type};

fn temporary() -> File {
    File::options().read(true).write(true).custom_flags(libc::O_TMPFILE).open("/tmp").expect("a temporary file")
}

#[test]
fn many_reads_and_writes_at_once() {
    let mut h = usual();
    let file = Arc::new(temporary());
    let block = |number: u64| vec![number as u8 ^ 0x5A; 10_000];
    let writes: Vec<_> = (0..50)
        .map(|number| h.start(Op::WriteAt { file: Arc::clone(&file), buf: block(number), offset: number * 10_000 }))
        .collect();
    for key in writes {
        assert!(matches!(h.run_until(key).0, Ok(Outcome::Count(10_000))));
    }
    let reads: Vec<_> = (0..50)
        .map(|number| {
            let buf = Vec::with_capacity(10_000);
            h.start(Op::ReadAt { file: Arc::clone(&file), buf, limit: 10_000, offset: number * 10_000 })
        })
        .collect();
    for (number, key) in reads.into_iter().enumerate() {
        match h.run_until(key) {
            (Ok(Outcome::Count(10_000)), Op::ReadAt { buf, .. }) => assert!(buf == block(number as u64)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(Arc::strong_count(&file), 1, "nothing keeps the file");
}

/// A backend that can be taken out of its harness, as a loop at its end drops its own.
struct Removable(Rc<RefCell<Option<UringBackend>>>);

impl Removable {
    fn with<R>(&self, f: impl FnOnce(&mut UringBackend) -> R) -> R {
        f(self.0.borrow_mut().as_mut().expect("not removed yet"))
    }
}

// SAFETY: everything goes to the real one; what follows its removal touches no operation.
unsafe impl Backend for Removable {
    fn name(&self) -> &'static str {
        "removable"
    }
    fn capabilities(&self) -> Capabilities {
        self.with(|backend| backend.capabilities())
    }
    fn now(&self) -> Duration {
        self.with(|backend| backend.now())
    }
    fn unparker(&self) -> Arc<dyn Unpark> {
        self.with(|backend| backend.unparker())
    }
    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        self.with(|backend| backend.open(domain, kind, protocol))
    }
    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        self.with(|backend| backend.adopt(fd))
    }
    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        self.with(|backend| backend.control(fd, control))
    }
    fn raw_fd(&self, fd: FdKey) -> Option<RawFd> {
        self.with(|backend| backend.raw_fd(fd))
    }
    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        self.with(|backend| backend.close(ops, fd));
    }
    fn release(&mut self, ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        self.with(|backend| backend.release(ops, fd))
    }
    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.with(|backend| backend.submit(ops, op))
    }
    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.with(|backend| backend.resume(ops, op))
    }
    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.with(|backend| backend.resume_into(ops, op, buf))
    }
    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        self.with(|backend| backend.cancel(ops, op));
    }
    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.with(|backend| backend.recv_now(fd, buf))
    }
    fn send_now(&mut self, fd: FdKey, bufs: &[io::IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.with(|backend| backend.send_now(fd, bufs))
    }
    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        self.with(|backend| backend.poll(ops, wait, out))
    }
    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize {
        self.0.borrow_mut().as_mut().map_or(0, |backend| backend.drain(ops, limit))
    }
}

/// A drain that may not wait leaves what a thread of the kernel's is at, and its memory with it.
#[test]
fn a_write_that_outlives_the_ring_keeps_its_memory() {
    assert!((0..50).any(|_| outlives_its_ring()), "the kernel was faster than every drain");
}

/// False where the kernel was faster: there was nothing to outlive.
fn outlives_its_ring() -> bool {
    const LEN: usize = 64 << 20;
    let file = temporary();
    let pattern = |place: usize| (place / 4096) as u8 ^ 0x5A;
    let buf: Vec<u8> = (0..LEN).map(pattern).collect();
    let backend = Rc::new(RefCell::new(Some(UringBackend::new().expect("io_uring"))));
    let mut h = Harness::new(Box::new(Removable(Rc::clone(&backend))));
    let write = Op::WriteAt { file: Arc::new(file.try_clone().expect("a second descriptor")), buf, offset: 0 };
    let key = h.start(write);
    h.poll(Wait::Now);
    // One that has not begun can be cancelled.
    while h.is_in_flight(key) && file.metadata().expect("metadata").len() == 0 {
        std::thread::yield_now();
    }
    let (inner, ops) = h.parts();
    if inner.drain(ops, Duration::ZERO) == 0 {
        return false;
    }
    assert!(h.is_in_flight(key));
    // As at the end of a loop: the ring is closed, and the table leaks what is in flight.
    let ops = std::mem::take(h.parts().1);
    drop(backend.borrow_mut().take());
    drop(ops);
    // Whoever gets memory now must not get that.
    let others: Vec<Vec<u8>> = (0..4).map(|_| vec![0xFF; LEN / 4]).collect();
    // The kernel goes on, or gives up; what it has written by then is the buffer's.
    let (mut len, patience) = (0, Instant::now() + Duration::from_secs(5));
    while len < LEN && Instant::now() < patience {
        len = file.metadata().expect("metadata").len() as usize;
        std::thread::yield_now();
    }
    let mut written = vec![0; len];
    file.read_exact_at(&mut written, 0).expect("read");
    assert!(written.iter().enumerate().all(|(place, byte)| *byte == pattern(place)), "another's memory was written");
    drop(others);
    true
}

/// One that may wait does.
#[test]
fn a_drain_waits_for_what_cannot_be_cancelled() {
    const LEN: usize = 64 << 20;
    let file = temporary();
    let mut h = usual();
    let key = h.start(Op::WriteAt { file: Arc::new(file), buf: vec![1; LEN], offset: 0 });
    h.poll(Wait::Now);
    h.drain();
    assert!(!h.is_in_flight(key));
}

//! The seams are real: a handle, a task, an executor and a backend of somebody else's, none of which the loop knows.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Write as _};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{self, Poll, Waker};
use std::thread;
use std::time::Duration;

use loop_api::loop_core::{Completion, Control, FdKey, OpKey, OpTable, Reply, Submitted, Unpark, Wait};
use loop_api::{
    Backend, CallbackId, Cancelled, Capabilities, Context, EventLoop, ExceptionContext, Executor, Future, Handle, Job,
    LoopBuilder, LoopError, LoopOptions, Task, TaskError, new_event_loop, yield_now,
};
use socket2::{Domain, Protocol, Type};

// ---- a handle ----------------------------------------------------------------------------------------------------

/// Another language's callback: a name, and whatever it does.
struct Script {
    name: &'static str,
    cancelled: Cell<bool>,
    ran: RefCell<Vec<&'static str>>,
    fails: bool,
}

impl Script {
    fn new(name: &'static str, fails: bool) -> Rc<Self> {
        Rc::new(Self { name, cancelled: Cell::new(false), ran: RefCell::default(), fails })
    }
}

impl Handle for Script {
    fn run(&self, event_loop: &EventLoop) {
        assert!(event_loop.is_running());
        assert!(!self.fails, "line 1: no such word");
        self.ran.borrow_mut().push(self.name);
    }

    fn cancel(&self) {
        self.cancelled.set(true);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.get()
    }

    fn describe(&self) -> &str {
        self.name
    }
}

/// One pass.
fn pass(lp: &EventLoop) {
    lp.stop();
    lp.run_forever().unwrap();
}

#[test]
fn a_foreign_handle_takes_its_place_among_the_others() {
    let lp = new_event_loop().unwrap();
    let script = Script::new("script", false);
    let before = Rc::new(Cell::new(usize::MAX));
    let looks = |place: &Rc<Cell<usize>>| {
        let (place, script) = (Rc::clone(place), Rc::clone(&script));
        move || place.set(script.ran.borrow().len())
    };
    let after = Rc::new(Cell::new(usize::MAX));
    lp.call_soon(looks(&before)).unwrap();
    lp.schedule(Rc::clone(&script) as Rc<dyn Handle>).unwrap();
    lp.call_soon(looks(&after)).unwrap();
    lp.schedule(Rc::clone(&script) as Rc<dyn Handle>).unwrap();
    pass(&lp);
    assert_eq!((before.get(), after.get(), script.ran.borrow().len()), (0, 1, 2));

    lp.schedule(Rc::clone(&script) as Rc<dyn Handle>).unwrap();
    script.cancel();
    pass(&lp);
    assert_eq!(script.ran.borrow().len(), 2, "a cancelled one is skipped");
    lp.close().unwrap();
    assert!(matches!(lp.schedule(script), Err(LoopError::Closed)));
}

#[test]
fn a_foreign_handle_that_panics_is_reported_by_its_own_name() {
    let lp = new_event_loop().unwrap();
    let reports = Rc::new(RefCell::new(Vec::<ExceptionContext>::new()));
    let kept = Rc::clone(&reports);
    lp.set_exception_handler(Some(Rc::new(move |_, context| kept.borrow_mut().push(context.clone()))));
    let (failing, next) = (Script::new("failing script", true), Script::new("next", false));
    lp.schedule(Rc::clone(&failing) as Rc<dyn Handle>).unwrap();
    lp.schedule(Rc::clone(&next) as Rc<dyn Handle>).unwrap();
    pass(&lp);
    assert_eq!(*next.ran.borrow(), ["next"]);
    let reports = reports.borrow();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].message.as_deref(), Some("Exception in callback failing script"));
    assert!(reports[0].panic().unwrap().message().contains("no such word"));
    let reported: &Rc<dyn Handle> = reports[0].handle.as_ref().unwrap();
    assert_eq!(reported.describe(), failing.name);
}

// ---- a task ------------------------------------------------------------------------------------------------------

/// A task of another kind: it counts down, one step a pass, and each step is itself, queued anew. What it gives is how
/// many steps it made.
struct Countdown {
    event_loop: EventLoop,
    this: Weak<Self>,
    name: RefCell<String>,
    left: Cell<u32>,
    steps: Cell<u32>,
    outcome: RefCell<Option<Result<u32, TaskError>>>,
    requests: Cell<u32>,
    callbacks: RefCell<Vec<Callback>>,
    wakers: RefCell<Vec<Waker>>,
}

type Callback = Box<dyn FnOnce(&CountdownTask)>;

#[derive(Clone)]
struct CountdownTask(Rc<Countdown>);

impl CountdownTask {
    fn start(event_loop: &EventLoop, from: u32) -> Self {
        let task = Rc::new_cyclic(|this| Countdown {
            event_loop: event_loop.clone(),
            this: this.clone(),
            name: RefCell::new(String::from("countdown")),
            left: Cell::new(from),
            steps: Cell::new(0),
            outcome: RefCell::new(None),
            requests: Cell::new(0),
            callbacks: RefCell::default(),
            wakers: RefCell::default(),
        });
        event_loop.schedule(Rc::clone(&task) as Rc<dyn Handle>).unwrap();
        Self(task)
    }
}

impl Countdown {
    fn end(&self, outcome: Result<u32, TaskError>) {
        self.outcome.replace(Some(outcome));
        let Some(this) = self.this.upgrade() else { return };
        for callback in self.callbacks.take() {
            let task = CountdownTask(Rc::clone(&this));
            self.event_loop.call_soon(move || callback(&task)).unwrap();
        }
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

impl Handle for Countdown {
    fn run(&self, event_loop: &EventLoop) {
        self.steps.set(self.steps.get() + 1);
        match self.left.get() {
            _ if self.requests.get() > 0 => self.end(Err(Cancelled::new().into())),
            0 => self.end(Ok(self.steps.get())),
            left => {
                self.left.set(left - 1);
                event_loop.schedule(self.this.upgrade().expect("the loop holds it while it runs")).unwrap();
            }
        }
    }

    fn cancel(&self) {}

    fn cancelled(&self) -> bool {
        false
    }
}

impl std::future::Future for CountdownTask {
    type Output = Result<u32, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Self::Output> {
        match &*self.0.outcome.borrow() {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => {
                self.0.wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Future for CountdownTask {
    type Value = u32;

    fn done(&self) -> bool {
        self.0.outcome.borrow().is_some()
    }

    fn cancelled(&self) -> bool {
        matches!(*self.0.outcome.borrow(), Some(Err(TaskError::Cancelled(_))))
    }

    fn cancel_with(&self, _: Option<&str>) -> bool {
        self.0.requests.set(self.0.requests.get() + 1);
        !self.done()
    }

    fn result(&self) -> Result<u32, TaskError> {
        self.0.outcome.borrow().clone().unwrap_or(Err(TaskError::NotReady))
    }

    fn exception(&self) -> Result<Option<TaskError>, TaskError> {
        match self.result() {
            Ok(_) => Ok(None),
            Err(error @ TaskError::Failed(_)) => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    fn set_result(&self, _: u32) -> Result<(), LoopError> {
        Err(LoopError::InvalidState("a countdown finds its own end"))
    }

    fn set_exception(&self, _: TaskError) -> Result<(), LoopError> {
        Err(LoopError::InvalidState("a countdown finds its own end"))
    }

    fn add_done_callback(&self, function: Box<dyn FnOnce(&Self)>) -> CallbackId {
        self.0.callbacks.borrow_mut().push(function);
        // Taken from a future that is nobody's: this one's callbacks cannot be taken off.
        self.0.event_loop.create_future::<()>().add_done_callback(|_| ())
    }

    fn remove_done_callback(&self, _: CallbackId) -> bool {
        false
    }

    fn get_loop(&self) -> Option<EventLoop> {
        Some(self.0.event_loop.clone())
    }
}

impl Task for CountdownTask {
    fn name(&self) -> String {
        self.0.name.borrow().clone()
    }

    fn set_name(&self, name: &str) {
        self.0.name.replace(name.to_owned());
    }

    fn context(&self) -> Option<Context> {
        None
    }

    fn cancelling(&self) -> u32 {
        self.0.requests.get()
    }

    fn uncancel(&self) -> u32 {
        self.0.requests.set(self.0.requests.get().saturating_sub(1));
        self.0.requests.get()
    }
}

/// What a program does with a task, whatever its kind.
async fn name_and_await<T: Task + Clone>(task: &T, name: &str) -> Result<T::Value, TaskError> {
    task.set_name(name);
    assert!(!task.done() && task.name() == name);
    task.clone().await
}

#[test]
fn a_foreign_task_is_used_as_the_loops_own() {
    let lp = new_event_loop().unwrap();
    lp.run_until_complete(async {
        let told = Rc::new(Cell::new(0));
        let foreign = CountdownTask::start(&lp, 3);
        Future::add_done_callback(&foreign, {
            let told = Rc::clone(&told);
            Box::new(move |task: &CountdownTask| told.set(task.result().unwrap()))
        });
        let own = lp.create_task(async { 4 }).unwrap();
        assert_eq!(name_and_await(&foreign, "foreign").await.unwrap(), 4);
        assert_eq!(name_and_await(&lp.create_task(async { 4 }).unwrap(), "own").await.unwrap(), 4);
        assert_eq!((told.get(), own.await.unwrap()), (4, 4));

        let cancelled = CountdownTask::start(&lp, 1_000_000);
        yield_now().await;
        assert!(Future::cancel(&cancelled));
        assert!(name_and_await(&cancelled, "cancelled").await.unwrap_err().is_cancelled());
        assert!(cancelled.cancelled() && cancelled.cancelling() == 1 && cancelled.uncancel() == 0);
    })
    .unwrap();
}

// ---- an executor -------------------------------------------------------------------------------------------------

/// A thread for every job, and a list of what was asked for.
#[derive(Default)]
struct ThreadPerJob(Mutex<Vec<String>>);

impl Executor for ThreadPerJob {
    fn execute(&self, job: Job) -> Result<(), LoopError> {
        self.0.lock().unwrap().push(String::from("execute"));
        thread::Builder::new().name(String::from("a thread per job")).spawn(move || job.run())?;
        Ok(())
    }

    fn shutdown(&self, wait: bool, cancel_futures: bool) {
        self.0.lock().unwrap().push(format!("shutdown({wait}, {cancel_futures})"));
    }
}

#[test]
fn a_foreign_executor_serves_as_the_default_one() {
    let name = || thread::current().name().map(str::to_owned);
    let executor = Arc::new(ThreadPerJob::default());
    let made = Rc::new(Cell::new(0));
    let factory = {
        let (executor, made) = (Arc::clone(&executor), Rc::clone(&made));
        move || {
            made.set(made.get() + 1);
            Ok(Arc::clone(&executor) as Arc<dyn Executor>)
        }
    };
    let backend = LoopOptions::new().open_backend().unwrap();
    let lp = LoopBuilder::new(backend).default_executor(factory).build();
    assert_eq!(made.get(), 0, "made when it is needed");
    lp.run_until_complete(async {
        for _ in 0..2 {
            let ran_in = lp.run_in_executor(None, name).unwrap().await.unwrap();
            assert_eq!(ran_in.as_deref(), Some("a thread per job"));
        }
        lp.shutdown_default_executor(None).await.unwrap();
    })
    .unwrap();
    assert_eq!(made.get(), 1);
    lp.close().unwrap();
    assert_eq!(*executor.0.lock().unwrap(), ["execute", "execute", "shutdown(true, false)"]);
}

#[test]
fn a_foreign_executor_is_told_of_the_close_and_not_waited_for() {
    let executor = Arc::new(ThreadPerJob::default());
    let lp = new_event_loop().unwrap();
    lp.set_default_executor(Arc::clone(&executor) as Arc<dyn Executor>);
    lp.close().unwrap();
    assert_eq!(*executor.0.lock().unwrap(), ["shutdown(false, false)"]);
}

#[test]
fn a_loop_that_was_built_without_an_executor_says_so() {
    let lp = EventLoop::new(LoopOptions::new().open_backend().unwrap());
    assert!(matches!(lp.run_in_executor(None, || ()), Err(LoopError::NoExecutor)));
    let executor: Arc<dyn Executor> = Arc::new(ThreadPerJob::default());
    let job = lp.run_in_executor(Some(&executor), || 5).unwrap();
    assert_eq!(lp.run_until_complete(job).unwrap().unwrap(), 5);
}

// ---- a backend ---------------------------------------------------------------------------------------------------

/// What a [`Recording`] backend was asked.
#[derive(Clone, Default)]
struct Records {
    /// The waits, and when they were asked for.
    waits: Rc<RefCell<Vec<(Duration, Wait)>>>,
    submitted: Rc<Cell<usize>>,
    /// The waits after those, as far as the loop could tell.
    foreseen: Rc<RefCell<Vec<Duration>>>,
}

impl Records {
    /// The waits since the last look, without the glances that a busy loop takes.
    fn waits(&self) -> Vec<Wait> {
        self.waits.take().into_iter().map(|(_, wait)| wait).filter(|wait| *wait != Wait::Peek).collect()
    }

    /// The waits that are waits.
    fn sleeps(&self) -> Vec<Wait> {
        self.waits().into_iter().filter(|wait| *wait != Wait::Now).collect()
    }
}

/// Passes everything on to another backend and keeps a record. Time does not pass for long: what would wait for more
/// than a second finds the clock set forward instead.
struct Recording {
    inner: Box<dyn Backend>,
    records: Records,
    skipped: Duration,
    /// Told when a wait has no end.
    asleep: Option<mpsc::Sender<()>>,
}

impl Recording {
    /// A loop on it.
    fn make_loop(asleep: Option<mpsc::Sender<()>>) -> (EventLoop, Records) {
        let (inner, records) = (LoopOptions::new().open_backend().unwrap(), Records::default());
        let backend = Self { inner, records: records.clone(), skipped: Duration::ZERO, asleep };
        (EventLoop::new(Box::new(backend)), records)
    }
}

// SAFETY: a backend that keeps the contract is asked, and its answers are passed on as they are. The clock is ahead of
// that backend's by an amount that only grows.
unsafe impl Backend for Recording {
    fn name(&self) -> &'static str {
        "recording"
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn now(&self) -> Duration {
        self.inner.now() + self.skipped
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.inner.unparker()
    }

    fn open(&mut self, domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<FdKey> {
        self.inner.open(domain, kind, protocol)
    }

    fn adopt(&mut self, fd: OwnedFd) -> io::Result<FdKey> {
        self.inner.adopt(fd)
    }

    fn control(&mut self, fd: FdKey, control: &Control<'_>) -> io::Result<Reply> {
        self.inner.control(fd, control)
    }

    fn raw_fd(&self, fd: FdKey) -> Option<RawFd> {
        self.inner.raw_fd(fd)
    }

    fn close(&mut self, ops: &mut OpTable, fd: FdKey) {
        self.inner.close(ops, fd);
    }

    fn release(&mut self, ops: &mut OpTable, fd: FdKey) -> io::Result<OwnedFd> {
        self.inner.release(ops, fd)
    }

    fn submit(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.records.submitted.set(self.records.submitted.get() + 1);
        self.inner.submit(ops, op)
    }

    fn resume(&mut self, ops: &mut OpTable, op: OpKey) -> Submitted {
        self.inner.resume(ops, op)
    }

    fn resume_into(&mut self, ops: &mut OpTable, op: OpKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.inner.resume_into(ops, op, buf)
    }

    fn cancel(&mut self, ops: &mut OpTable, op: OpKey) {
        self.inner.cancel(ops, op);
    }

    fn recv_now(&mut self, fd: FdKey, buf: &mut [u8]) -> Option<io::Result<usize>> {
        self.inner.recv_now(fd, buf)
    }

    fn send_now(&mut self, fd: FdKey, bufs: &[IoSlice<'_>]) -> Option<io::Result<usize>> {
        self.inner.send_now(fd, bufs)
    }

    fn foresee(&mut self, deadline: Duration) {
        // A hint, which need not be passed on: the clock over there is another one.
        self.records.foreseen.borrow_mut().push(deadline);
    }

    fn poll(&mut self, ops: &mut OpTable, wait: Wait, out: &mut Vec<Completion>) -> io::Result<()> {
        self.records.waits.borrow_mut().push((self.now(), wait));
        let wait = match wait {
            Wait::Until(end) => match end.checked_sub(self.now()) {
                Some(long) if long > Duration::from_secs(1) => {
                    self.skipped += long;
                    Wait::Now
                }
                _ => Wait::Until(end.saturating_sub(self.skipped)),
            },
            Wait::Forever => {
                if let Some(asleep) = &self.asleep {
                    let _ = asleep.send(());
                }
                Wait::Forever
            }
            other => other,
        };
        self.inner.poll(ops, wait, out)
    }

    fn drain(&mut self, ops: &mut OpTable, limit: Duration) -> usize {
        self.inner.drain(ops, limit)
    }

    fn hold_clock(&mut self, hold: bool) {
        self.inner.hold_clock(hold);
    }
}

#[test]
fn a_loop_runs_on_a_foreign_backend() {
    let (lp, records) = Recording::make_loop(None);
    assert_eq!(lp.backend_name(), "recording");
    let (reader, mut writer) = UnixStream::pair().unwrap();
    let read = Rc::new(Cell::new(0));
    lp.add_reader(&reader, {
        let (lp, read) = (lp.clone(), Rc::clone(&read));
        move || {
            read.set(read.get() + 1);
            lp.stop();
        }
    })
    .unwrap();
    assert_eq!(records.submitted.get(), 1);
    writer.write_all(b"!").unwrap();
    lp.run_forever().unwrap();
    assert_eq!(read.get(), 1);
    assert!(!records.waits.borrow().is_empty());
    lp.remove_reader(&reader).unwrap();
    let hours = Duration::from_secs(5 * 3600);
    let before = lp.time();
    lp.run_until_complete(lp.sleep_for(hours)).unwrap();
    assert!(lp.time() >= before + hours, "on the backend's own clock");
    lp.close().unwrap();
}

/// ITER-04.
#[test]
fn with_something_to_do_the_backend_is_not_asked_to_wait() {
    let (lp, records) = Recording::make_loop(None);
    lp.call_later(Duration::from_secs(60), || panic!("it was waited for")).unwrap();
    pass(&lp);
    assert_eq!(records.waits(), [Wait::Now], "a stop is pending");
    lp.run_until_complete(async {
        for _ in 0..3 {
            yield_now().await;
        }
    })
    .unwrap();
    assert!(records.sleeps().is_empty(), "something was ready at every pass");
}

/// ITER-04.
#[test]
fn with_nothing_to_do_the_wait_ends_at_the_nearest_timer() {
    let (lp, records) = Recording::make_loop(None);
    let (nearest, later) = (lp.time() + Duration::from_secs(60), lp.time() + Duration::from_secs(90));
    lp.call_at(later, || panic!("the wait was for the other one")).unwrap();
    lp.run_until_complete(lp.sleep_until(nearest)).unwrap();
    assert_eq!(records.sleeps(), [Wait::Until(nearest)]);
    // A time that has come already is a wait that has ended.
    lp.call_at(Duration::ZERO, {
        let lp = lp.clone();
        move || lp.stop()
    })
    .unwrap();
    lp.run_forever().unwrap();
    let waits = records.waits();
    let ended = |wait: &Wait| matches!(wait, Wait::Now) || matches!(wait, Wait::Until(end) if *end <= lp.time());
    assert!(waits.iter().all(ended), "{waits:?}");
}

#[test]
fn the_backend_is_told_of_the_wait_after_the_next() {
    let (lp, records) = Recording::make_loop(None);
    // Again where the machine stood still, and there was nothing left to wait for.
    let second = loop {
        records.foreseen.take();
        let first = lp.time() + Duration::from_millis(5);
        let second = first + Duration::from_millis(5);
        lp.call_at(first, || ()).unwrap();
        lp.run_until_complete(lp.sleep_until(second)).unwrap();
        if records.sleeps().contains(&Wait::Until(first)) {
            break second;
        }
    };
    let mut foreseen = records.foreseen.take();
    foreseen.dedup();
    assert_eq!(foreseen, [second]);
    lp.call_at(lp.time() + Duration::from_secs(60), || panic!("it is far off")).unwrap();
    lp.run_until_complete(lp.sleep_for(Duration::from_secs(59))).unwrap();
    assert!(records.foreseen.borrow().is_empty());
}

/// ITER-04, LIFE-02.
#[test]
fn with_nothing_to_wait_for_the_wait_has_no_end() {
    let (asleep, sleeps) = mpsc::channel();
    let (lp, records) = Recording::make_loop(Some(asleep));
    let handle = lp.handle();
    let waker = thread::spawn(move || {
        sleeps.recv().unwrap();
        handle.stop();
    });
    lp.run_forever().unwrap();
    waker.join().unwrap();
    assert_eq!(records.sleeps(), [Wait::Forever]);
}

/// TIME-07.
#[test]
fn a_cancelled_timer_is_not_waited_for() {
    let (lp, records) = Recording::make_loop(None);
    let end = lp.time() + Duration::from_secs(900);
    for seconds in [10, 20, 30] {
        let timer = lp.call_at(lp.time() + Duration::from_secs(seconds), || panic!("it was cancelled")).unwrap();
        timer.cancel();
    }
    lp.run_until_complete(lp.sleep_until(end)).unwrap();
    assert_eq!(records.sleeps(), [Wait::Until(end)]);
}

/// ITER-04, TIME-11.
#[test]
fn a_deadline_far_off_is_slept_towards_in_days() {
    let (lp, records) = Recording::make_loop(None);
    let day = Duration::from_secs(24 * 3600);
    let begin = lp.time();
    let end = begin + 3 * day + day / 2;
    lp.run_until_complete(lp.sleep_until(end)).unwrap();
    let mut towards = begin;
    let waits = records.waits.take();
    let sleeps: Vec<_> = waits.iter().filter(|(_, wait)| !matches!(wait, Wait::Peek | Wait::Now)).collect();
    assert_eq!(sleeps.len(), 4, "{sleeps:?}");
    for (asked, sleep) in sleeps {
        let Wait::Until(until) = sleep else { panic!("{sleep:?}") };
        assert!(until.saturating_sub(*asked) <= day && *until > towards, "{sleep:?} at {asked:?}");
        towards = *until;
    }
    assert_eq!(towards, end);
    assert!(lp.time() >= end);
}

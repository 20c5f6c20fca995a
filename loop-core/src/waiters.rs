//! Who is told when a future or task is done: wakers and done callbacks, in the order they came.
//!
//! Wakers are woken, and callbacks queued, in one order, as asyncio has one list for both. What is told, or let go of, is
//! taken out of the list first: no user code runs while the list is looked at, and so nothing that could look at it again,
//! which is why it has no borrow flag ([`Waiters::crowd`]).
//!
//! Nearly always it is one task of this thread that waits. So a list is one word, and that task is all there is in it; whoever
//! else comes gets a crowd in memory of its own. And where something else that few have is to be kept, the word says that the
//! list lies elsewhere, before that thing ([`Waiters::keep_beside`]), which so needs no word where it is not. Invariants:
//!
//! * a task that is alone in the word has the id [`CallbackId::ALONE`], also when a crowd comes about; nobody else has it, as
//!   a list that told everyone, or let go of everyone, is one that nobody waits for again;
//! * a crowd is never empty but for those that left, and is in the order of its ids;
//! * a list that lies elsewhere does not say that of itself, and comes back before its owner goes.

use std::cell::Cell;
use std::num::NonZeroU64;
use std::ptr;
use std::rc::Rc;
use std::task::Waker;

use smallvec::SmallVec;

use crate::done::Done;
use crate::exception::{ExceptionContext, Finally};
use crate::inner::Inner;
use crate::ready::Ready;
use crate::task::{LocalWaker, TaskPtr};

/// Names one `add_done_callback`, for `remove_done_callback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallbackId(NonZeroU64);

impl CallbackId {
    /// Of a task that waits alone. The least, and so the first of a crowd.
    pub(crate) const ALONE: Self = Self(NonZeroU64::MIN);

    pub(crate) fn next() -> Self {
        thread_local!(static LAST: Cell<NonZeroU64> = const { Cell::new(CallbackId::ALONE.0) });
        let id = LAST.get().saturating_add(1);
        LAST.set(id);
        Self(id)
    }
}

struct Entry {
    id: CallbackId,
    waiter: Waiter,
}

enum Waiter {
    /// A task of this thread.
    Task(LocalWaker),
    Waker(Waker),
    Callback(Rc<dyn Done>),
    /// It does not wait any more.
    Gone,
}

/// Those that left are taken out when they are more than half.
#[derive(Default)]
struct Crowd {
    entries: SmallVec<[Entry; 1]>,
    gone: usize,
}

/// What a word stands for.
enum List {
    /// Nobody came, or everyone was told.
    Nobody,
    Task(LocalWaker),
    Crowd(Box<Crowd>),
}

/// A [`List`]: a pointer to a task; or, as its last bits say, to a crowd; or when everyone was told. Or a pointer to where the
/// list is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
struct Word(*mut ());

#[derive(Default)]
pub(crate) struct Waiters(Cell<Word>);

/// A list that lies elsewhere, and what it lies there for.
#[repr(C)]
struct Elsewhere<X> {
    list: Waiters,
    beside: X,
}

/// What keeps one await's place among the waiters: none until it suspends. Whoever has one gives it back with
/// [`Waiters::leave`] when it goes: a future that outlives many who waited for it keeps none of them.
pub(crate) trait Seat {
    fn get(&self) -> Option<CallbackId>;
    fn set(&self, id: Option<CallbackId>);
    /// Whether there is no place, nor anything else.
    fn is_clear(&self) -> bool;
    /// The same as `set`, of one that is clear, to [`CallbackId::ALONE`].
    fn set_alone(&self);
    /// Neither a place nor anything else any more.
    fn clear(&self);
    /// A mark of the await's own, which stays when the place goes.
    fn mark(&self);
    fn take_mark(&self) -> bool;
}

/// A seat that is a word of its own.
#[derive(Default)]
pub(crate) struct Place(Cell<u64>);

impl Place {
    const MARK: u64 = 1 << 63;
}

impl Seat for Place {
    #[inline]
    fn get(&self) -> Option<CallbackId> {
        NonZeroU64::new(self.0.get() & !Self::MARK).map(CallbackId)
    }

    #[inline]
    fn set(&self, id: Option<CallbackId>) {
        self.0.set(self.0.get() & Self::MARK | id.map_or(0, |id| id.0.get()));
    }

    #[inline(always)]
    fn is_clear(&self) -> bool {
        self.0.get() == 0
    }

    #[inline(always)]
    fn set_alone(&self) {
        self.0.set(CallbackId::ALONE.0.get());
    }

    #[inline]
    fn clear(&self) {
        self.0.set(0);
    }

    fn mark(&self) {
        self.0.set(self.0.get() | Self::MARK);
    }

    fn take_mark(&self) -> bool {
        let marked = self.0.get();
        self.0.set(marked & !Self::MARK);
        marked & Self::MARK != 0
    }
}

impl Default for Word {
    fn default() -> Self {
        Self::NOBODY
    }
}

impl Word {
    /// As if everyone was told during a run that never was, so that one look tells whether there is anyone.
    const NOBODY: Self = Self::told(0);
    const CROWD: usize = 1;
    const TOLD: usize = 2;
    const ELSEWHERE: usize = 3;
    const TAGS: u32 = 2;

    fn task(task: LocalWaker) -> Self {
        Self(task.into_raw())
    }

    fn crowd(crowd: Box<Crowd>) -> Self {
        Self(Box::into_raw(crowd).cast::<()>().map_addr(|address| address | Self::CROWD))
    }

    fn elsewhere<X>(place: Box<Elsewhere<X>>) -> Self {
        Self(Box::into_raw(place).cast::<()>().map_addr(|address| address | Self::ELSEWHERE))
    }

    const fn told(run: u64) -> Self {
        Self(ptr::without_provenance_mut((run as usize) << Self::TAGS | Self::TOLD))
    }

    /// Everyone is told now: during the run whose ticket this is, or between runs, when it is no run's.
    #[inline(always)]
    fn told_now(inner: &Inner) -> Self {
        Self::told(inner.runs.get())
    }

    fn tag(self) -> usize {
        self.0.addr() & ((1 << Self::TAGS) - 1)
    }

    fn is_task(self) -> bool {
        self.tag() == 0
    }

    /// The task that it stands for, to look at while it stays where it is.
    fn as_task(&self) -> Option<&LocalWaker> {
        // SAFETY: a `LocalWaker` is the pointer that it is made of.
        self.is_task().then(|| unsafe { &*ptr::from_ref(&self.0).cast() })
    }

    /// Whether it stands for anything that is to be let go of.
    #[inline]
    fn owns_any(self) -> bool {
        self.tag() != Self::TOLD
    }

    fn as_crowd(self) -> Option<*mut Crowd> {
        (self.tag() == Self::CROWD).then(|| self.0.map_addr(|address| address & !Self::CROWD).cast())
    }

    /// Also a pointer to the list there, which comes first.
    #[inline(always)]
    fn as_elsewhere<X>(self) -> Option<*mut Elsewhere<X>> {
        (self.tag() == Self::ELSEWHERE).then(|| self.0.map_addr(|address| address & !Self::ELSEWHERE).cast())
    }

    /// # Safety
    ///
    /// The word is the caller's, who has taken it out, and is used once.
    unsafe fn into_list(self) -> List {
        // SAFETY: the caller's; a word holds what its tag says.
        unsafe {
            match self.as_crowd() {
                Some(crowd) => List::Crowd(Box::from_raw(crowd)),
                None if self.is_task() => List::Task(LocalWaker::from_raw(self.0)),
                None => List::Nobody,
            }
        }
    }
}

/// Where a list is.
impl Waiters {
    #[inline(always)]
    fn list(&self) -> &Self {
        match self.0.get().as_elsewhere::<()>() {
            // SAFETY: it stays there until `take_beside`, which needs to be alone.
            Some(place) => unsafe { &(*place).list },
            None => self,
        }
    }

    /// Has the list lie before this: in memory of their own.
    pub(crate) fn keep_beside<X>(&self, beside: X) {
        debug_assert!(!self.is_elsewhere());
        let place = Box::new(Elsewhere { list: Self(Cell::new(self.0.take())), beside });
        self.0.set(Word::elsewhere(place));
    }

    #[inline(always)]
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.0.get().tag() == Word::ELSEWHERE
    }

    /// What is kept beside the list.
    ///
    /// # Safety
    ///
    /// If anything is kept, it is of this type. It is not taken while it is looked at.
    #[inline]
    pub(crate) unsafe fn beside<X>(&self) -> Option<&X> {
        // SAFETY: the caller's.
        self.0.get().as_elsewhere::<X>().map(|place| unsafe { &(*place).beside })
    }

    /// Takes it out. The list lies here again.
    ///
    /// # Safety
    ///
    /// If anything is kept, it is of this type. Nobody looks at it, or at the list.
    pub(crate) unsafe fn take_beside<X>(&self) -> Option<X> {
        let place = self.0.get().as_elsewhere::<X>()?;
        // SAFETY: the caller's; from a box, and not pointed to any more from here on.
        let place = unsafe { Box::from_raw(place) };
        self.0.set(place.list.0.take());
        Some(place.beside)
    }
}

impl Waiters {
    /// Has the waker woken. An await that polls again keeps its place.
    #[inline(never)]
    pub(crate) fn wait(&self, place: &dyn Seat, waker: &Waker) {
        if self.is_elsewhere() {
            return self.list().wait(place, waker);
        }
        if place.is_clear() && self.wait_first(|| LocalWaker::of(waker)) {
            place.set_alone();
        } else {
            self.wait_among(place, waker);
        }
    }

    /// The same in the step of this task, of an await that has no place as yet: true where it is alone now. Nearly always the
    /// waker is the task's own, and this is the first to wait. False, and nothing is done, where there is more to it.
    #[inline(always)]
    pub(crate) fn wait_plainly(&self, waker: &Waker, current: TaskPtr) -> bool {
        self.wait_first(|| LocalWaker::of_current(waker, current))
    }

    #[inline(always)]
    fn wait_first(&self, task: impl FnOnce() -> Option<LocalWaker>) -> bool {
        if self.0.get() != Word::NOBODY {
            return false;
        }
        let Some(task) = task() else { return false };
        self.0.set(Word::task(task));
        true
    }

    fn wait_among(&self, place: &dyn Seat, waker: &Waker) {
        let word = self.0.get();
        if place.get() == Some(CallbackId::ALONE) && word.as_task().is_some_and(|task| task.is_of(waker)) {
            return;
        }
        if let Some(id) = place.get() {
            let waits = word.owns_any().then(|| {
                self.crowd(|crowd| {
                    crowd.find(id).map(|entry| match &entry.waiter {
                        Waiter::Task(task) => task.is_of(waker),
                        Waiter::Waker(old) => old.will_wake(waker),
                        Waiter::Callback(_) | Waiter::Gone => false,
                    })
                })
            });
            match waits.flatten() {
                Some(true) => return,
                Some(false) => {}
                None => place.set(None),
            }
        }
        // Cloned and dropped outside: a waker may be anybody's.
        let waiter = match LocalWaker::of(waker) {
            Some(task) => Waiter::Task(task),
            None => Waiter::Waker(waker.clone()),
        };
        let old = match place.get() {
            Some(id) => self.crowd(|crowd| crowd.find(id).map(|entry| std::mem::replace(&mut entry.waiter, waiter))),
            None => {
                let id = CallbackId::next();
                place.set(Some(id));
                self.crowd(|crowd| crowd.entries.push(Entry { id, waiter }));
                None
            }
        };
        drop(old);
    }

    /// The crowd, which comes about if there is none: of whom was alone, or, for the caller to add to, of nobody.
    fn crowd<R>(&self, f: impl FnOnce(&mut Crowd) -> R) -> R {
        // A waker that was cloned a moment ago is anybody's code, which may have moved it.
        let word = &self.list().0;
        let crowd = word.get().as_crowd().unwrap_or_else(|| {
            let mut crowd = Box::<Crowd>::default();
            // SAFETY: taken out here.
            if let List::Task(task) = unsafe { word.take().into_list() } {
                crowd.entries.push(Entry { id: CallbackId::ALONE, waiter: Waiter::Task(task) });
            }
            word.set(Word::crowd(crowd));
            word.get().as_crowd().expect("it was just made")
        });
        // SAFETY: of one thread, as the cell is, and this is private: what the functions here do with a crowd neither drops
        // nor calls anything that is not this file's.
        f(unsafe { &mut *crowd })
    }

    /// An await is gone.
    #[inline]
    pub(crate) fn leave(&self, place: &dyn Seat) {
        if let Some(id) = place.get() {
            place.clear();
            self.remove_callback(id);
        }
    }

    pub(crate) fn add_callback(&self, id: CallbackId, handle: Rc<dyn Done>) {
        self.crowd(|crowd| crowd.entries.push(Entry { id, waiter: Waiter::Callback(handle) }));
    }

    /// Takes a callback, or whoever else has this number, off; false where it is gone already.
    #[inline(never)]
    pub(crate) fn remove_callback(&self, id: CallbackId) -> bool {
        let list = self.list();
        let word = list.0.get();
        if word.is_task() {
            if id == CallbackId::ALONE {
                list.clear();
            }
            return id == CallbackId::ALONE;
        }
        if word.as_crowd().is_none() {
            return false;
        }
        let (removed, is_over) = list.crowd(|crowd| (crowd.remove(id), crowd.entries.is_empty()));
        if is_over {
            list.clear();
        }
        removed.is_some()
    }

    /// Whether there is nobody yet, or one task of this thread, without a look anywhere else.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        let word = self.0.get();
        word.is_task() || word == Word::NOBODY
    }

    /// Tells everyone, where the list is plain: of nobody's code anything runs here. False, and nothing is done, where it is not.
    #[inline(always)]
    pub(crate) fn notify_plainly(&self, inner: &Inner) -> bool {
        let word = self.0.get();
        if word.is_task() {
            self.0.set(Word::told_now(inner));
            // SAFETY: taken out.
            unsafe { LocalWaker::from_raw(word.0) }.wake();
            return true;
        }
        let is_empty = word == Word::NOBODY;
        if is_empty {
            self.0.set(Word::told_now(inner));
        }
        is_empty
    }

    /// Tells everyone, through the ready queue: nobody runs before this returns. False where there was a callback
    /// that the loop, being closed, could not take.
    #[inline]
    pub(crate) fn notify(&self, finally: &mut Finally<'_>, bind: impl Fn(&dyn Done)) -> bool {
        let word = self.list().0.replace(Word::told_now(finally.inner));
        if !word.owns_any() {
            return true;
        }
        // SAFETY: taken out.
        match unsafe { word.into_list() } {
            List::Task(task) => {
                task.wake();
                true
            }
            List::Crowd(crowd) => crowd.tell(finally, &bind),
            List::Nobody => true,
        }
    }

    /// The numbers of the tasks that wait, as far as they are known.
    pub(crate) fn awaiters(&self) -> Vec<u64> {
        let word = self.list().0.get();
        if let Some(task) = word.as_task() {
            return vec![task.id()];
        }
        let awaiter = |entry: &Entry| match &entry.waiter {
            Waiter::Task(task) => Some(task.id()),
            Waiter::Waker(waker) => crate::task::woken_by(waker),
            Waiter::Callback(callback) => callback.awaiter(),
            Waiter::Gone => None,
        };
        // SAFETY: as in `crowd`.
        let crowd = word.as_crowd().map(|crowd| unsafe { &*crowd });
        crowd.into_iter().flat_map(|crowd| crowd.entries.iter().filter_map(awaiter)).collect()
    }

    /// Whether everyone was told during this run.
    pub(crate) fn told_in(&self, run: u64) -> bool {
        self.list().0.get() == Word::told(run)
    }

    /// Whether there is anyone to let go of.
    #[inline]
    pub(crate) fn holds_any(&self) -> bool {
        self.list().0.get().owns_any()
    }

    /// Whether there is anyone to let go of, or anything beside the list.
    #[inline]
    pub(crate) fn owns_any(&self) -> bool {
        self.0.get().owns_any()
    }

    /// Lets go of everyone, untold.
    pub(crate) fn clear(&self) {
        // SAFETY: taken out.
        drop(unsafe { self.list().0.take().into_list() });
    }
}

/// Most have nobody in them when they go, which is seen at a glance.
impl Drop for Waiters {
    #[inline]
    fn drop(&mut self) {
        debug_assert!(!self.is_elsewhere(), "what is kept beside a list is taken out before");
        if self.0.get().owns_any() {
            self.clear();
        }
    }
}

impl Crowd {
    fn find(&mut self, id: CallbackId) -> Option<&mut Entry> {
        let place = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(&mut self.entries[place])
    }

    fn remove(&mut self, id: CallbackId) -> Option<Waiter> {
        let found = std::mem::replace(&mut self.find(id)?.waiter, Waiter::Gone);
        if matches!(found, Waiter::Gone) {
            return None;
        }
        self.gone += 1;
        if self.gone * 2 > self.entries.len() {
            self.entries.retain(|entry| !matches!(entry.waiter, Waiter::Gone));
            self.gone = 0;
        }
        Some(found)
    }

    /// Tells everyone. False where there was a callback that the loop, being closed, could not take.
    #[inline(never)]
    fn tell(self, finally: &mut Finally<'_>, bind: &dyn Fn(&dyn Done)) -> bool {
        let mut all = true;
        for entry in self.entries {
            all &= entry.waiter.tell(finally, bind);
        }
        all
    }
}

impl Waiter {
    fn tell(self, finally: &mut Finally<'_>, bind: &dyn Fn(&dyn Done)) -> bool {
        match self {
            Self::Task(task) => task.wake(),
            Self::Waker(waker) => {
                finally.run(|| waker.wake(), || ExceptionContext::new("Exception in a foreign waker"));
            }
            Self::Callback(handle) if finally.inner.closed.get() => {
                finally.dispose(handle);
                return false;
            }
            Self::Callback(handle) => {
                bind(&*handle);
                finally.inner.ready.push(Ready::Handle(handle));
            }
            Self::Gone => {}
        }
        true
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests;

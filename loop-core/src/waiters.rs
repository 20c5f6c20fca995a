//! Who is told when a future or task is done: wakers and done callbacks, in the order they came.
//!
//! Wakers are woken, and callbacks queued, in one order, as asyncio has one list for both. What is told, or let go of, is
//! taken out of the list first: no user code runs while the list is looked at, and so nothing that could look at it again,
//! which is why it has no borrow flag ([`Waiters::with`]).

use std::cell::{Cell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::task::Waker;

use crate::done::Done;
use crate::exception::{ExceptionContext, Finally};
use crate::ready::Ready;
use crate::task::LocalWaker;

/// Names one `add_done_callback`, for `remove_done_callback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallbackId(NonZeroU64);

impl CallbackId {
    pub(crate) fn next() -> Self {
        thread_local!(static NEXT: Cell<NonZeroU64> = const { Cell::new(NonZeroU64::MIN) });
        let id = NEXT.get();
        NEXT.set(id.saturating_add(1));
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

/// Nearly always none or one, which costs no allocation.
#[derive(Default)]
enum List {
    #[default]
    Empty,
    One(Entry),
    /// In the order of their ids. Those that left are taken out when they are more than half.
    Many {
        entries: Vec<Entry>,
        gone: usize,
    },
    /// Everyone was told, during this run of the loop.
    Told {
        run: u64,
    },
}

#[derive(Default)]
pub(crate) struct Waiters(UnsafeCell<ManuallyDrop<List>>);

/// One await's place among the waiters: none until it suspends. Whoever has one gives it back with
/// [`Waiters::leave`] when it goes: a future that outlives many who waited for it keeps none of them.
///
/// In the same word there is room for a mark of the await's own.
#[derive(Default)]
pub(crate) struct Place(Cell<u64>);

impl Place {
    const MARK: u64 = 1 << 63;

    #[inline]
    pub(crate) fn get(&self) -> Option<CallbackId> {
        NonZeroU64::new(self.0.get() & !Self::MARK).map(CallbackId)
    }

    #[inline]
    pub(crate) fn set(&self, id: Option<CallbackId>) {
        self.0.set(self.0.get() & Self::MARK | id.map_or(0, |id| id.0.get()));
    }

    pub(crate) fn mark(&self) {
        self.0.set(self.0.get() | Self::MARK);
    }

    pub(crate) fn take_mark(&self) -> bool {
        let marked = self.0.get();
        self.0.set(marked & !Self::MARK);
        marked & Self::MARK != 0
    }
}

impl Waiters {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut List) -> R) -> R {
        // SAFETY: of one thread, as the cell is, and this is private: what the functions below do in here neither drops nor
        // calls anything that is not this file's.
        f(unsafe { &mut *self.0.get() })
    }

    /// Exchanges the list. The old one is the caller's to drop.
    #[inline]
    fn replace(&self, new: List) -> List {
        self.with(|list| std::mem::replace(list, new))
    }

    /// Has the waker woken. An await that polls again keeps its place.
    #[inline]
    pub(crate) fn wait(&self, place: &Place, waker: &Waker) {
        // Nearly always it is the first to wait, for the first time, in a task of this thread.
        if place.get().is_none()
            && !self.holds_any()
            && let Some(task) = LocalWaker::of(waker)
        {
            let id = CallbackId::next();
            place.set(Some(id));
            let first = List::One(Entry { id, waiter: Waiter::Task(task) });
            // Forgotten, as it held nothing.
            return std::mem::forget(self.replace(first));
        }
        self.wait_among(place, waker);
    }

    #[inline(never)]
    fn wait_among(&self, place: &Place, waker: &Waker) {
        if let Some(id) = place.get() {
            let waits = self.with(|list| {
                list.find(id).map(|entry| match &entry.waiter {
                    Waiter::Task(task) => task.is_of(waker),
                    Waiter::Waker(old) => old.will_wake(waker),
                    Waiter::Callback(_) | Waiter::Gone => false,
                })
            });
            match waits {
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
            Some(id) => self.with(|list| list.find_mut(id).map(|entry| std::mem::replace(&mut entry.waiter, waiter))),
            None => {
                let id = CallbackId::next();
                place.set(Some(id));
                self.push(Entry { id, waiter });
                None
            }
        };
        drop(old);
    }

    /// An await is gone.
    #[inline]
    pub(crate) fn leave(&self, place: &Place) {
        if let Some(id) = place.get() {
            place.set(None);
            self.remove_callback(id);
        }
    }

    pub(crate) fn add_callback(&self, id: CallbackId, handle: Rc<dyn Done>) {
        self.push(Entry { id, waiter: Waiter::Callback(handle) });
    }

    /// Takes a callback, or whoever else has this number, off; false where it is gone already.
    #[inline(never)]
    pub(crate) fn remove_callback(&self, id: CallbackId) -> bool {
        let waiter = self.with(|list| list.remove(id));
        waiter.is_some()
    }

    fn push(&self, entry: Entry) {
        self.with(|list| match list {
            List::Empty | List::Told { .. } => *list = List::One(entry),
            List::Many { entries, .. } => entries.push(entry),
            List::One(_) => {
                if let List::One(first) = std::mem::take(list) {
                    *list = List::Many { entries: vec![first, entry], gone: 0 };
                }
            }
        });
    }

    /// Tells everyone, through the ready queue: nobody runs before this returns. False where there was a callback
    /// that the loop, being closed, could not take.
    #[inline]
    pub(crate) fn notify(&self, finally: &mut Finally<'_>, bind: impl Fn(&dyn Done)) -> bool {
        let inner = finally.inner;
        let told = if inner.is_running() { List::Told { run: inner.run_ticket() } } else { List::Empty };
        if !self.holds_any() {
            // Forgotten, as it held nothing.
            std::mem::forget(self.replace(told));
            return true;
        }
        match self.replace(told) {
            List::One(Entry { waiter: Waiter::Task(task), .. }) => {
                task.wake();
                true
            }
            others => others.tell(finally, &bind),
        }
    }

    /// The numbers of the tasks that wait, as far as they are known.
    pub(crate) fn awaiters(&self) -> Vec<u64> {
        self.with(|list| {
            let entries = match list {
                List::Empty | List::Told { .. } => &[][..],
                List::One(entry) => std::slice::from_ref(entry),
                List::Many { entries, .. } => entries,
            };
            let awaiter = |entry: &Entry| match &entry.waiter {
                Waiter::Task(task) => Some(task.id()),
                Waiter::Waker(waker) => crate::task::woken_by(waker),
                Waiter::Callback(callback) => callback.awaiter(),
                Waiter::Gone => None,
            };
            entries.iter().filter_map(awaiter).collect()
        })
    }

    /// Whether everyone was told during this run.
    pub(crate) fn told_in(&self, run: u64) -> bool {
        self.with(|list| matches!(list, List::Told { run: told } if *told == run))
    }

    /// Whether there is anyone to let go of.
    #[inline]
    pub(crate) fn holds_any(&self) -> bool {
        self.with(|list| matches!(list, List::One(_) | List::Many { .. }))
    }

    /// Lets go of everyone, untold.
    pub(crate) fn clear(&self) {
        drop(self.replace(List::Empty));
    }
}

/// Most have nobody in them when they go, which is seen at a glance.
impl Drop for Waiters {
    #[inline]
    fn drop(&mut self) {
        if self.holds_any() {
            self.clear();
        }
    }
}

impl List {
    fn position(entries: &[Entry], id: CallbackId) -> Option<usize> {
        entries.binary_search_by_key(&id, |entry| entry.id).ok()
    }

    fn find(&self, id: CallbackId) -> Option<&Entry> {
        match self {
            Self::One(entry) if entry.id == id => Some(entry),
            Self::Many { entries, .. } => Some(&entries[Self::position(entries, id)?]),
            _ => None,
        }
    }

    fn find_mut(&mut self, id: CallbackId) -> Option<&mut Entry> {
        match self {
            Self::One(entry) if entry.id == id => Some(entry),
            Self::Many { entries, .. } => {
                let place = Self::position(entries, id)?;
                Some(&mut entries[place])
            }
            _ => None,
        }
    }

    fn remove(&mut self, id: CallbackId) -> Option<Waiter> {
        let found = std::mem::replace(&mut self.find_mut(id)?.waiter, Waiter::Gone);
        match self {
            Self::Many { entries, gone } => {
                *gone += 1;
                if *gone * 2 > entries.len() {
                    entries.retain(|entry| !matches!(entry.waiter, Waiter::Gone));
                    *gone = 0;
                }
            }
            _ => *self = Self::Empty,
        }
        (!matches!(found, Waiter::Gone)).then_some(found)
    }
}

impl List {
    /// Tells everyone. False where there was a callback that the loop, being closed, could not take.
    #[inline(never)]
    fn tell(self, finally: &mut Finally<'_>, bind: &dyn Fn(&dyn Done)) -> bool {
        match self {
            Self::Empty | Self::Told { .. } => true,
            Self::One(entry) => entry.waiter.tell(finally, bind),
            Self::Many { entries, .. } => {
                let mut all = true;
                for entry in entries {
                    all &= entry.waiter.tell(finally, bind);
                }
                all
            }
        }
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

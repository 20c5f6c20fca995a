//! Context variables: values that follow a callback or a task, not a thread (asyncio: `contextvars`).
//!
//! A callback, a done callback and a task capture the context that is current where they are made, and run
//! in it. Captured contexts are snapshots: what a callback sets, later callbacks do not see; what a task sets
//! stays with the task. A [`Context`] made explicitly is shared by whatever runs in it.
//!
//! A program that sets no variable pays one thread-local look per callback: the empty context is no memory, and whether the
//! current one is empty is said by a flag beside it, which, having no destructor, is the cheaper one to look at.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The values of a moment, shared until one is set. The empty one is `None`.
pub(crate) type Snapshot = Option<Rc<Values>>;

/// Few variables are set at a time, so a small sorted vector beats a map.
#[derive(Clone, Default)]
pub(crate) struct Values(Vec<(u64, Rc<dyn Any>)>);

impl Values {
    fn get(&self, id: u64) -> Option<&Rc<dyn Any>> {
        let place = self.0.binary_search_by_key(&id, |entry| entry.0).ok()?;
        Some(&self.0[place].1)
    }

    fn set(&mut self, id: u64, value: Option<Rc<dyn Any>>) -> Option<Rc<dyn Any>> {
        match (self.0.binary_search_by_key(&id, |entry| entry.0), value) {
            (Ok(place), Some(value)) => Some(std::mem::replace(&mut self.0[place].1, value)),
            (Ok(place), None) => Some(self.0.remove(place).1),
            (Err(place), Some(value)) => {
                self.0.insert(place, (id, value));
                None
            }
            (Err(_), None) => None,
        }
    }
}

thread_local! {
    static CURRENT: Cell<Snapshot> = const { Cell::new(None) };
    /// Whether there is one.
    static IS_SET: Cell<bool> = const { Cell::new(false) };
}

/// Whether the context current in this thread is another than the empty one.
#[inline]
pub(crate) fn is_set() -> bool {
    IS_SET.get()
}

/// The context current in this thread.
#[inline]
pub(crate) fn snapshot() -> Snapshot {
    if IS_SET.get() { current() } else { None }
}

/// Makes `next` current, and gives what was.
#[inline]
pub(crate) fn swap(next: Snapshot) -> Snapshot {
    if next.is_some() || IS_SET.get() { exchange(next) } else { None }
}

#[inline(never)]
fn current() -> Snapshot {
    let values = exchange(None);
    exchange(values.clone());
    values
}

/// At the end of the thread there is no context any more.
#[inline(never)]
fn exchange(next: Snapshot) -> Snapshot {
    let is_set = next.is_some();
    let before = CURRENT.try_with(|current| current.replace(next));
    IS_SET.set(is_set && before.is_ok());
    before.unwrap_or(None)
}

/// Makes a snapshot current until dropped.
pub(crate) struct Entered {
    before: Snapshot,
}

impl Entered {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self { before: swap(snapshot) }
    }

    /// What is current now, with what came before current again.
    pub(crate) fn leave(mut self) -> Snapshot {
        let after = swap(self.before.take());
        std::mem::forget(self);
        after
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let after = swap(self.before.take());
        // Values may run code when dropped: only once the slot is in order again.
        drop(after);
    }
}

/// An explicit context (asyncio: `contextvars.Context`), shared by everything that is run in it.
#[derive(Clone, Default)]
pub struct Context(Rc<RefCell<Snapshot>>);

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of the current context (asyncio: `copy_context`).
    #[must_use]
    pub fn copy() -> Self {
        Self::from_snapshot(snapshot())
    }

    pub(crate) fn from_snapshot(snapshot: Snapshot) -> Self {
        Self(Rc::new(RefCell::new(snapshot)))
    }

    pub(crate) fn replace_snapshot(&self, snapshot: Snapshot) -> Snapshot {
        self.0.replace(snapshot)
    }

    pub(crate) fn to_snapshot(&self) -> Snapshot {
        self.0.borrow().clone()
    }

    /// Runs `f` in this context; what it sets stays here.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave<'a>(&'a Context, Option<Entered>);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                let after = self.1.take().and_then(Entered::leave);
                let before = self.0.0.replace(after);
                drop(before);
            }
        }
        let _leave = Leave(self, Some(Entered::new(self.to_snapshot())));
        f()
    }

    /// The variable's value in this context, or none where it is not set here.
    #[must_use]
    pub fn get<T: Clone + 'static>(&self, var: &ContextVar<T>) -> Option<T> {
        let values = self.to_snapshot()?;
        values.get(var.id)?.downcast_ref::<T>().cloned()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} variables)", self.0.borrow().as_ref().map_or(0, |values| values.0.len()))
    }
}

/// A context variable (asyncio: `contextvars.ContextVar`).
///
/// ```
/// use loop_core::ContextVar;
///
/// let user = ContextVar::new("user");
/// let token = user.set("ada");
/// assert_eq!(user.get(), Some("ada"));
/// user.reset(token).unwrap();
/// assert_eq!(user.get(), None);
/// ```
pub struct ContextVar<T> {
    id: u64,
    name: &'static str,
    _value: std::marker::PhantomData<fn() -> T>,
}

impl<T: Clone + 'static> ContextVar<T> {
    /// A new variable, unset in every context. The name is for people only.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), name, _value: std::marker::PhantomData }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Its value in the current context, or none where it is not set.
    #[must_use]
    pub fn get(&self) -> Option<T> {
        let values = snapshot()?;
        values.get(self.id)?.downcast_ref::<T>().cloned()
    }

    /// Sets it in the current context; the token takes that back.
    pub fn set(&self, value: T) -> ContextToken<T> {
        let before = self.replace(Some(Rc::new(value)));
        ContextToken { id: self.id, before, _value: std::marker::PhantomData }
    }

    /// Takes back a `set`: what the variable was before it is what it is in the current context from now on. A token of
    /// another context is taken like one of this one (Python: `ValueError`), as contexts are snapshots here.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for another variable's token.
    pub fn reset(&self, token: ContextToken<T>) -> crate::Result<()> {
        if token.id != self.id {
            return Err(crate::Error::InvalidArgument("the token belongs to another context variable"));
        }
        let after = self.replace(token.before);
        drop(after);
        Ok(())
    }

    fn replace(&self, value: Option<Rc<dyn Any>>) -> Option<Rc<dyn Any>> {
        // Taken out meanwhile, so that a context nobody else holds is changed in place.
        let mut values = swap(None).unwrap_or_default();
        let before = Rc::make_mut(&mut values).set(self.id, value);
        swap(if values.0.is_empty() { None } else { Some(values) });
        before
    }
}

impl<T> fmt::Debug for ContextVar<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextVar({})", self.name)
    }
}

/// What takes a [`ContextVar::set`] back.
#[derive(Debug)]
pub struct ContextToken<T> {
    id: u64,
    before: Option<Rc<dyn Any>>,
    _value: std::marker::PhantomData<fn() -> T>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_in_a_context_changes_that_context_alone() {
        let var = ContextVar::new("var");
        let token = var.set(1);
        let copy = Context::copy();
        copy.run(|| {
            assert_eq!(var.get(), Some(1));
            var.set(2);
        });
        assert_eq!(var.get(), Some(1));
        assert_eq!(copy.get(&var), Some(2));
        copy.run(|| assert_eq!(var.get(), Some(2)));
        var.reset(token).unwrap();
        assert_eq!(var.get(), None);
        assert!(snapshot().is_none(), "an empty context is no memory");
    }

    #[test]
    fn a_token_fits_its_own_variable_only() {
        let (one, two) = (ContextVar::new("one"), ContextVar::new("two"));
        let token = one.set(1);
        assert!(matches!(two.reset(token), Err(crate::Error::InvalidArgument(_))));
        assert_eq!(one.get(), Some(1));
    }

    #[test]
    fn a_panic_leaves_the_context_in_order() {
        let var = ContextVar::new("var");
        let inner = Context::new();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            inner.run(|| {
                var.set(7);
                std::panic::resume_unwind(Box::new(()));
            });
        }));
        assert!(caught.is_err());
        assert_eq!((var.get(), inner.get(&var)), (None, Some(7)));
    }
}

//! What a future has come to.
//!
//! Without a borrow flag, which each look would set and clear. Invariants: nothing here calls anybody's code, nor gives out a
//! reference, so no look is under way when something is changed; a value goes in once, and goes out at most once.

use std::cell::UnsafeCell;

use crate::error::TaskError;

pub(super) enum State<T> {
    Pending,
    Value(T),
    Taken,
    Error(TaskError),
}

pub(super) struct Outcome<T>(UnsafeCell<State<T>>);

impl<T> Outcome<T> {
    pub(super) const fn pending() -> Self {
        Self(UnsafeCell::new(State::Pending))
    }

    #[inline(always)]
    fn look<R>(&self, look: impl FnOnce(&State<T>) -> R) -> R {
        // SAFETY: of one thread, as the cell is, and this is private: what the functions here do meanwhile changes nothing.
        look(unsafe { &*self.0.get() })
    }

    #[inline(always)]
    pub(super) fn is_pending(&self) -> bool {
        self.look(|state| matches!(state, State::Pending))
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.look(|state| matches!(state, State::Error(TaskError::Cancelled(_))))
    }

    pub(super) fn error(&self) -> Option<TaskError> {
        self.look(|state| match state {
            State::Error(error) => Some(error.clone()),
            _ => None,
        })
    }

    /// Makes the outcome of one that is pending, in its place.
    #[inline(always)]
    pub(super) fn fill(&self, outcome: State<T>) {
        debug_assert!(self.is_pending());
        // SAFETY: nobody looks. What is written over has nothing to be dropped.
        unsafe { self.0.get().write(outcome) };
    }

    /// Takes the value out, if it is there.
    #[inline(always)]
    pub(super) fn take_value(&self) -> Option<T> {
        if !self.look(|state| matches!(state, State::Value(_))) {
            return None;
        }
        match self.replace(State::Taken) {
            State::Value(value) => Some(value),
            _ => None,
        }
    }

    /// Puts this in the place of what is there, which the caller drops or puts back.
    #[inline(always)]
    pub(super) fn replace(&self, state: State<T>) -> State<T> {
        // SAFETY: nobody looks, and nothing is dropped here.
        unsafe { self.0.get().replace(state) }
    }
}

#[cfg(all(test, feature = "testing", not(loom)))]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use crate::testing::VirtualBackend;
    use crate::{EventLoop, LoopFuture, TaskError};

    /// For Miri: a value is there once, whoever takes it, or looks at the future while it is being cloned or dropped.
    #[test]
    fn a_value_goes_in_once_and_out_once() {
        type Future = LoopFuture<Looks>;
        /// Looks at its own future when it is cloned and when it is dropped.
        struct Looks(Rc<RefCell<Option<Future>>>, Rc<()>);
        impl Looks {
            fn look(&self, is_out: bool) {
                let future = self.0.borrow().clone();
                if let Some(future) = future {
                    assert!(future.done() && !future.cancelled());
                    assert!(matches!(future.exception(), Ok(None)));
                    assert!(!is_out || matches!(future.take_result(), Err(TaskError::Taken)));
                }
            }
        }
        impl Clone for Looks {
            fn clone(&self) -> Self {
                self.look(true);
                Self(Rc::clone(&self.0), Rc::clone(&self.1))
            }
        }
        impl Drop for Looks {
            fn drop(&mut self) {
                self.look(false);
            }
        }

        let lp = EventLoop::new(Box::new(VirtualBackend::new()));
        let alive = Rc::new(());
        for takes in [false, true] {
            let own = Rc::<RefCell<Option<Future>>>::default();
            let future: Future = lp.create_future();
            assert!(matches!(future.take_result(), Err(TaskError::NotReady)));
            *own.borrow_mut() = Some(future.clone());
            future.set_result(Looks(Rc::clone(&own), Rc::clone(&alive))).unwrap();
            assert!(future.set_result(Looks(Rc::default(), Rc::clone(&alive))).is_err());
            drop(future.result().unwrap());
            assert_eq!(Rc::strong_count(&alive), 2);
            if takes {
                drop(future.take_result().unwrap());
                assert_eq!(Rc::strong_count(&alive), 1);
            }
            let last = own.take();
            drop((future, last));
            assert_eq!(Rc::strong_count(&alive), 1);
        }
        lp.close().unwrap();
    }
}

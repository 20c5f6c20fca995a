//! The current loop of a thread: what `get_event_loop` gives where none runs.
//!
//! A slot is untouched at first, and the first `get_event_loop` fills it with a loop of its own making; once it was
//! emptied explicitly, that is over. The slot keeps its loop: a loop that is current does not close itself.
//!
//! After `fork` the child's slots count as untouched. What they hold belongs to the parent: it is forgotten there, not
//! closed, since closing would take registrations out of the kernel objects that both processes share.

use std::cell::RefCell;

use loop_core::{Error, EventLoop, Result, fork_generation};

thread_local! {
    static SLOT: RefCell<Slot> = const { RefCell::new(Slot { state: State::Untouched, generation: 0 }) };
}

struct Slot {
    state: State,
    /// When it was filled, in forks.
    generation: u32,
}

enum State {
    Untouched,
    Current(EventLoop),
    /// `set_event_loop(None)`: no loop, and none is to be made.
    Emptied,
}

impl Slot {
    /// The child of a fork gets an untouched slot.
    fn forget_parents(&mut self) {
        if !matches!(self.state, State::Untouched) && self.generation != fork_generation() {
            std::mem::forget(std::mem::replace(&mut self.state, State::Untouched));
        }
    }

    fn replace(&mut self, state: State) -> State {
        self.forget_parents();
        self.generation = fork_generation();
        std::mem::replace(&mut self.state, state)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.forget_parents();
    }
}

/// Fills the slot, or empties it.
pub(crate) fn set(event_loop: Option<&EventLoop>) {
    let state = event_loop.map_or(State::Emptied, |event_loop| State::Current(event_loop.to_owner()));
    // A thread that is ending has no slot any more.
    let old = SLOT.try_with(|slot| slot.borrow_mut().replace(state));
    // The last owner of an unclosed loop closes it, which runs destructors of users.
    drop(old);
}

/// What is in the slot; where it is untouched, it gets what `make` gives.
pub(crate) fn get_or_make(make: impl FnOnce() -> Result<EventLoop>) -> Result<EventLoop> {
    let found = SLOT.try_with(|slot| {
        let mut slot = slot.borrow_mut();
        slot.forget_parents();
        match &slot.state {
            State::Untouched => Ok(None),
            State::Current(event_loop) => Ok(Some(event_loop.to_owner())),
            State::Emptied => Err(()),
        }
    });
    match found {
        Ok(Ok(Some(event_loop))) => Ok(event_loop),
        Ok(Ok(None)) => {
            let event_loop = make()?;
            set(Some(&event_loop));
            Ok(event_loop)
        }
        Ok(Err(())) | Err(_) => Err(Error::NoCurrentLoop { thread: thread_name() }),
    }
}

fn thread_name() -> String {
    let thread = std::thread::current();
    thread.name().map_or_else(|| format!("{:?}", thread.id()), str::to_owned)
}

//! Which loop is whose: the running one, the current one, a new one (asyncio: the event loop policy).
//!
//! The *running* loop of a thread is the loop's own affair, and no policy is ever asked about it. The *current* one,
//! which counts where none runs, and the making of new ones are a [`Policy`]'s: one for the process, which a program may
//! replace. The default keeps a current loop per thread and makes one where a thread never had any.

use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use loop_core::{EventLoop, Result};

use crate::current;
use crate::select::LoopOptions;

/// Decides what the current loop is and how loops are made (asyncio: `AbstractEventLoopPolicy`).
///
/// Every method has the default policy's behaviour unless it is overridden; a loop that `get_event_loop` makes for
/// lack of a current one comes from this policy's own `new_event_loop`.
///
/// ```
/// use std::sync::Arc;
/// use loop_api::{EventLoop, LoopOptions, LoopError, Policy};
///
/// struct Debugging;
///
/// impl Policy for Debugging {
///     fn new_event_loop(&self) -> Result<EventLoop, LoopError> {
///         LoopOptions::new().debug(true).build()
///     }
/// }
///
/// loop_api::set_event_loop_policy(Some(Arc::new(Debugging)));
/// assert!(loop_api::get_event_loop()?.get_debug());
/// loop_api::set_event_loop_policy(None);
/// # Ok::<(), LoopError>(())
/// ```
pub trait Policy: Send + Sync {
    /// The current loop of this thread. Not called while a loop runs in it.
    ///
    /// # Errors
    ///
    /// [`LoopError::NoCurrentLoop`](crate::LoopError::NoCurrentLoop) where [`set_event_loop`] took it away; what
    /// `new_event_loop` answers where it is called for lack of one.
    fn get_event_loop(&self) -> Result<EventLoop> {
        current::get_or_make(|| self.new_event_loop())
    }

    /// Makes a loop the current one of this thread, or leaves the thread without.
    fn set_event_loop(&self, event_loop: Option<&EventLoop>) {
        current::set(event_loop);
    }

    /// A fresh loop.
    ///
    /// # Errors
    ///
    /// As for [`LoopOptions::build`].
    fn new_event_loop(&self) -> Result<EventLoop> {
        LoopOptions::new().build()
    }
}

impl fmt::Debug for dyn Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<Policy>")
    }
}

/// The policy of a program that sets none (asyncio: `DefaultEventLoopPolicy`).
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultPolicy;

impl Policy for DefaultPolicy {}

static DEFAULT: LazyLock<Arc<dyn Policy>> = LazyLock::new(|| Arc::new(DefaultPolicy));

/// What `set_event_loop_policy` put in the default's place.
static REPLACED: RwLock<Option<Arc<dyn Policy>>> = RwLock::new(None);

/// The process's policy (asyncio: `get_event_loop_policy`).
#[must_use]
pub fn get_event_loop_policy() -> Arc<dyn Policy> {
    // Nothing is done under the lock that could leave it half-way.
    let replaced = REPLACED.read().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(replaced.as_ref().unwrap_or(&DEFAULT))
}

/// Replaces the process's policy, for every thread; `None` brings the default one back (asyncio:
/// `set_event_loop_policy`).
pub fn set_event_loop_policy(policy: Option<Arc<dyn Policy>>) {
    let old = std::mem::replace(&mut *REPLACED.write().unwrap_or_else(PoisonError::into_inner), policy);
    drop(old);
}

/// The loop that runs in this thread: for callbacks and coroutines (asyncio: `get_running_loop`).
///
/// The handle does not keep the loop from closing itself; see [`EventLoop::to_owner`].
///
/// # Errors
///
/// [`LoopError::NoRunningLoop`](crate::LoopError::NoRunningLoop).
pub fn get_running_loop() -> Result<EventLoop> {
    EventLoop::running()
}

/// The loop that runs in this thread, else its current one (asyncio: `get_event_loop`).
///
/// In a thread for which [`set_event_loop`] was never called, a loop is made and becomes the current one; on any thread,
/// and without a warning. The current loop may be closed: nothing is checked.
///
/// # Errors
///
/// [`LoopError::NoCurrentLoop`](crate::LoopError::NoCurrentLoop) after `set_event_loop(None)`, and after
/// [`run`](crate::run), which ends with that; as for [`new_event_loop`] where one had to be made.
pub fn get_event_loop() -> Result<EventLoop> {
    EventLoop::running().or_else(|_| get_event_loop_policy().get_event_loop())
}

/// Makes a loop the current one of this thread (asyncio: `set_event_loop`). With `None` the thread has none, and
/// [`get_event_loop`] makes none for it any more.
///
/// Neither loop is started, stopped or closed by this, and what runs goes on running. The thread keeps its current loop:
/// it does not close itself when its other owners are gone.
pub fn set_event_loop(event_loop: Option<&EventLoop>) {
    get_event_loop_policy().set_event_loop(event_loop);
}

/// A fresh loop: not running, not current, on the backend that suits this machine (asyncio: `new_event_loop`). See
/// [`LoopOptions`] for more say in the matter.
///
/// # Errors
///
/// [`LoopError::Io`](crate::LoopError::Io) where no backend can be used, or not the one that `LOOP_BACKEND` names.
pub fn new_event_loop() -> Result<EventLoop> {
    get_event_loop_policy().new_event_loop()
}

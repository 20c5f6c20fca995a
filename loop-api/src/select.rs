//! Which backend a new loop gets.
//!
//! Asked for one, by [`LoopOptions::backend`] or else by the environment variable `LOOP_BACKEND`, that one or an error;
//! there is no falling back from an explicit wish. Asked for none, the first of [`BackendKind::ALL`] that works here: a
//! kernel or a container without io_uring costs one log line, not the program.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Once};

use loop_core::{Backend, EventLoop, Executor, LoopBuilder, Result};
use loop_executor::ThreadPoolExecutor;

/// A backend that this crate knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Completions: io_uring. Feature `uring`.
    Uring,
    /// Readiness: epoll. Feature `epoll`.
    Epoll,
}

impl BackendKind {
    /// All of them, the preferred one first.
    pub const ALL: &'static [Self] = &[Self::Uring, Self::Epoll];

    /// Its name: of the feature, in `LOOP_BACKEND`, and what `EventLoop::backend_name` says.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Epoll => "epoll",
        }
    }

    fn open(self) -> io::Result<Box<dyn Backend>> {
        match self {
            #[cfg(feature = "uring")]
            Self::Uring => Ok(Box::new(loop_uring::UringBackend::new()?)),
            #[cfg(feature = "epoll")]
            Self::Epoll => Ok(Box::new(loop_epoll::EpollBackend::new()?)),
            #[allow(unreachable_patterns)]
            absent => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("not compiled in: turn on the feature `{absent}` of loop-api"),
            )),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BackendKind {
    type Err = io::Error;

    fn from_str(name: &str) -> io::Result<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
            let message = format!("there is no backend `{name}`: there are `epoll` and `uring`");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })
    }
}

/// Which backends there are, and whether a loop could be made on each here and now, or why not.
#[must_use]
pub fn available_backends() -> Vec<(&'static str, Result<(), String>)> {
    let probe = |kind: &BackendKind| (kind.name(), kind.open().map(drop).map_err(|error| error.to_string()));
    BackendKind::ALL.iter().map(probe).collect()
}

/// How a new loop is to be, where the defaults do not fit.
///
/// ```
/// use loop_api::{BackendKind, LoopOptions};
///
/// let lp = LoopOptions::new().debug(true).build()?;
/// assert!(lp.get_debug());
/// match LoopOptions::new().backend(BackendKind::Uring).build() {
///     Ok(lp) => assert_eq!(lp.backend_name(), "uring"),
///     Err(error) => println!("{error}"), // why it cannot be had
/// }
/// # Ok::<(), loop_api::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use = "a loop is made by `build`"]
pub struct LoopOptions {
    backend: Option<BackendKind>,
    debug: Option<bool>,
}

impl LoopOptions {
    /// What [`new_event_loop`](crate::new_event_loop) uses.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes this backend and no other, whatever the environment says.
    pub fn backend(mut self, kind: BackendKind) -> Self {
        self.backend = Some(kind);
        self
    }

    /// Turns debug mode on or off, whatever the environment says.
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = Some(on);
        self
    }

    /// Makes the loop. It belongs to this thread; its default executor is a
    /// [`ThreadPoolExecutor`], made when it is first needed.
    ///
    /// # Errors
    ///
    /// [`LoopError::Io`](crate::LoopError::Io): the backend that was asked for, or every one, cannot be used, or
    /// `LOOP_BACKEND` names none.
    pub fn build(self) -> Result<EventLoop> {
        let mut builder = LoopBuilder::new(self.open_backend()?)
            .default_executor(|| Ok(Arc::new(ThreadPoolExecutor::new()) as Arc<dyn Executor>));
        if let Some(on) = self.debug {
            builder = builder.debug(on);
        }
        Ok(builder.build())
    }

    /// The backend alone, chosen as for a loop: to be wrapped in another, and made into a loop by a [`LoopBuilder`].
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    pub fn open_backend(self) -> Result<Box<dyn Backend>> {
        let wanted = match self.backend {
            Some(kind) => Some(kind),
            None => from_environment(std::env::var_os("LOOP_BACKEND").as_deref())?,
        };
        let choice = choose(wanted, BackendKind::open)?;
        if let Some((kind, error)) = choice.passed_over.first() {
            static SAID: Once = Once::new();
            SAID.call_once(|| tracing::info!("event loops use {}: {kind}: {error}", choice.backend.name()));
        }
        Ok(checked(choice.backend))
    }
}

/// What `LOOP_BACKEND` asks for.
fn from_environment(value: Option<&OsStr>) -> io::Result<Option<BackendKind>> {
    match value {
        Some(value) if !value.is_empty() => value
            .to_string_lossy()
            .parse()
            .map(Some)
            .map_err(|error: io::Error| io::Error::new(error.kind(), format!("LOOP_BACKEND: {error}"))),
        _ => Ok(None),
    }
}

/// Under the feature `testing`, `LOOP_CHECKED=1` has every loop's backend watched.
fn checked(backend: Box<dyn Backend>) -> Box<dyn Backend> {
    #[cfg(feature = "testing")]
    if std::env::var_os("LOOP_CHECKED").is_some_and(|value| value == "1") {
        return Box::new(loop_core::testing::CheckedBackend::new(backend));
    }
    backend
}

/// The backend that was chosen, and those that were preferred to it but did not work.
struct Choice<B> {
    backend: B,
    passed_over: Vec<(BackendKind, io::Error)>,
}

/// The policy, apart from the environment and the kernel.
fn choose<B>(wanted: Option<BackendKind>, mut open: impl FnMut(BackendKind) -> io::Result<B>) -> io::Result<Choice<B>> {
    let candidates = wanted.as_ref().map_or(BackendKind::ALL, std::slice::from_ref);
    let mut passed_over = Vec::new();
    for &kind in candidates {
        match open(kind) {
            Ok(backend) => return Ok(Choice { backend, passed_over }),
            Err(error) => passed_over.push((kind, error)),
        }
    }
    let kind = passed_over.last().map_or(io::ErrorKind::Unsupported, |(_, error)| error.kind());
    Err(io::Error::new(kind, NoBackend(passed_over)))
}

/// Why there is no loop.
#[derive(Debug)]
struct NoBackend(Vec<(BackendKind, io::Error)>);

impl fmt::Display for NoBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<String> = self.0.iter().map(|(kind, error)| format!("{kind}: {error}")).collect();
        write!(f, "no event loop backend can be used ({})", reasons.join("; "))
    }
}

impl std::error::Error for NoBackend {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.last().map(|(_, error)| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_epoll(kind: BackendKind) -> io::Result<BackendKind> {
        match kind {
            BackendKind::Epoll => Ok(kind),
            BackendKind::Uring => Err(io::Error::from_raw_os_error(1)),
        }
    }

    #[test]
    fn the_first_backend_that_works_is_taken() {
        let choice = choose(None, Ok).unwrap();
        assert_eq!(choice.backend, BackendKind::Uring);
        assert!(choice.passed_over.is_empty());
        let choice = choose(None, only_epoll).unwrap();
        assert_eq!(choice.backend, BackendKind::Epoll);
        assert_eq!(choice.passed_over[0].0, BackendKind::Uring);
    }

    #[test]
    fn an_explicit_wish_is_met_or_refused() {
        assert_eq!(choose(Some(BackendKind::Epoll), Ok).unwrap().backend, BackendKind::Epoll);
        let mut tried = Vec::new();
        let refused = choose(Some(BackendKind::Uring), |kind| {
            tried.push(kind);
            only_epoll(kind)
        });
        let error = refused.err().unwrap();
        assert_eq!(tried, [BackendKind::Uring]);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("uring"), "{error}");
    }

    #[test]
    fn without_any_backend_the_error_names_each_reason() {
        let error = choose(None, |kind| Err::<(), _>(io::Error::other(format!("{kind} is out")))).err().unwrap();
        assert!(error.to_string().contains("uring is out") && error.to_string().contains("epoll is out"), "{error}");
    }

    #[test]
    fn the_environment_names_a_backend_or_nothing() {
        assert_eq!(from_environment(None).unwrap(), None);
        assert_eq!(from_environment(Some(OsStr::new(""))).unwrap(), None);
        assert_eq!(from_environment(Some(OsStr::new("epoll"))).unwrap(), Some(BackendKind::Epoll));
        assert_eq!(from_environment(Some(OsStr::new("uring"))).unwrap(), Some(BackendKind::Uring));
        let error = from_environment(Some(OsStr::new("kqueue"))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("LOOP_BACKEND") && error.to_string().contains("kqueue"), "{error}");
    }

    #[test]
    fn every_known_backend_is_listed() {
        let mut names: Vec<_> = available_backends().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(names, ["epoll", "uring"]);
    }

    #[test]
    #[cfg(feature = "epoll")]
    fn a_loop_says_which_backend_it_is_on() {
        let lp = LoopOptions::new().backend(BackendKind::Epoll).debug(true).build().unwrap();
        assert_eq!((lp.backend_name(), lp.get_debug()), ("epoll", true));
    }
}

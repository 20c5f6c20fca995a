//! Every failure of a group in one error.

use std::error::Error as StdError;
use std::fmt;

use loop_core::TaskError;

use crate::error::Error;

/// What failed in a [`TaskGroup`](super::TaskGroup) (asyncio: `BaseExceptionGroup`): the failures of its tasks in the order
/// in which they ended, that of the body last. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupError<E = Error> {
    errors: Vec<E>,
}

impl<E> GroupError<E> {
    pub(super) fn new(errors: Vec<E>) -> Self {
        Self { errors }
    }

    /// The failures (asyncio: `exceptions`).
    #[must_use]
    pub fn errors(&self) -> &[E] {
        &self.errors
    }

    /// The failures, taken out.
    #[must_use]
    pub fn into_errors(self) -> Vec<E> {
        self.errors
    }
}

impl<E: fmt::Display> fmt::Display for GroupError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        write!(f, "{count} {} in a task group: ", if count == 1 { "error" } else { "errors" })?;
        for (place, error) in self.errors.iter().enumerate() {
            write!(f, "{}{error}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The source is the first failure.
impl<E: StdError + 'static> StdError for GroupError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.errors.first().map(|error| error as _)
    }
}

impl<E: StdError + Send + Sync + 'static> From<GroupError<E>> for TaskError {
    fn from(error: GroupError<E>) -> Self {
        Self::failed(error)
    }
}

impl<E: StdError + Send + Sync + 'static> From<GroupError<E>> for Error {
    fn from(error: GroupError<E>) -> Self {
        Self::Task(error.into())
    }
}

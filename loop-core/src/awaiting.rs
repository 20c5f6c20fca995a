//! What an await of a task or a future does next: a word of its own, since an answer with a value in it would be made in memory
//! before it is known which it is.

use crate::error::TaskError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The outcome is there, and to be taken.
    Take,
    /// Whoever awaits is told when there is more to say.
    Wait,
    Refuse(Refusal),
}

/// Why something cannot be awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongLoop,
    SelfAwait,
    Abandoned,
}

impl From<Refusal> for TaskError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongLoop => Self::WrongLoop,
            Refusal::SelfAwait => Self::SelfAwait,
            Refusal::Abandoned => Self::Abandoned,
        }
    }
}

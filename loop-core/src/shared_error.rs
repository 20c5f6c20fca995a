//! [`SharedError`]: any error, for everyone who is told of it.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Any error. Clones are the same one; it dereferences to the error itself, to `downcast_ref` it, say.
///
/// One pointer, where an `Arc<dyn Error>` is two: an outcome has room for an error, so every task and future would be larger,
/// and what they end with not fit into two registers.
#[derive(Clone)]
pub struct SharedError(Arc<Box<dyn Error + Send + Sync>>);

impl SharedError {
    /// Makes an error one that can be shared.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::new(error.into()))
    }
}

impl Deref for SharedError {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &**self.0
    }
}

impl fmt::Debug for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl Error for SharedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        (**self).source()
    }
}

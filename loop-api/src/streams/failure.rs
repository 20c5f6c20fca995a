//! What broke a connection is the error of every later read and drain, so one error is raised any number of times.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The error once more: of the same kind, with the same number or text.
pub(super) fn repeat(error: &Arc<io::Error>) -> io::Error {
    match (error.raw_os_error(), error.get_ref()) {
        (Some(number), _) => io::Error::from_raw_os_error(number),
        (None, Some(_)) => io::Error::new(error.kind(), Repeated(Arc::clone(error))),
        (None, None) => io::Error::from(error.kind()),
    }
}

/// Stands for the error that it shares.
#[derive(Debug)]
struct Repeated(Arc<io::Error>);

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Repeated {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// What a drain answers once the connection is gone.
pub(super) fn connection_lost() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection lost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_error_is_the_same_error() {
        let reset = Arc::new(io::Error::from_raw_os_error(104));
        assert_eq!(repeat(&reset).raw_os_error(), Some(104));
        let of_ours = Arc::new(io::Error::new(io::ErrorKind::InvalidData, "not what was agreed"));
        let again = repeat(&Arc::new(repeat(&of_ours)));
        assert_eq!((again.kind(), again.to_string().as_str()), (io::ErrorKind::InvalidData, "not what was agreed"));
        assert_eq!(repeat(&Arc::new(io::ErrorKind::TimedOut.into())).kind(), io::ErrorKind::TimedOut);
    }
}

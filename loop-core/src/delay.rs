//! Times as users write them: a [`Duration`], or seconds as asyncio has them.

use std::time::Duration;

use crate::error::{Error, Result};

/// A delay or a time: a [`Duration`], or a number of seconds.
pub trait Delay {
    /// As a duration; a negative number is zero, an infinite one never comes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for NaN.
    fn into_duration(self) -> Result<Duration>;
}

impl Delay for Duration {
    fn into_duration(self) -> Result<Duration> {
        Ok(self)
    }
}

impl Delay for f64 {
    fn into_duration(self) -> Result<Duration> {
        if self.is_nan() {
            return Err(Error::InvalidArgument("a delay must be a number"));
        }
        // What is negative is zero, what no duration can hold is never.
        Ok(Duration::try_from_secs_f64(self.max(0.0)).unwrap_or(Duration::MAX))
    }
}

/// A delay or a time, or none at all: what bounds an await (asyncio: `timeout=None`).
pub trait Limit {
    /// As a duration, where there is a limit.
    ///
    /// # Errors
    ///
    /// As for [`Delay::into_duration`].
    fn into_limit(self) -> Result<Option<Duration>>;
}

impl<D: Delay> Limit for D {
    fn into_limit(self) -> Result<Option<Duration>> {
        self.into_duration().map(Some)
    }
}

impl Limit for Option<Duration> {
    fn into_limit(self) -> Result<Option<Duration>> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DEF-10, TIME-15.
    #[test]
    fn seconds_are_taken_as_far_as_they_make_sense() {
        assert_eq!(0.5.into_duration().unwrap(), Duration::from_millis(500));
        assert_eq!((-1.0).into_duration().unwrap(), Duration::ZERO);
        assert_eq!(f64::INFINITY.into_duration().unwrap(), Duration::MAX);
        assert!(matches!(f64::NAN.into_duration(), Err(Error::InvalidArgument(_))));
    }

    #[test]
    fn none_is_no_limit() {
        assert_eq!(None.into_limit().unwrap(), None);
        assert_eq!(1.5.into_limit().unwrap(), Some(Duration::from_millis(1500)));
        assert!(matches!(f64::NAN.into_limit(), Err(Error::InvalidArgument(_))));
    }
}

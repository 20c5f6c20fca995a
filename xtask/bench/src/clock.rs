//! The processor time that another process has used.

#![allow(unsafe_code, reason = "rustix knows the clock of its own process only")]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// The processor time of a process, all of its threads together, to the nanosecond.
pub(crate) fn processor_time(pid: u32) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: the call writes a clock's id to the place it is given, and nothing else.
    let failed = unsafe { libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the call fills the place it is given, or fails.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it did not fail.
    let time = unsafe { time.assume_init() };
    Ok(Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_this_process_is_its_own() {
        let before = processor_time(std::process::id()).unwrap();
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let own = Duration::new(own.tv_sec.cast_unsigned(), own.tv_nsec as u32);
        let after = processor_time(std::process::id()).unwrap();
        assert!(before <= own && own <= after, "{before:?} {own:?} {after:?}");
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        // No process has a number from 2²² up.
        assert!(processor_time(1 << 22).is_err());
    }
}

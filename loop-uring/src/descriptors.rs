//! What is kept for each descriptor, and which descriptors can be watched.
//!
//! Invariants: a number that the kernel opened for us is owned once, here; a number that a program watches is borrowed for
//! single calls that find out what it is, and never owned.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use loop_core::Interest;
use rustix::event::epoll;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::flights::Line;

/// How bytes move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By receiving and sending.
    Socket,
    /// By reading and writing.
    File,
}

/// A descriptor of ours. It is closed when the last request on it has completed: flights keep it open too.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) file: Rc<OwnedFd>,
    pub(crate) kind: Kind,
    /// A send found no room for all of its bytes: the next one waits.
    pub(crate) slow: bool,
    /// The last receive found less than it had room for: the next one waits first.
    pub(crate) drained: bool,
    /// Who reads, and who writes.
    pub(crate) lines: [Line; 2],
}

impl Descriptor {
    pub(crate) fn new(fd: OwnedFd, kind: Kind) -> Self {
        Self { file: Rc::new(fd), kind, slow: false, drained: false, lines: [Line::EMPTY; 2] }
    }

    /// What the kernel opened for an accept, as told by its completion.
    pub(crate) fn accepted(number: RawFd) -> Self {
        // SAFETY: open, and told to nobody else: each completion of an accept is looked at once.
        Self::new(unsafe { OwnedFd::from_raw_fd(number) }, Kind::Socket)
    }

    /// One that comes from elsewhere.
    pub(crate) fn adopted(fd: OwnedFd) -> io::Result<Self> {
        let kind = match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Socket => Kind::Socket,
            _ => Kind::File,
        };
        Ok(Self::new(fd, kind))
    }

    pub(crate) const fn line_mut(&mut self, direction: Interest) -> &mut Line {
        &mut self.lines[direction as usize]
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lines.iter().all(Line::is_empty)
    }
}

/// The answer to an unknown key.
pub(crate) fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the descriptor is closed, or was never this backend's")
}

/// Tells which descriptors can be watched. A ring would find a regular file always ready; epoll refuses it with `EPERM`,
/// as asyncio's selectors do, and so does this.
#[derive(Debug, Default)]
pub(crate) struct Watchable {
    /// Made when it is first asked.
    epoll: Option<OwnedFd>,
}

impl Watchable {
    /// # Errors
    ///
    /// `EPERM` for what has no readiness, `EBADF` for what is not open.
    pub(crate) fn check(&mut self, number: RawFd) -> io::Result<()> {
        if number < 0 {
            return Err(Errno::BADF.into());
        }
        // SAFETY: the number is not -1, and is used for the calls below only, which find out whether it is open.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        match FileType::from_raw_mode(fstat(fd)?.st_mode) {
            FileType::RegularFile | FileType::Directory | FileType::BlockDevice => Err(Errno::PERM.into()),
            // A terminal can be watched, /dev/null cannot: only epoll knows which.
            FileType::CharacterDevice => self.ask(fd),
            _ => Ok(()),
        }
    }

    fn ask(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let epoll = match self.epoll.take() {
            Some(epoll) => epoll,
            None => epoll::create(epoll::CreateFlags::CLOEXEC)?,
        };
        let epoll = &*self.epoll.insert(epoll);
        epoll::add(epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::empty())?;
        epoll::delete(epoll, fd)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_epoll_refuses_is_refused() {
        let mut watchable = Watchable::default();
        for path in ["/proc/self/exe", "/", "/dev/null"] {
            let file = File::open(path).unwrap();
            assert_eq!(watchable.check(file.as_raw_fd()).unwrap_err().raw_os_error(), Some(libc::EPERM), "{path}");
        }
        assert_eq!(watchable.check(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(watchable.check(i32::MAX).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let (reader, writer) = io::pipe().unwrap();
        assert!(watchable.check(reader.as_raw_fd()).is_ok() && watchable.check(writer.as_raw_fd()).is_ok());
        let terminal = File::open("/dev/ptmx");
        assert!(terminal.map_or(Ok(()), |terminal| watchable.check(terminal.as_raw_fd())).is_ok());
    }
}

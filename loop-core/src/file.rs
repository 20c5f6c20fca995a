//! Files, read and written at offsets: on the backend where it can (io_uring), else in the default executor.
//!
//! What programs see is the same: owned buffers, as for sockets, and errors of the operating system's. A read or write that
//! is dropped may still be carried out, by the kernel or by a thread, which cannot be interrupted once they have begun; it
//! has its own hold of the file and of the buffer until then, and what it came to is dropped.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::driver::{OpFuture, grow};
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::inner::Inner;
use crate::op::{Op, Outcome};

/// A file of a loop, read and written at offsets without holding the loop up; closed when it and what is under way on it
/// are gone. asyncio has none: its programs use `to_thread`.
pub struct File {
    inner: Rc<Inner>,
    file: Arc<std::fs::File>,
}

impl File {
    /// The loop it belongs to.
    #[must_use]
    pub fn get_loop(&self) -> EventLoop {
        EventLoop::of(&self.inner)
    }

    /// The file itself, for what does not hold the loop up: metadata, `set_len`, locks.
    #[must_use]
    pub fn as_std(&self) -> &std::fs::File {
        &self.file
    }

    /// Reads up to `limit` bytes from an offset on, as many as there are; none at the end of the file.
    ///
    /// Dropped, it has read nothing that is missed: the file's position is not used.
    ///
    /// # Errors
    ///
    /// The operating system's; [`Error::Closed`]; without a backend that reads files, those of
    /// [`run_in_executor`](EventLoop::run_in_executor).
    pub async fn read_at(&self, limit: usize, offset: u64) -> Result<Vec<u8>> {
        let (result, buf) = self.read_at_into(Vec::with_capacity(limit), limit, offset).await;
        result.map(|_| buf)
    }

    /// Like [`read_at`](Self::read_at), appended to a buffer, which comes back with the count. Dropped, the buffer is lost.
    pub async fn read_at_into(&self, mut buf: Vec<u8>, limit: usize, offset: u64) -> (Result<usize>, Vec<u8>) {
        if let Err(error) = self.inner.check_open() {
            return (Err(error), buf);
        }
        if limit == 0 {
            return (Ok(0), buf);
        }
        buf.reserve(limit);
        if !self.inner.capabilities.files {
            return self.in_executor(buf, move |file, buf| read_into(file, buf, limit, offset)).await;
        }
        let read = Op::ReadAt { file: Arc::clone(&self.file), buf, limit, offset };
        match OpFuture::new(&self.inner, read).await {
            (Ok(Outcome::Count(count)), Op::ReadAt { mut buf, limit, .. }) => {
                grow(&mut buf, count, limit);
                (Ok(count), buf)
            }
            (result, op) => (result.map(|_| 0).map_err(Error::Io), buffer(op)),
        }
    }

    /// Writes bytes at an offset, as many as can be, and gives the count with the buffer.
    ///
    /// Dropped, the bytes may be written all the same.
    pub async fn write_at(&self, buf: Vec<u8>, offset: u64) -> (Result<usize>, Vec<u8>) {
        if let Err(error) = self.inner.check_open() {
            return (Err(error), buf);
        }
        if !self.inner.capabilities.files {
            return self.in_executor(buf, move |file, buf| file.write_at(buf, offset)).await;
        }
        let write = Op::WriteAt { file: Arc::clone(&self.file), buf, offset };
        match OpFuture::new(&self.inner, write).await {
            (Ok(Outcome::Count(count)), op) => (Ok(count), buffer(op)),
            (result, op) => (result.map(|_| 0).map_err(Error::Io), buffer(op)),
        }
    }

    /// Writes all of the bytes at an offset, and gives the buffer back.
    ///
    /// Dropped, any part of the bytes may be written.
    pub async fn write_all_at(&self, buf: Vec<u8>, offset: u64) -> (Result<()>, Vec<u8>) {
        let (mut rest, mut written) = (buf, 0);
        let mut whole: Option<Vec<u8>> = None;
        loop {
            let (result, buf) = self.write_at(rest, offset + written as u64).await;
            match result {
                Ok(count) if count < buf.len() && count > 0 => {
                    written += count;
                    rest = buf[count..].to_vec();
                    whole.get_or_insert(buf);
                }
                Ok(0) if !buf.is_empty() => {
                    return (Err(Error::Io(io::ErrorKind::WriteZero.into())), whole.unwrap_or(buf));
                }
                Ok(_) => return (Ok(()), whole.unwrap_or(buf)),
                Err(error) => return (Err(error), whole.unwrap_or(buf)),
            }
        }
    }

    /// Does it in a thread of the default executor.
    async fn in_executor(
        &self,
        buf: Vec<u8>,
        work: impl FnOnce(&std::fs::File, &mut Vec<u8>) -> io::Result<usize> + Send + 'static,
    ) -> (Result<usize>, Vec<u8>) {
        let file = Arc::clone(&self.file);
        // Where the executor refuses the job, the buffer is still here.
        let place = Arc::new(Mutex::new(buf));
        let job = {
            let place = Arc::clone(&place);
            move || {
                let mut buf = std::mem::take(&mut *place.lock());
                let result = work(&file, &mut buf);
                (result, buf)
            }
        };
        let waiting = match self.get_loop().run_in_executor(None, job) {
            Ok(waiting) => waiting,
            Err(error) => return (Err(error), std::mem::take(&mut *place.lock())),
        };
        match waiting.await {
            Ok((result, buf)) => (result.map_err(Error::Io), buf),
            Err(error) => (Err(Error::Task(error)), Vec::new()),
        }
    }
}

/// Appends what is read to the buffer.
fn read_into(file: &std::fs::File, buf: &mut Vec<u8>, limit: usize, offset: u64) -> io::Result<usize> {
    let start = buf.len();
    buf.resize(start + limit, 0);
    let result = file.read_at(&mut buf[start..], offset);
    buf.truncate(start + *result.as_ref().unwrap_or(&0));
    result
}

fn buffer(op: Op) -> Vec<u8> {
    match op {
        Op::ReadAt { buf, .. } | Op::WriteAt { buf, .. } => buf,
        _ => Vec::new(),
    }
}

impl EventLoop {
    /// Makes a file the loop's, to be read and written at offsets: a regular file, or a block device.
    ///
    /// ```
    /// # #[cfg(feature = "testing")] {
    /// # let lp = loop_core::EventLoop::new(Box::new(loop_core::testing::VirtualBackend::new()));
    /// # let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    /// let file = lp.adopt_file(std::fs::File::open(readme)?)?;
    /// assert_eq!(file.as_std().metadata()?.is_file(), true);
    /// # }
    /// # Ok::<(), loop_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn adopt_file(&self, file: impl Into<OwnedFd>) -> Result<File> {
        self.inner.check_open()?;
        Ok(File { inner: Rc::clone(&self.inner), file: Arc::new(file.into().into()) })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

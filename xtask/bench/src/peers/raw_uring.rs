//! A lower bound: an echo server that is an io_uring loop and nothing else.

#![allow(unsafe_code, reason = "what is submitted names memory by its address")]

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types};
use slab::Slab;

use super::{Announce, EchoServer, Peer};

pub(super) const PEER: Peer = Peer {
    name: "raw-uring",
    about: "a lower bound: io_uring with DEFER_TASKRUN, recv and send, a buffer per connection",
    backend: None,
    available,
    measures: &[],
    echo: &[EchoServer { style: "", serve }],
};

struct Connection {
    stream: TcpStream,
    /// Never moved nor resized while the connection is there.
    buffer: Box<[u8]>,
    /// How much of the buffer was received; zero while receiving.
    received: usize,
    /// How much of that was sent.
    sent: usize,
}

/// The listener's mark on a completion.
const LISTENER: u64 = u64::MAX;

const ENTRIES: u32 = 4096;

fn ring() -> io::Result<IoUring> {
    IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_cqsize(4 * ENTRIES).build(ENTRIES)
}

fn available() -> Result<(), String> {
    ring().map(drop).map_err(|error| error.to_string())
}

fn serve(announce: Announce, size: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    announce(listener.local_addr()?);
    let mut ring = ring()?;
    let accept = opcode::AcceptMulti::new(types::Fd(listener.as_raw_fd())).build().user_data(LISTENER);
    let mut connections: Slab<Connection> = Slab::new();
    let mut next = vec![accept.clone()];
    let mut completions = Vec::new();
    loop {
        for entry in next.drain(..) {
            push(&mut ring, &entry)?;
        }
        ring.submit_and_wait(1)?;
        completions.extend(ring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        for (mark, result, flags) in completions.drain(..) {
            if mark == LISTENER {
                if let Some(connection) = accepted(result, size)? {
                    let key = connections.insert(connection);
                    next.push(connections[key].next(key));
                }
                if !io_uring::cqueue::more(flags) {
                    next.push(accept.clone());
                }
                continue;
            }
            let key = mark as usize;
            match usize::try_from(result) {
                Ok(count @ 1..) => {
                    connections[key].moved(count);
                    next.push(connections[key].next(key));
                }
                // The end, or an error: nothing of this connection is under way any more.
                _ => drop(connections.remove(key)),
            }
        }
    }
}

/// Puts an entry into the queue, which is emptied if it is full.
fn push(ring: &mut IoUring, entry: &Entry) -> io::Result<()> {
    loop {
        // SAFETY: an entry names the buffer of a connection, which stays where it is until the completion is seen: a
        // connection has one operation under way at a time, and is removed at the completion of its last.
        match unsafe { ring.submission().push(entry) } {
            Ok(()) => return Ok(()),
            Err(_) => ring.submit()?,
        };
    }
}

fn accepted(result: i32, size: usize) -> io::Result<Option<Connection>> {
    if result < 0 {
        let error = io::Error::from_raw_os_error(-result);
        return if error.kind() == io::ErrorKind::ConnectionAborted { Ok(None) } else { Err(error) };
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    let stream = unsafe { TcpStream::from_raw_fd(result) };
    stream.set_nodelay(true)?;
    Ok(Some(Connection { stream, buffer: vec![0; size].into_boxed_slice(), received: 0, sent: 0 }))
}

impl Connection {
    /// What comes next: to receive, or to send what was received.
    fn next(&mut self, key: usize) -> Entry {
        let fd = types::Fd(self.stream.as_raw_fd());
        let entry = if self.received == 0 {
            opcode::Recv::new(fd, self.buffer.as_mut_ptr(), self.buffer.len() as u32).build()
        } else {
            let unsent = &self.buffer[self.sent..self.received];
            let send = opcode::Send::new(fd, unsent.as_ptr(), unsent.len() as u32);
            send.flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build()
        };
        entry.user_data(key as u64)
    }

    /// So much was received or sent.
    fn moved(&mut self, count: usize) {
        if self.received == 0 {
            (self.received, self.sent) = (count, 0);
            return;
        }
        self.sent += count;
        if self.sent == self.received {
            self.received = 0;
        }
    }
}

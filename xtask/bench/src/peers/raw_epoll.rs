//! A lower bound: an echo server that is an epoll loop and nothing else.

use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use slab::Slab;

use super::{Announce, EchoServer, Peer, anywhere};

pub(super) const PEER: Peer = Peer {
    name: "raw-epoll",
    about: "a lower bound: edge-triggered epoll, recv and send, one buffer for all",
    backend: None,
    available: anywhere,
    measures: &[],
    echo: &[EchoServer { style: "", serve }],
};

struct Connection {
    stream: TcpStream,
    /// What the other side does not take yet; nothing is received meanwhile.
    unsent: Vec<u8>,
}

/// The listener's place among the events.
const LISTENER: u64 = u64::MAX;

fn serve(announce: Announce, size: usize) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    announce(listener.local_addr()?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;

    let mut connections: Slab<Connection> = Slab::new();
    let mut events = Vec::with_capacity(1024);
    // From a cache line on, as the kernel's copies are much slower to some other addresses.
    let mut memory = vec![0; size + 64];
    let aligned = memory.as_ptr().align_offset(64);
    let buffer = &mut memory[aligned..][..size];
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => {
                    let (stream, _) = listener.accept()?;
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    let place = connections.vacant_entry();
                    let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
                    epoll::add(&epoll, &stream, epoll::EventData::new_u64(place.key() as u64), interest)?;
                    place.insert(Connection { stream, unsent: Vec::new() });
                }
                key => {
                    let key = key as usize;
                    if connections[key].progress(buffer).is_err() {
                        connections.remove(key);
                    }
                }
            }
        }
    }
}

impl Connection {
    /// Goes on until it would block; an error is its end.
    fn progress(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let sent = self.send(&self.unsent)?;
            self.unsent.drain(..sent);
            if !self.unsent.is_empty() {
                return Ok(());
            }
        }
        loop {
            let count = match recv(&self.stream, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok((count, _)) => count,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let sent = self.send(&buffer[..count])?;
            if sent < count {
                self.unsent.extend_from_slice(&buffer[sent..count]);
                return Ok(());
            }
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn send(&self, data: &[u8]) -> io::Result<usize> {
        match send(&self.stream, data, SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

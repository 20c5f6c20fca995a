//! The load on an echo server: connections that ask and wait, on an epoll loop with nothing else to it.
//!
//! A connection sends a burst of messages, waits until all of it has come back, compares it with what was sent, and
//! sends the next. Of large bursts all are counted and one in [`COMPARED`] is compared; the others are left in the kernel.
//! Requests are counted in messages, latency is that of a burst. Light, so that the server is what limits: `load_idle` says
//! how much of its own core was left, `server_busy` how much of the server's was used.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::clock::processor_time;
use crate::figures::{Sample, distribution};
use crate::statistics::percentile;

/// What load, and on whom.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where the server listens
    #[arg(long)]
    pub(crate) port: u16,
    /// The server's process
    #[arg(long)]
    pub(crate) pid: u32,
    #[arg(long)]
    pub(crate) conns: usize,
    #[arg(long)]
    pub(crate) size: usize,
    #[arg(long)]
    pub(crate) depth: usize,
    #[arg(long)]
    pub(crate) millis: u64,
    /// On the server's core
    #[arg(long)]
    pub(crate) together: bool,
}

/// How much of the time before what is measured; a third of it, and at least this.
const WARM_UP: Duration = Duration::from_millis(100);

/// Of bursts larger than [`LARGE`], every so manieth is compared. Odd, so that it is not always the same connection's.
const COMPARED: u64 = 9;
const LARGE: usize = 16 * 1024;

/// One that asks.
struct Connection {
    stream: TcpStream,
    /// How much of the burst is sent.
    sent: usize,
    /// How much of it is back.
    back: usize,
    /// Whether what comes back is compared, or only counted.
    compared: bool,
    asked: Instant,
}

/// What was seen at a moment.
struct Moment {
    at: Instant,
    server: Duration,
    own: Duration,
    requests: u64,
}

struct Load<'a> {
    options: &'a Options,
    burst: Vec<u8>,
    buffer: Vec<u8>,
    requests: u64,
    bursts: u64,
    bytes_compared: u64,
    /// Nanoseconds from the first byte of a burst sent to the last one back.
    latencies: Vec<u32>,
}

/// Puts the load on the server, and says what came of it.
pub(crate) fn run(options: &Options) -> Result<Vec<Sample>, String> {
    let window = Duration::from_millis(options.millis);
    let mut load = Load {
        options,
        burst: pattern(options.size * options.depth),
        buffer: vec![0; 256 * 1024],
        requests: 0,
        bursts: 0,
        bytes_compared: 0,
        latencies: Vec::with_capacity(1 << 20),
    };
    load.run(window).map_err(|error| format!("the load: {error}"))
}

impl Load<'_> {
    fn run(&mut self, window: Duration) -> io::Result<Vec<Sample>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(self.options.conns);
        for number in 0..self.options.conns {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.options.port))?;
            stream.set_nodelay(true)?;
            // Accepted before the next comes: of too many at once the kernel drops some, and retries a second later.
            stream.write_all(&self.burst[..1])?;
            stream.read_exact(&mut self.buffer[..1])?;
            stream.set_nonblocking(true)?;
            let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(number as u64), interest)?;
            connections.push(Connection { stream, sent: 0, back: 0, compared: true, asked: Instant::now() });
        }
        for connection in &mut connections {
            connection.asked = Instant::now();
            self.send(connection)?;
        }

        let started = Instant::now();
        let mut from: Option<Moment> = None;
        let mut events = Vec::with_capacity(1024);
        loop {
            events.clear();
            let patience = rustix::time::Timespec { tv_sec: 5, tv_nsec: 0 };
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
            if events.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server has not answered for five seconds"));
            }
            for event in &events {
                self.progress(&mut connections[event.data.u64() as usize])?;
            }
            match &from {
                None if started.elapsed() >= WARM_UP.max(window / 3) => {
                    self.latencies.clear();
                    self.bytes_compared = 0;
                    from = Some(self.moment()?);
                }
                Some(from) if from.at.elapsed() >= window => {
                    let until = self.moment()?;
                    return Ok(self.samples(from, &until));
                }
                _ => {}
            }
        }
    }

    fn moment(&self) -> io::Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            server: processor_time(self.options.pid)?,
            own: processor_time(std::process::id())?,
            requests: self.requests,
        })
    }

    /// Goes on with a connection until it would block.
    fn progress(&mut self, connection: &mut Connection) -> io::Result<()> {
        self.send(connection)?;
        loop {
            let flags = if connection.compared { RecvFlags::empty() } else { RecvFlags::TRUNC };
            let count = match recv(&connection.stream, &mut *self.buffer, flags) {
                Ok((_, 0)) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection"));
                }
                Ok((_, count)) => count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let same = match self.burst.get(connection.back..connection.back + count) {
                Some(sent) => !connection.compared || *sent == self.buffer[..count],
                None => false,
            };
            if !same {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent back other bytes"));
            }
            if connection.compared {
                self.bytes_compared += count as u64;
            }
            connection.back += count;
            if connection.back == self.burst.len() {
                let now = Instant::now();
                let latency = now.duration_since(connection.asked).as_nanos();
                self.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
                self.requests += self.options.depth as u64;
                self.bursts += 1;
                (connection.sent, connection.back, connection.asked) = (0, 0, now);
                connection.compared = self.burst.len() < LARGE || self.bursts.is_multiple_of(COMPARED);
            }
            self.send(connection)?;
            // Short, so all that there was; what comes now is announced.
            if count < self.buffer.len() {
                return Ok(());
            }
        }
    }

    /// Sends what is left of the burst, as far as that goes.
    fn send(&self, connection: &mut Connection) -> io::Result<()> {
        while connection.sent < self.burst.len() {
            match connection.stream.write(&self.burst[connection.sent..]) {
                Ok(count) => connection.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn samples(&mut self, from: &Moment, until: &Moment) -> Vec<Sample> {
        let wall = until.at.duration_since(from.at).as_secs_f64();
        let server = until.server.saturating_sub(from.server).as_secs_f64();
        let own = until.own.saturating_sub(from.own).as_secs_f64();
        let requests = (until.requests - from.requests) as f64;
        let micros = |share| f64::from(percentile(&mut self.latencies, share).unwrap_or(u32::MAX)) / 1e3;
        let mut samples = vec![
            Sample::new("server_cpu", "µs", 1e6 * server / requests),
            Sample::new("throughput", "1/s", requests / wall),
        ];
        samples.extend(distribution("latency", micros));
        samples.extend([
            Sample::new("server_busy", "%", 100.0 * server / wall),
            Sample::new("load_idle", "%", 100.0 * (1.0 - own / wall)),
            Sample::new("compared", "MB", self.bytes_compared as f64 / 1e6),
        ]);
        samples
    }
}

/// Bytes that no server sends back by accident, nor shifted.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn load_on(listener: &TcpListener, serve: impl FnOnce(TcpStream) + Send + 'static) -> Result<Vec<Sample>, String> {
        let port = listener.local_addr().unwrap().port();
        let listener = listener.try_clone().unwrap();
        let server = thread::spawn(move || serve(listener.accept().unwrap().0));
        let pid = std::process::id();
        let outcome = run(&Options { port, pid, conns: 1, size: 100, depth: 3, millis: 30, together: false });
        server.join().unwrap();
        outcome
    }

    #[test]
    fn an_echo_is_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let samples = load_on(&listener, |mut stream| {
            let mut buffer = [0; 1000];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        })
        .unwrap();
        let value = |metric: &str| samples.iter().find(|sample| sample.metric == metric).unwrap().value;
        assert!(value("throughput") > 0.0 && value("latency_p50") <= value("latency_p99"));
        assert!(value("compared") > 0.0);
    }

    #[test]
    fn bytes_that_were_not_sent_are_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let outcome = load_on(&listener, |mut stream| {
            let mut buffer = [0; 301];
            stream.read_exact(&mut buffer[..1]).unwrap();
            stream.write_all(&buffer[..1]).unwrap();
            let buffer = &mut buffer[1..];
            stream.read_exact(buffer).unwrap();
            buffer[150] ^= 1;
            stream.write_all(buffer).unwrap();
        });
        assert!(outcome.unwrap_err().contains("other bytes"));
    }
}

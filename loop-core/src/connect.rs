//! `create_connection`: a name or an address becomes a connected transport with its protocol.
//!
//! Addresses are tried in order; with a happy-eyeballs delay (RFC 8305) the next attempt starts when the last one failed
//! or the delay is over, the first to connect wins, and the others are dropped, which closes their sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

use crate::address::{Address, with_context};
use crate::control::Control;
use crate::error::{Error, Panicked, Result};
use crate::event_loop::EventLoop;
use crate::protocol::{Protocol, ProtocolRef};
use crate::sleep::Sleep;
use crate::socket::{Socket, show};
use crate::transport::{Connection, Transport};

/// How a connection is made; the defaults are asyncio's.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// The local address to bind to.
    pub local_addr: Option<Address>,
    /// Start the next attempt when this is over and the last one is still under way.
    pub happy_eyeballs_delay: Option<Duration>,
    /// Alternate families after this many of the first; with a delay the default is 1, without it the resolver's order is
    /// kept.
    pub interleave: Option<usize>,
    /// Give every attempt's error, not just one.
    pub all_errors: bool,
}

impl ConnectOptions {
    /// Binds to a local address first.
    #[must_use]
    pub fn local_addr(mut self, address: impl Into<Address>) -> Self {
        self.local_addr = Some(address.into());
        self
    }

    /// Sets the happy-eyeballs delay.
    #[must_use]
    pub fn happy_eyeballs_delay(mut self, delay: Duration) -> Self {
        self.happy_eyeballs_delay = Some(delay);
        self
    }

    /// Sets how many addresses of the first family come before the families alternate.
    #[must_use]
    pub fn interleave(mut self, count: usize) -> Self {
        self.interleave = Some(count);
        self
    }

    /// Asks for every attempt's error.
    #[must_use]
    pub fn all_errors(mut self, on: bool) -> Self {
        self.all_errors = on;
        self
    }
}

/// What to connect to: an address, or a connected stream socket.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectTo {
    /// An address.
    Address(Address),
    /// A connected socket, which the transport owns from then on.
    Socket(Socket),
}

impl<A: Into<Address>> From<A> for ConnectTo {
    fn from(address: A) -> Self {
        Self::Address(address.into())
    }
}

impl From<Socket> for ConnectTo {
    fn from(socket: Socket) -> Self {
        Self::Socket(socket)
    }
}

impl EventLoop {
    /// Connects, and gives the transport with its protocol, whose `connection_made` has been called (asyncio:
    /// `create_connection`). The factory is called once, when the socket is connected.
    ///
    /// Cancel-safe: dropped on the way, the sockets are closed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a socket that is no stream. The operating system's, with the address in its text;
    /// [`Error::Connect`] where several addresses failed for
    /// different reasons, or all were asked for; the resolver's; [`Error::Task`] with the panic where the factory failed.
    pub async fn create_connection<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P,
        connect_to: impl Into<ConnectTo>,
        options: ConnectOptions,
    ) -> Result<(Transport, ProtocolRef<P>)> {
        self.inner.check_open()?;
        let socket = match connect_to.into() {
            ConnectTo::Socket(socket) => {
                self.check_stream(&socket)?;
                socket
            }
            ConnectTo::Address(Address::Socket(addr)) if addr.as_socket().is_none() => {
                let socket = self.socket(addr.domain(), Type::STREAM)?;
                self.connect_addr(&socket, addr).await?;
                socket
            }
            ConnectTo::Address(address) => {
                let remote = self.resolve(&address).await?;
                let local = match &options.local_addr {
                    Some(local) => Some(self.resolve(local).await?),
                    None => None,
                };
                let delay = options.happy_eyeballs_delay;
                let first = options.interleave.unwrap_or(usize::from(delay.is_some()));
                let remote = if first > 0 { interleave(remote, first) } else { remote };
                let attempts = Attempts {
                    event_loop: self.clone(),
                    waiting: remote.into(),
                    local: local.map(Rc::from),
                    delay,
                    running: Vec::new(),
                    next: None,
                    errors: Vec::new(),
                };
                attempts.await.map_err(|errors| combine(errors, options.all_errors))?
            }
        };
        self.start_connection(factory, socket).await
    }

    /// Makes a connection of a socket that was accepted elsewhere (asyncio: `connect_accepted_socket`).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a socket that is no stream; [`Error::Task`] with the panic where the factory failed.
    pub async fn connect_accepted_socket<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P,
        socket: Socket,
    ) -> Result<(Transport, ProtocolRef<P>)> {
        self.check_stream(&socket)?;
        self.start_connection(factory, socket).await
    }

    async fn start_connection<P: Protocol>(
        &self,
        factory: impl FnOnce() -> P,
        socket: Socket,
    ) -> Result<(Transport, ProtocolRef<P>)> {
        // Bytes that a dropped receive had received come to the protocol first.
        self.inner.settled(socket.key()).await;
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(factory));
        let protocol = match made {
            Ok(protocol) => Rc::new(RefCell::new(protocol)),
            Err(payload) if crate::exception::is_fatal(&*payload) => std::panic::resume_unwind(payload),
            Err(payload) => return Err(Error::Task(Panicked::new(payload).into())),
        };
        let ready = self.create_future::<()>();
        let erased: ProtocolRef = Rc::clone(&protocol) as ProtocolRef;
        let transport = Connection::start(socket, erased, None, Some(ready.clone()))?;
        // Dropped while it waits, the connection is closed: nobody would know of it.
        let guard = CloseOnDrop(Some(transport));
        ready.await?;
        Ok((guard.keep(), protocol))
    }

    /// One attempt.
    async fn attempt(self, addr: SocketAddr, local: Option<Rc<[SocketAddr]>>) -> Result<Socket, io::Error> {
        let domain = Domain::for_address(addr);
        let socket = self.socket(domain, Type::STREAM)?;
        if let Some(local) = local {
            bind_local(&socket, domain, &local)?;
        }
        self.connect_addr(&socket, SockAddr::from(addr)).await?;
        Ok(socket)
    }
}

struct CloseOnDrop(Option<Transport>);

impl CloseOnDrop {
    fn keep(mut self) -> Transport {
        self.0.take().expect("kept once")
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(transport) = self.0.take() {
            transport.close();
        }
    }
}

/// Binds to the first local address of the right family that can be had.
fn bind_local(socket: &Socket, domain: Domain, local: &[SocketAddr]) -> io::Result<()> {
    let mut last = None;
    for addr in local.iter().filter(|addr| Domain::for_address(**addr) == domain) {
        let addr = SockAddr::from(*addr);
        match socket.control(&Control::Bind(&addr)) {
            Ok(_) => return Ok(()),
            Err(error) => {
                last = Some(with_context(error, "error while attempting to bind on address", &show(&addr)));
            }
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::AddrNotAvailable, "no matching local address")))
}

/// Alternates the families, after `first` addresses of the first one.
fn interleave(addrs: Vec<SocketAddr>, first: usize) -> Vec<SocketAddr> {
    let Some(leading) = addrs.first().map(SocketAddr::is_ipv6) else { return addrs };
    let (mut ours, theirs): (VecDeque<_>, VecDeque<_>) = addrs.into_iter().partition(|addr| addr.is_ipv6() == leading);
    let mut order: Vec<SocketAddr> = ours.drain(..(first - 1).min(ours.len())).collect();
    let (mut ours, mut theirs) = (ours.into_iter(), theirs.into_iter());
    loop {
        let (one, other) = (ours.next(), theirs.next());
        if one.is_none() && other.is_none() {
            return order;
        }
        order.extend(one);
        order.extend(other);
    }
}

/// One error, or several of the same text, is given as it is; else all together.
fn combine(mut errors: Vec<io::Error>, all: bool) -> Error {
    let same = errors.windows(2).all(|pair| pair[0].to_string() == pair[1].to_string());
    match errors.pop() {
        Some(last) if same && !all => Error::Io(last),
        Some(last) => {
            errors.push(last);
            Error::Connect(errors)
        }
        None => crate::resolve::nothing_found(),
    }
}

type Attempt = Pin<Box<dyn Future<Output = Result<Socket, io::Error>>>>;

/// A staggered race of attempts.
struct Attempts {
    event_loop: EventLoop,
    waiting: VecDeque<SocketAddr>,
    local: Option<Rc<[SocketAddr]>>,
    delay: Option<Duration>,
    running: Vec<Attempt>,
    /// When the next attempt starts although the last one is under way.
    next: Option<Sleep>,
    errors: Vec<io::Error>,
}

impl Attempts {
    fn launch(&mut self) {
        let Some(addr) = self.waiting.pop_front() else { return };
        self.running.push(Box::pin(self.event_loop.clone().attempt(addr, self.local.clone())));
        self.next = match self.delay {
            Some(delay) if !self.waiting.is_empty() => Some(self.event_loop.sleep_for(delay)),
            _ => None,
        };
    }
}

impl Future for Attempts {
    type Output = Result<Socket, Vec<io::Error>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            let mut place = 0;
            let mut newest_failed = this.running.is_empty();
            while place < this.running.len() {
                match this.running[place].as_mut().poll(context) {
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        this.errors.push(error);
                        drop(this.running.remove(place));
                        newest_failed |= place == this.running.len();
                    }
                    Poll::Pending => place += 1,
                }
            }
            let overdue = this.next.as_mut().is_some_and(|next| Pin::new(next).poll(context).is_ready());
            if !newest_failed && !overdue {
                return Poll::Pending;
            }
            if this.waiting.is_empty() {
                this.next = None;
                if this.running.is_empty() {
                    return Poll::Ready(Err(std::mem::take(&mut this.errors)));
                }
                return Poll::Pending;
            }
            this.launch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// TCP-08.
    #[test]
    fn families_alternate_after_the_first_few() {
        let given = addrs(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]);
        let one = addrs(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]);
        let two = addrs(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"]);
        assert_eq!(interleave(given.clone(), 1), one);
        assert_eq!(interleave(given, 2), two);
        assert_eq!(interleave(Vec::new(), 1), []);
    }

    /// TCP-05.
    #[test]
    fn equal_errors_are_given_once() {
        let error = |text: &str| io::Error::other(text.to_owned());
        assert!(matches!(combine(vec![error("a")], false), Error::Io(_)));
        assert!(matches!(combine(vec![error("a"), error("a")], false), Error::Io(_)));
        assert!(matches!(combine(vec![error("a"), error("b")], false), Error::Connect(all) if all.len() == 2));
        assert!(matches!(combine(vec![error("a")], true), Error::Connect(all) if all.len() == 1));
    }
}

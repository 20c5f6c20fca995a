//! Host names: the system's resolver, in the default executor, so that the loop stays responsive.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::address::Address;
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;

pub(crate) fn nothing_found() -> Error {
    Error::Io(io::Error::other("getaddrinfo() returned empty list"))
}

impl EventLoop {
    /// The addresses of a host, in the resolver's order, each once (asyncio: `getaddrinfo`, for internet addresses).
    /// A numeric address, or a list, asks nobody. Cancelling ends the wait; the resolver's thread ends by itself.
    ///
    /// # Errors
    ///
    /// The resolver's; [`Error::InvalidArgument`] for what is no address; those of
    /// [`run_in_executor`](Self::run_in_executor).
    pub async fn resolve(&self, address: &Address) -> Result<Vec<SocketAddr>> {
        if let Some(numeric) = address.numeric() {
            return Ok(vec![numeric]);
        }
        let (host, port) = match address {
            Address::List(addrs) if addrs.is_empty() => return Err(nothing_found()),
            Address::List(addrs) => return Ok(addrs.clone()),
            Address::Host(host, port) if host.is_empty() => (String::from("localhost"), *port),
            Address::Host(host, port) => (host.clone(), *port),
            Address::Malformed(_) => return Err(Error::InvalidArgument("an address is written host:port")),
            Address::Socket(_) => return Err(Error::InvalidArgument("not an internet address")),
        };
        let lookup = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        let found = self.run_in_executor(None, lookup)?.await??;
        let mut unique: Vec<SocketAddr> = Vec::with_capacity(found.len());
        for addr in found {
            if !unique.contains(&addr) {
                unique.push(addr);
            }
        }
        if unique.is_empty() { Err(nothing_found()) } else { Ok(unique) }
    }
}

//! How a server comes to its listening sockets: every address resolved, bound or passed over for a reason.

use std::io;

use socket2::{Domain, SockAddr, Type};

use crate::address::{Address, with_context};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::event_loop::EventLoop;
use crate::server::ServerOptions;
use crate::socket::{Socket, show};

impl EventLoop {
    pub(super) async fn bind_all(&self, addresses: &[Address], options: &ServerOptions) -> Result<Vec<Socket>> {
        let mut wanted: Vec<SockAddr> = Vec::new();
        for address in addresses {
            let found = match address {
                Address::Host(host, port) if host.is_empty() => vec![
                    SockAddr::from(std::net::SocketAddr::from(([0, 0, 0, 0], *port))),
                    SockAddr::from(std::net::SocketAddr::from(([0u16; 8], *port))),
                ],
                Address::Socket(addr) => vec![addr.clone()],
                address => self.resolve(address).await?.into_iter().map(SockAddr::from).collect(),
            };
            for addr in found {
                if !wanted.contains(&addr) {
                    wanted.push(addr);
                }
            }
        }
        if wanted.is_empty() {
            return Err(Error::InvalidArgument("a server needs an address or a socket"));
        }
        let mut sockets = Vec::with_capacity(wanted.len());
        let (mut unavailable, mut passed_over) = (None, Vec::new());
        for addr in wanted {
            let domain = addr.domain();
            let socket = match self.socket(domain, Type::STREAM) {
                Ok(socket) => socket,
                // A family that this machine does not have is passed over, as long as another one is there.
                Err(Error::Io(error)) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                    passed_over.push(show(&addr));
                    unavailable = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            socket.control(&Control::ReuseAddress(options.reuse_address))?;
            if options.reuse_port {
                socket.control(&Control::ReusePort(true))?;
            }
            if options.keep_alive {
                socket.control(&Control::KeepAlive(true))?;
            }
            if domain == Domain::IPV6 {
                socket.control(&Control::OnlyV6(true))?;
            }
            match socket.control(&Control::Bind(&addr)) {
                Ok(_) => sockets.push(socket),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    tracing::warn!(address = show(&addr), %error, "cannot bind: the address is passed over");
                    passed_over.push(show(&addr));
                    unavailable = Some(error);
                }
                Err(error) => {
                    let what = "error while attempting to bind on address";
                    return Err(Error::Io(with_context(error, what, &show(&addr))));
                }
            }
        }
        match unavailable {
            Some(error) if sockets.is_empty() => {
                Err(Error::Io(with_context(error, "could not bind on any address", &passed_over.join(", "))))
            }
            _ => Ok(sockets),
        }
    }
}

//! Addresses as users write them.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// Where to connect or bind: a host name with a port, or an address, or several.
///
/// Made from `"host:port"`, `("host", port)`, a [`SocketAddr`], several of them, or a [`SockAddr`]. An empty host means
/// all interfaces to bind, and this machine to connect.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Address {
    /// A host name, to be resolved, and a port.
    Host(String, u16),
    /// An address.
    Socket(SockAddr),
    /// Several addresses, as if a host name had been resolved to them.
    List(Vec<SocketAddr>),
    /// What cannot be read as an address; an error where it is used.
    Malformed(String),
}

impl Address {
    /// The address, where nothing needs to be resolved.
    #[must_use]
    pub fn numeric(&self) -> Option<SocketAddr> {
        match self {
            Self::Host(host, port) => {
                host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, *port))
            }
            Self::Socket(addr) => addr.as_socket(),
            Self::List(_) | Self::Malformed(_) => None,
        }
    }
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) if !host.contains(':') || host.starts_with('[') => {
                Self::Host(host.trim_matches(['[', ']']).to_owned(), port)
            }
            _ => Self::Malformed(text.to_owned()),
        }
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl<H: Into<String>> From<(H, u16)> for Address {
    fn from((host, port): (H, u16)) -> Self {
        Self::Host(host.into(), port)
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Socket(addr.into())
    }
}

impl From<Vec<SocketAddr>> for Address {
    fn from(addrs: Vec<SocketAddr>) -> Self {
        Self::List(addrs)
    }
}

impl From<&[SocketAddr]> for Address {
    fn from(addrs: &[SocketAddr]) -> Self {
        Self::List(addrs.to_vec())
    }
}

impl From<SockAddr> for Address {
    fn from(addr: SockAddr) -> Self {
        Self::Socket(addr)
    }
}

impl From<&SockAddr> for Address {
    fn from(addr: &SockAddr) -> Self {
        Self::Socket(addr.clone())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Socket(addr) => f.write_str(&crate::socket::show(addr)),
            Self::List(addrs) => {
                f.debug_list().entries(addrs.iter().map(|addr| fmt::from_fn(move |f| addr.fmt(f)))).finish()
            }
            Self::Malformed(text) => f.write_str(text),
        }
    }
}

/// The operating system's error, which keeps its number as its source, with what was attempted in its text.
pub(crate) fn with_context(error: io::Error, what: &str, address: &str) -> io::Error {
    let kind = error.kind();
    io::Error::new(kind, AddressError { text: format!("{what}: {address}"), error })
}

/// An operating-system error with the address that it was about.
#[derive(Debug)]
pub(crate) struct AddressError {
    text: String,
    pub(crate) error: io::Error,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.text, self.error)
    }
}

impl std::error::Error for AddressError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Option<(String, u16)> {
        match Address::from(text) {
            Address::Host(host, port) => Some((host, port)),
            _ => None,
        }
    }

    #[test]
    fn host_and_port_are_told_apart() {
        assert_eq!(host("localhost:80"), Some(("localhost".into(), 80)));
        assert_eq!(host("[::1]:80"), Some(("::1".into(), 80)));
        assert_eq!(host(":80"), Some((String::new(), 80)));
        for malformed in ["localhost", "localhost:http", "::1", "localhost:99999"] {
            assert_eq!(host(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn numeric_hosts_need_no_resolver() {
        assert_eq!(Address::from("127.0.0.1:80").numeric(), Some("127.0.0.1:80".parse().unwrap()));
        assert_eq!(Address::from(("::1", 80)).numeric(), Some("[::1]:80".parse().unwrap()));
        assert_eq!(Address::from("localhost:80").numeric(), None);
    }

    #[test]
    fn the_error_keeps_its_kind_and_number() {
        let error = with_context(io::Error::from_raw_os_error(libc::EADDRINUSE), "bind", "127.0.0.1:80");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(crate::Error::Io(error).raw_os_error(), Some(libc::EADDRINUSE));
    }
}

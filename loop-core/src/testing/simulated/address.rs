//! Addresses of the simulated host: all of them are its own.
//!
//! Inside, an IPv4 address is always written as one, also where an IPv6 socket knows it as `::ffff:a.b.c.d`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, SockAddr};

/// Where a socket is bound.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    pub(super) addr: SocketAddr,
    /// An IPv6 wildcard without the IPv4 addresses.
    pub(super) only_v6: bool,
}

impl Binding {
    /// Whether both claim some address.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.addr.port() == other.addr.port()
            && (self.fit(other.addr.ip()).is_some() || other.fit(self.addr.ip()).is_some())
    }

    /// How well the binding fits a destination: the exact address before the wildcard of its family, and that
    /// before the wildcard of both.
    pub(super) fn fit(&self, ip: IpAddr) -> Option<u8> {
        match self.addr.ip() {
            own if own == ip => Some(3),
            IpAddr::V4(own) if own.is_unspecified() && ip.is_ipv4() => Some(2),
            IpAddr::V6(own) if own.is_unspecified() && ip.is_ipv6() => Some(2),
            IpAddr::V6(own) if own.is_unspecified() && !self.only_v6 => Some(1),
            _ => None,
        }
    }
}

/// An address as it came from outside, for a socket of this domain.
pub(super) fn parse(addr: &SockAddr, domain: Domain) -> io::Result<SocketAddr> {
    let addr = addr.as_socket().ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))?;
    if addr.is_ipv4() != (domain == Domain::IPV4) {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    Ok(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
}

/// Who is meant by a destination: an unspecified address is the host itself.
pub(super) fn destination(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The address as a socket of this domain knows it.
pub(super) fn shown(addr: SocketAddr, domain: Domain) -> SockAddr {
    match addr.ip() {
        IpAddr::V4(ip) if domain == Domain::IPV6 => {
            // What is unspecified is so in the socket's own family.
            let ip = if ip.is_unspecified() { Ipv6Addr::UNSPECIFIED } else { ip.to_ipv6_mapped() };
            SocketAddr::new(ip.into(), addr.port()).into()
        }
        _ => addr.into(),
    }
}

/// Every address of the family, and no port.
pub(super) fn unspecified(domain: Domain) -> SocketAddr {
    let ip: IpAddr = if domain == Domain::IPV6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    SocketAddr::new(ip, 0)
}

/// From which address a socket that is bound so reaches a destination.
pub(super) fn sender_ip(bound: IpAddr, to: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        bound
    } else if to == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Ipv4Addr::LOCALHOST.into()
    } else {
        to
    }
}

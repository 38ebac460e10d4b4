//! Where a server listens, and what it tells clients to connect to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An address to listen on: an IP address or `localhost`, and a port; port 0 takes a free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None` is `localhost`: loopback in both families.
    ip: Option<IpAddr>,
    port: u16,
}

impl ListenAddress {
    /// `localhost`: 127.0.0.1 and, where there is IPv6, ::1.
    pub const fn localhost(port: u16) -> Self {
        Self { ip: None, port }
    }

    /// Whether only this machine can reach it.
    pub const fn is_loopback(&self) -> bool {
        match self.ip {
            None => true,
            Some(IpAddr::V4(ip)) => ip.is_loopback(),
            Some(IpAddr::V6(ip)) => ip.is_loopback(),
        }
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address that must be bound, and one that is bound with the same port where its family exists.
    pub(super) const fn sockets(&self) -> (SocketAddr, Option<Ipv6Addr>) {
        match self.ip {
            None => (SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port), Some(Ipv6Addr::LOCALHOST)),
            Some(ip) => (SocketAddr::new(ip, self.port), None),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, "localhost:{}", self.port),
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
        }
    }
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAddress {
    /// To listen on.
    #[error("an IP address or localhost with a port, such as localhost:9092 or [::1]:9092")]
    Listen,
    /// To advertise.
    #[error("a host and its port, such as broker.example:9092")]
    Node,
}

impl FromStr for ListenAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some(port) = text.strip_prefix("localhost:") {
            return port.parse().map(Self::localhost).map_err(|_| NotAnAddress::Listen);
        }
        let address: SocketAddr = text.parse().map_err(|_| NotAnAddress::Listen)?;
        Ok(Self { ip: Some(address.ip()), port: address.port() })
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: Some(address.ip()), port: address.port() }
    }
}

/// A host and its port, as clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl From<SocketAddr> for NodeAddress {
    fn from(address: SocketAddr) -> Self {
        // A socket of both families sees IPv4 clients mapped.
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for NodeAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAnAddress::Node)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(NotAnAddress::Node)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(ip) => ip.parse::<Ipv6Addr>().map_err(|_| NotAnAddress::Node)?.to_string(),
            None => host.to_owned(),
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = bracketed.is_some() || host.chars().all(legal);
        if host.is_empty() || host.len() > 255 || !is_name {
            return Err(NotAnAddress::Node);
        }
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_shown() {
        for text in ["localhost:9092", "127.0.0.1:0", "[::1]:9092", "0.0.0.0:1"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        for text in ["", "9092", "localhost", "localhost:", "::1:9092", "example.org:9092", "1.2.3.4:65536"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        for text in ["broker.example:9092", "[::1]:9092", "10.0.0.1:1"] {
            assert_eq!(text.parse::<NodeAddress>().unwrap().to_string(), text);
        }
        for text in ["", "host", "host:", ":1", "host:0", "::1:9092", "[host]:1", "a b:1", "a/b:1"] {
            assert!(text.parse::<NodeAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for (text, loopback) in [
            ("localhost:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_advertised_as_what_it_is() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9092".parse().unwrap();
        assert_eq!(NodeAddress::from(mapped).to_string(), "10.0.0.1:9092");
    }
}

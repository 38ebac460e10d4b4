//! Where a page is: an address and a port, or its URL.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A host with its port, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
}

/// What is no address of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is an address such as 127.0.0.1:8080, or a URL such as https://box.example:8080")]
pub(crate) struct NoAddress;

impl Address {
    /// Where a page is, unless it is said otherwise.
    pub(super) fn usual() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: 8080, is_tls: false }
    }

    /// Where a run on this machine says that its page is.
    pub(super) fn of(url: &str) -> Option<Self> {
        url.parse().ok()
    }

    /// Whether both are the same page, as far as this machine's own names go.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_own =
            |host: &str| host.eq_ignore_ascii_case("localhost") || ["127.0.0.1", "[::1]"].contains(&host);
        let is_one_host =
            self.host.eq_ignore_ascii_case(&other.host) || is_own(&self.host) && is_own(&other.host);
        is_one_host && (self.port, self.is_tls) == (other.port, other.is_tls)
    }

    /// As a request names it.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            // Without a scheme it is an address, as a banner says it.
            _ => (false, text.parse::<SocketAddr>().map(|_| text).map_err(|_| NoAddress)?),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| NoAddress)?),
            _ => (rest, if is_tls { 443 } else { 80 }),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_plain) {
            return Err(NoAddress);
        }
        // Whoever listens on every address is reached at this machine's own.
        let host = match host {
            "0.0.0.0" => "127.0.0.1",
            "[::]" => "[::1]",
            host => host,
        };
        Ok(Self { host: host.to_owned(), port, is_tls })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_tls {
            f.write_str("https://")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_urls_are_told() {
        for (text, host, port, is_tls) in [
            ("127.0.0.1:8080", "127.0.0.1", 8080, false),
            ("[::1]:8080", "[::1]", 8080, false),
            ("http://127.0.0.1:8080/", "127.0.0.1", 8080, false),
            ("https://box.example", "box.example", 443, true),
            ("https://[::1]", "[::1]", 443, true),
            ("0.0.0.0:8080", "127.0.0.1", 8080, false),
            ("[::]:8080", "[::1]", 8080, false),
        ] {
            let expected = Address { host: host.to_owned(), port, is_tls };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "here",
            "box.example:80",
            "8080",
            "https://",
            "http://a b",
            "http://a/b",
            "http://a:x",
            "ftp://a",
        ] {
            assert_eq!(wrong.parse::<Address>(), Err(NoAddress), "{wrong}");
        }
    }

    #[test]
    fn every_address_is_this_machines() {
        assert_eq!(Address::of("http://0.0.0.0:80").unwrap().authority(), "127.0.0.1:80");
        assert_eq!(Address::of("https://[::]:81").unwrap().to_string(), "https://[::1]:81");
        assert_eq!(Address::of("nowhere"), None);
    }

    #[test]
    fn this_machine_is_one_host_by_whatever_name() {
        let is = |one: &str, other: &str| one.parse::<Address>().unwrap().is(&other.parse().unwrap());
        for own in ["http://localhost:80", "http://127.0.0.1", "[::1]:80", "0.0.0.0:80"] {
            assert!(is(own, "127.0.0.1:80") && is("http://LOCALHOST:80", own), "{own}");
        }
        assert!(is("http://Box.example:81", "http://box.example:81/"));
        for other in ["http://127.0.0.1:81", "https://127.0.0.1:80", "http://box.example", "127.0.0.2:80"] {
            assert!(!is("127.0.0.1:80", other), "{other}");
        }
    }
}

//! Where the brokers of a cluster are found.

use std::fmt;
use std::str::FromStr;

/// Kafka's port.
const PORT: u16 = 9092;

/// The addresses of one or more brokers of a cluster, which name the others; written `kafka://HOST:PORT,HOST:PORT`, where
/// `kafka://` and `:9092` may be left out.
///
/// ```
/// use topo_connectors::Brokers;
///
/// let brokers: Brokers = "kafka://one,two:9093".parse()?;
/// assert_eq!(brokers.to_string(), "one:9092,two:9093");
/// # Ok::<(), topo_connectors::NoBrokers>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brokers(Vec<String>);

/// What was read is no address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address of a broker; write HOST:PORT or kafka://HOST:PORT, such as 127.0.0.1:9092")]
pub struct NoBrokers(String);

impl Brokers {
    /// The broker that `topo broker` starts where it is told nothing else.
    pub fn local() -> Self {
        Self(vec![format!("127.0.0.1:{PORT}")])
    }

    /// The addresses, each `HOST:PORT`.
    pub fn addresses(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Brokers {
    type Err = NoBrokers;

    fn from_str(text: &str) -> Result<Self, NoBrokers> {
        let wrong = || NoBrokers(text.to_owned());
        let rest = text.strip_prefix("kafka://").unwrap_or(text).trim_end_matches('/');
        let addresses = rest.split(',').map(|one| address(one.trim()).ok_or_else(wrong));
        addresses.collect::<Result<_, _>>().map(Self)
    }
}

/// `HOST:PORT`, or `HOST`; an IPv6 address in brackets.
fn address(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (text, PORT),
    };
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let sound = match name {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)),
    };
    sound.then(|| format!("{host}:{port}"))
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_port_may_be_left_out() {
        for (text, expected) in [
            ("kafka://localhost:9093", "localhost:9093"),
            ("localhost", "localhost:9092"),
            ("kafka://a,b:1/", "a:9092,b:1"),
            ("[::1]:9092", "[::1]:9092"),
            ("kafka://[::1]", "[::1]:9092"),
        ] {
            assert_eq!(text.parse::<Brokers>().map(|brokers| brokers.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "kafka://", "a,,b", "a:b", "a:0", "a:65536", "http://a:1", "::1:9092", "[a]:1", "a b", "a=b"]
        {
            let refused = text.parse::<Brokers>().map_err(|error| error.to_string());
            assert!(refused.is_err_and(|said| said.contains("HOST:PORT")), "{text}");
        }
    }
}

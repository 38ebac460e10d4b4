//! Under which names the server may be addressed.

use std::net::SocketAddr;

use axum::http::{HeaderMap, Uri, header};

use super::server::reached_at;

/// The hosts, with port, that are the server's own.
#[derive(Debug)]
pub(super) struct Hosts {
    hosts: Vec<String>,
    port: u16,
    is_tls: bool,
    /// Whether the address is that of every network, so that each connection's own end counts.
    is_any: bool,
    advice: String,
}

/// Why a request's host is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoHost {
    /// None, or more than one.
    Unclear,
    /// Not this server.
    Foreign,
}

impl Hosts {
    /// The spellings of `addr`, those of loopback among them where it is that or any address, and `names`.
    pub(super) fn new(addr: SocketAddr, is_tls: bool, names: &[String]) -> Self {
        let port = addr.port();
        let ip = addr.ip().to_canonical();
        let is_any = ip.is_unspecified();
        let mut bare: Vec<String> = names.to_vec();
        if ip.is_loopback() || is_any {
            bare.extend(["127.0.0.1".into(), "localhost".into(), "[::1]".into()]);
        }
        let mut hosts: Vec<String> = bare.iter().map(|name| format!("{name}:{port}")).collect();
        if !is_any {
            hosts.push(addr.to_string());
        }
        if port == if is_tls { 443 } else { 80 } {
            // Clients leave out the port that the scheme implies.
            hosts.append(&mut bare);
            hosts.extend((!is_any).then(|| spelled(addr)));
        }
        let scheme = if is_tls { "https" } else { "http" };
        let named = names.iter().map(|name| format!(" or {scheme}://{name}:{port}/")).collect::<String>();
        let at = reached_at(addr);
        let any = if is_any { ", or at the address that you reach this machine at," } else { "" };
        let advice = format!("this server answers at {scheme}://{at}/{named}{any} only\n");
        Self { hosts, port, is_tls, is_any, advice }
    }

    /// The host that a request names, if that is this server; `local` is the end of the connection that it came by.
    ///
    /// # Errors
    /// [`NoHost`].
    pub(super) fn check<'a>(
        &self,
        headers: &'a HeaderMap,
        uri: &Uri,
        local: Option<SocketAddr>,
    ) -> Result<&'a str, NoHost> {
        let mut given = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else { return Err(NoHost::Unclear) };
        let host = host.to_str().map_err(|_| NoHost::Foreign)?;
        // A request line may carry a host of its own, which then outranks the header: both must be ours.
        let in_line = uri.authority().map_or(host, |authority| authority.as_str());
        if self.contains(host, local) && self.contains(in_line, local) {
            Ok(host)
        } else {
            Err(NoHost::Foreign)
        }
    }

    fn contains(&self, host: &str, local: Option<SocketAddr>) -> bool {
        let is_local = |local: SocketAddr| {
            let at = SocketAddr::new(local.ip().to_canonical(), self.port);
            let is_implied = self.port == if self.is_tls { 443 } else { 80 };
            host == at.to_string() || is_implied && host == spelled(at)
        };
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
            || self.is_any && local.is_some_and(is_local)
    }

    /// The port that it listens at.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What is said to who addresses another.
    pub(super) fn advice(&self) -> String {
        self.advice.clone()
    }
}

/// An address without its port, as it stands in a URL.
fn spelled(addr: SocketAddr) -> String {
    if addr.is_ipv6() { format!("[{}]", addr.ip()) } else { addr.ip().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addr: &str, local: Option<&str>, uri: &str, hosts: &[&str]) -> Result<(), NoHost> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, host.parse().unwrap());
        }
        let names = ["box.example".to_owned()];
        let local = local.map(|local| local.parse().unwrap());
        Hosts::new(addr.parse().unwrap(), false, &names)
            .check(&headers, &uri.parse().unwrap(), local)
            .map(drop)
    }

    const LOOPBACK: &str = "127.0.0.1:8080";

    #[test]
    fn loopback_spellings_and_given_names_are_admitted() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080", "box.example:8080"] {
            assert_eq!(check(LOOPBACK, None, "/", &[host]), Ok(()), "{host}");
            assert_eq!(check(LOOPBACK, None, &format!("http://{host}/"), &[host]), Ok(()), "{host}");
        }
    }

    #[test]
    fn foreign_hosts_are_refused() {
        for host in [
            "evil.com",
            "evil.com:8080",
            "127.0.0.1.evil.com:8080",
            "127.0.0.1.evil.com",
            "127.0.0.1",
            "127.0.0.1:8081",
            "127.0.0.1:80808",
            "localhost",
            "localhost.:8080",
            "box.example",
            "evil.com@127.0.0.1:8080",
            "127.0.0.1:8080,evil.com",
            "0.0.0.0:8080",
            "",
        ] {
            assert_eq!(check(LOOPBACK, Some(LOOPBACK), "/", &[host]), Err(NoHost::Foreign), "{host}");
        }
        assert_eq!(check(LOOPBACK, None, "http://evil.com/", &[LOOPBACK]), Err(NoHost::Foreign));
        assert_eq!(check(LOOPBACK, None, "/", &[]), Err(NoHost::Unclear));
        assert_eq!(check(LOOPBACK, None, "/", &[LOOPBACK, LOOPBACK]), Err(NoHost::Unclear));
    }

    #[test]
    fn the_implied_port_may_be_left_out() {
        assert_eq!(check("127.0.0.1:80", None, "/", &["localhost"]), Ok(()));
        assert_eq!(check("192.0.2.1:80", None, "/", &["192.0.2.1"]), Ok(()));
        assert_eq!(check("127.0.0.1:80", None, "/", &["evil.com"]), Err(NoHost::Foreign));
    }

    #[test]
    fn beyond_loopback_the_host_is_the_address_that_was_reached() {
        assert_eq!(check("192.0.2.1:8080", None, "/", &["192.0.2.1:8080"]), Ok(()));
        for host in ["127.0.0.1:8080", "localhost:8080", "192.0.2.2:8080"] {
            assert_eq!(check("192.0.2.1:8080", None, "/", &[host]), Err(NoHost::Foreign), "{host}");
        }
        let any = |local, host| check("0.0.0.0:8080", local, "/", &[host]);
        assert_eq!(any(Some("192.0.2.1:8080"), "192.0.2.1:8080"), Ok(()));
        assert_eq!(any(Some("[::ffff:192.0.2.1]:8080"), "192.0.2.1:8080"), Ok(()));
        assert_eq!(any(Some("192.0.2.1:8080"), "192.0.2.2:8080"), Err(NoHost::Foreign));
        assert_eq!(any(Some("192.0.2.1:8080"), "evil.com:8080"), Err(NoHost::Foreign));
        assert_eq!(any(None, "192.0.2.1:8080"), Err(NoHost::Foreign));
        assert_eq!(any(None, "localhost:8080"), Ok(()));
    }
}

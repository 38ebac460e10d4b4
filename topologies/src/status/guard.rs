//! Who is let in, and what every answer says about how it may be used.
//!
//! Invariant: no route is reached unless the request names this very server as its host, so a page of another origin
//! whose name was pointed at a loopback address (DNS rebinding) reads nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Nothing is loaded, framed, sent or based anywhere else, and nothing written into the page runs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                       connect-src 'self'; \
                                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The hosts, with port, under which the server may be addressed.
#[derive(Debug)]
pub(super) struct AllowedHosts {
    hosts: Vec<String>,
    advice: String,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// No host, or more than one.
    UnclearHost,
    /// A host that is not this server.
    ForeignHost,
    /// A method that could change something.
    Method,
}

impl AllowedHosts {
    /// The loopback spellings of `addr`.
    pub(super) fn of(addr: SocketAddr) -> Self {
        let port = addr.port();
        let mut hosts = vec![
            addr.to_string(),
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("[::1]:{port}"),
        ];
        if port == 80 {
            // Clients leave out the port that http implies.
            hosts.extend(["127.0.0.1".into(), "localhost".into(), "[::1]".into()]);
        }
        Self { hosts, advice: format!("this server answers at http://{addr}/ only\n") }
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let mut given = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else { return Err(Refusal::UnclearHost) };
        let host = host.to_str().map_err(|_| Refusal::ForeignHost)?;
        // A request line may carry a host of its own, which then outranks the header: both must be ours.
        let in_line = request.uri().authority().map_or(host, |authority| authority.as_str());
        if !self.contains(host) || !self.contains(in_line) {
            return Err(Refusal::ForeignHost);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::Method);
        }
        Ok(())
    }

    fn contains(&self, host: &str) -> bool {
        self.hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        match refusal {
            Refusal::UnclearHost => (StatusCode::BAD_REQUEST, "one Host header is needed\n").into_response(),
            Refusal::ForeignHost => (StatusCode::FORBIDDEN, self.advice.clone()).into_response(),
            Refusal::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "this server is only read\n")
                    .into_response()
            }
        }
    }
}

/// Admits a request to the routes or refuses it, and sets the headers that every answer carries.
pub(super) async fn admit(State(hosts): State<Arc<AllowedHosts>>, request: Request, next: Next) -> Response {
    let mut response = match hosts.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => hosts.refuse(&refusal),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn check(method: &str, uri: &str, hosts: &[&str]) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        AllowedHosts::of("127.0.0.1:8080".parse().unwrap()).check(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn loopback_spellings_are_admitted() {
        for host in ["127.0.0.1:8080", "localhost:8080", "LocalHost:8080", "[::1]:8080"] {
            assert_eq!(check("GET", "/", &[host]), Ok(()), "{host}");
            assert_eq!(check("HEAD", &format!("http://{host}/"), &[host]), Ok(()), "{host}");
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
            "evil.com@127.0.0.1:8080",
            "127.0.0.1:8080 ",
            "127.0.0.1:8080,evil.com",
            "0.0.0.0:8080",
            "",
        ] {
            assert_eq!(check("GET", "/", &[host]), Err(Refusal::ForeignHost), "{host}");
        }
        assert_eq!(check("GET", "http://evil.com/", &["127.0.0.1:8080"]), Err(Refusal::ForeignHost));
        assert_eq!(check("GET", "/", &[]), Err(Refusal::UnclearHost));
        assert_eq!(check("GET", "/", &["127.0.0.1:8080", "127.0.0.1:8080"]), Err(Refusal::UnclearHost));
    }

    #[test]
    fn only_reading_is_admitted() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            assert_eq!(check(method, "/", &["127.0.0.1:8080"]), Err(Refusal::Method), "{method}");
        }
    }

    #[test]
    fn the_implied_port_may_be_left_out() {
        let hosts = AllowedHosts::of("127.0.0.1:80".parse().unwrap());
        assert!(hosts.contains("localhost"));
        assert!(!hosts.contains("evil.com"));
    }
}

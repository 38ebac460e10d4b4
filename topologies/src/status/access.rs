//! Who is let in, who may change something, and what every answer says about how it may be used.
//!
//! Invariant: no route is reached unless the request names this very server as its host, so a page of another origin
//! whose name was pointed at this address (DNS rebinding) reads nothing. Nothing is changed but by a POST or DELETE that
//! shows a token, and that no page of another origin has sent.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::hosts::{Hosts, NoHost};
use super::refusal::refuse;
use super::secret::Secret;

/// Nothing is loaded, framed, sent or based anywhere else, and nothing written into the page runs.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                       connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What the cookie of a browser that has shown the token is called, up to the port: browsers tell a host's ports apart in
/// nothing else, and each topology has one.
const SESSION: &str = "topo-session-";
/// Where a token is turned into a session.
pub(super) const LOGIN: &str = "/api/v1/session";

/// What a connection came in at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local(pub(super) SocketAddr);

/// Who may ask what.
#[derive(Debug)]
pub(super) struct Access {
    hosts: Hosts,
    is_tls: bool,
    /// Asked of everybody, where there is one.
    token: Option<Secret>,
    /// Made for this process: what its page shows with every change. Only who was let in, or reads the run's file, knows it, so
    /// it lets in as the token does.
    page_token: Secret,
    /// Made for this process: what is in the cookie of who has shown the token.
    session: Secret,
    /// The cookie's name.
    cookie: String,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The wrong host, or none.
    Host(NoHost),
    /// A method that nothing here has.
    Method,
    /// The token is asked of everybody, and was not shown.
    NoToken,
    /// A change without a token, or with one that is not ours.
    NoChange,
    /// A change that another origin's page sent.
    ForeignOrigin,
}

impl Access {
    pub(super) fn new(hosts: Hosts, is_tls: bool, token: Option<Secret>) -> Self {
        let cookie = format!("{SESSION}{}", hosts.port());
        Self { hosts, is_tls, token, page_token: Secret::random(), session: Secret::random(), cookie }
    }

    /// What the page shows with every change. Whoever may read the page, may change what it changes.
    pub(super) fn page_token(&self) -> &Secret {
        &self.page_token
    }

    fn check(&self, request: &Request, local: Option<SocketAddr>) -> Result<(), Refusal> {
        let host = self.hosts.check(request.headers(), request.uri(), local).map_err(Refusal::Host)?;
        let is_change = match *request.method() {
            Method::GET | Method::HEAD => false,
            Method::POST | Method::DELETE => true,
            _ => return Err(Refusal::Method),
        };
        let has_token = bearer(request.headers()).is_some_and(|shown| self.is_token(shown));
        let has_session = self.shown_session(request.headers()).is_some_and(|shown| self.session.is(shown));
        if self.token.is_some() && !has_token && !has_session && !is_public(request.uri().path()) {
            return Err(Refusal::NoToken);
        }
        if is_change {
            self.check_origin(request.headers(), host)?;
            if !has_token {
                return Err(Refusal::NoChange);
            }
        }
        Ok(())
    }

    fn is_token(&self, shown: &str) -> bool {
        self.page_token.is(shown) || self.token.as_ref().is_some_and(|token| token.is(shown))
    }

    fn shown_session<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
        pairs.find_map(|pair| pair.trim().strip_prefix(&*self.cookie)?.strip_prefix('='))
    }

    /// A browser says from where a change comes; what is no browser says nothing.
    fn check_origin(&self, headers: &HeaderMap, host: &str) -> Result<(), Refusal> {
        let scheme = if self.is_tls { "https" } else { "http" };
        let own = format!("{scheme}://{host}");
        let is_own = |origin: &HeaderValue| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes());
        let fetch_site = headers.get_all("sec-fetch-site").iter();
        if headers.get_all(header::ORIGIN).iter().all(is_own)
            && fetch_site.into_iter().all(|site| site == "same-origin")
        {
            Ok(())
        } else {
            Err(Refusal::ForeignOrigin)
        }
    }

    fn refuse(&self, refusal: &Refusal, path: &str) -> Response {
        match refusal {
            Refusal::Host(NoHost::Unclear) => {
                (StatusCode::BAD_REQUEST, "one Host header is needed\n").into_response()
            }
            Refusal::Host(NoHost::Foreign) => (StatusCode::FORBIDDEN, self.hosts.advice()).into_response(),
            Refusal::Method => {
                let allow = [(header::ALLOW, "GET, HEAD, POST, DELETE")];
                (StatusCode::METHOD_NOT_ALLOWED, allow, "what is read is read by GET\n").into_response()
            }
            Refusal::NoToken if path == "/" => super::assets::login().into_response(),
            Refusal::NoToken => {
                let mut refused = refuse(
                    StatusCode::UNAUTHORIZED,
                    "the topology was started with a token: show it as `Authorization: Bearer TOKEN`, or open the page and give \
                     it there",
                );
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                refused
            }
            Refusal::NoChange => refuse(
                StatusCode::FORBIDDEN,
                "a change shows a token as `Authorization: Bearer TOKEN`: the one that the topology was started with, or its \
                 page's, which is another with each run; load the page again",
            ),
            Refusal::ForeignOrigin => {
                refuse(StatusCode::FORBIDDEN, "a change is taken from this server's own page only; open that")
            }
        }
    }

    /// The cookie of a browser whose token was right.
    fn cookie(&self) -> String {
        let secure = if self.is_tls { "; Secure" } else { "" };
        format!("{}={}; Path=/; HttpOnly; SameSite=Strict{secure}", self.cookie, self.session.reveal())
    }
}

/// What is needed to show the token, and says nothing of what runs here.
fn is_public(path: &str) -> bool {
    path.starts_with("/assets/") || path == LOGIN
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// `POST /api/v1/session`: the token, which was checked, becomes a cookie, since a stream of events cannot show it.
pub(super) async fn log_in(axum::Extension(access): axum::Extension<Arc<Access>>) -> Response {
    let cookie = HeaderValue::from_str(&access.cookie());
    let Ok(cookie) = cookie else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

/// Admits a request to the routes or refuses it, and sets the headers that every answer carries.
pub(super) async fn admit(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let local = request.extensions().get::<ConnectInfo<Local>>().map(|ConnectInfo(Local(at))| *at);
    let mut response = match access.check(&request, local) {
        Ok(()) => next.run(request).await,
        Err(refusal) => access.refuse(&refusal, request.uri().path()),
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

    const HOST: &str = "127.0.0.1:8080";

    fn access(token: Option<&str>) -> Access {
        let hosts = Hosts::new(HOST.parse().unwrap(), false, &[]);
        Access::new(hosts, false, token.map(|token| token.parse().unwrap()))
    }

    fn check(access: &Access, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut request = Request::builder().method(method).uri(path).header("host", HOST);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.check(&request.body(Body::empty()).unwrap(), None)
    }

    #[test]
    fn a_change_shows_the_pages_token_and_comes_from_the_page() {
        let access = access(None);
        let right = format!("Bearer {}", access.page_token().reveal());
        let shown = ("authorization", &*right);
        for method in ["POST", "DELETE"] {
            let check = |headers: &[(&str, &str)]| check(&access, method, "/", headers);
            assert_eq!(check(&[shown]), Ok(()));
            assert_eq!(check(&[shown, ("origin", "http://127.0.0.1:8080")]), Ok(()));
            assert_eq!(check(&[shown, ("sec-fetch-site", "same-origin")]), Ok(()));
            for origin in [
                "null",
                "http://evil.com",
                "https://127.0.0.1:8080",
                "http://127.0.0.1:8081",
                "http://localhost:8080",
                "",
            ] {
                assert_eq!(check(&[shown, ("origin", origin)]), Err(Refusal::ForeignOrigin), "{origin}");
            }
            let two = [shown, ("origin", "http://127.0.0.1:8080"), ("origin", "http://evil.com")];
            assert_eq!(check(&two), Err(Refusal::ForeignOrigin));
            for site in ["cross-site", "same-site", "none"] {
                assert_eq!(check(&[shown, ("sec-fetch-site", site)]), Err(Refusal::ForeignOrigin), "{site}");
            }
            assert_eq!(check(&[]), Err(Refusal::NoChange));
            for wrong in
                ["", "Bearer ", "Bearer x", &right[..right.len() - 1], &format!("{right}0"), &right[7..]]
            {
                assert_eq!(check(&[("authorization", wrong)]), Err(Refusal::NoChange), "{wrong}");
            }
        }
        for method in ["PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
            assert_eq!(check(&access, method, "/", &[shown]), Err(Refusal::Method), "{method}");
        }
        assert_eq!(check(&access, "GET", "/", &[]), Ok(()));
    }

    #[test]
    fn a_token_is_asked_of_everybody_where_there_is_one() {
        let access = access(Some("a-long-enough-token"));
        let cookie = access.cookie();
        let cookie = format!("other=1; {}", cookie.split(';').next().unwrap());
        let token = ("authorization", "Bearer a-long-enough-token");
        for path in ["/", "/metrics", "/api/v1/events?view=log", "/api/v1/topology/summary"] {
            assert_eq!(check(&access, "GET", path, &[]), Err(Refusal::NoToken), "{path}");
            let session = access.session.reveal();
            let (of_another_port, unnamed) =
                (format!("topo-session-8081={session}"), format!("topo-session={session}"));
            for forged in [
                "topo-session-8080=",
                "topo-session-8080=0",
                "topo-session-8080x=1",
                "x",
                &of_another_port,
                &unnamed,
            ] {
                assert_eq!(check(&access, "GET", path, &[("cookie", forged)]), Err(Refusal::NoToken));
            }
            // Another topology of this host has a cookie beside it.
            let both = ("cookie", &*format!("{of_another_port}; {cookie}"));
            assert_eq!(check(&access, "GET", path, &[both]), Ok(()), "{path}");
            // So has who was let in, and a command that reads the run's file.
            let of_page = ("authorization", &*format!("Bearer {}", access.page_token().reveal()));
            assert_eq!(check(&access, "GET", path, &[of_page]), Ok(()), "{path}");
            assert_eq!(check(&access, "GET", path, &[token]), Ok(()), "{path}");
            assert_eq!(check(&access, "GET", path, &[("cookie", &cookie)]), Ok(()), "{path}");
        }
        assert_eq!(check(&access, "GET", "/assets/app.js", &[]), Ok(()));
        // The cookie alone changes nothing: a page of another origin may have had it sent.
        assert_eq!(check(&access, "POST", "/", &[("cookie", &cookie)]), Err(Refusal::NoChange));
        assert_eq!(check(&access, "POST", "/", &[token]), Ok(()));
        let page = format!("Bearer {}", access.page_token().reveal());
        assert_eq!(check(&access, "POST", "/", &[("cookie", &cookie), ("authorization", &page)]), Ok(()));
        assert_eq!(check(&access, "POST", LOGIN, &[("authorization", &page)]), Ok(()));
        assert_eq!(check(&access, "POST", LOGIN, &[]), Err(Refusal::NoChange));
    }
}

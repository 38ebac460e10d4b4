//! Who is let in by the server, over real loopback sockets.

use std::net::SocketAddr;
use std::sync::Arc;

use super::tests::{Fixture, ask, get, send, serve};
use super::{StatusConfig, StatusError, StatusServer, fixture, routes};

const PATHS: [&str; 8] = [
    "/",
    "/assets/style.css",
    "/assets/app.js",
    "/api/v1/topology/summary",
    "/api/v1/topology/words-1",
    "/api/v1/topology/words-1/errors",
    "/metrics",
    "/nothing",
];

#[test]
fn only_its_own_host_is_answered_on_every_path() {
    let server = serve(vec![fixture::topology()]);
    let addr = server.local_addr();
    let port = addr.port();
    for path in PATHS {
        let known = if path == "/nothing" { 404 } else { 200 };
        for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")] {
            assert_eq!(ask(addr, "GET", path, &host).status, known, "{path} of {host}");
        }
        let wrong_port = if port == 65_535 { 1 } else { port + 1 };
        for host in [
            "evil.com",
            &format!("127.0.0.1.evil.com:{port}"),
            &format!("127.0.0.1:{wrong_port}"),
            "127.0.0.1",
        ] {
            let answer = ask(addr, "GET", path, host);
            assert_eq!(answer.status, 403, "{path} of {host}");
            assert_eq!(answer.body, format!("this server answers at http://{addr}/ only\n"));
        }
        let without = send(addr, &format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert_eq!(without.status, 400, "{path} without a host");
        let in_line =
            format!("GET http://evil.com{path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(addr, &in_line).status, 403, "{path} of a host in the request line");
    }
}

#[test]
fn nothing_is_changed_without_the_pages_token() {
    let server = serve(Vec::new());
    let (addr, host) = (server.local_addr(), server.local_addr().to_string());
    for path in PATHS {
        for method in ["PUT", "PATCH", "OPTIONS"] {
            let answer = ask(addr, method, path, &host);
            assert_eq!(
                (answer.status, &*answer.headers["allow"]),
                (405, "GET, HEAD, POST, DELETE"),
                "{method} {path}"
            );
        }
        for method in ["POST", "DELETE"] {
            assert_eq!(ask(addr, method, path, &host).status, 403, "{method} {path}");
        }
    }
    let head = ask(addr, "HEAD", "/", &host);
    assert_eq!((head.status, &*head.body), (200, ""));
    for route in routes::api().iter().filter(|route| route.method != "GET") {
        let path = route.path.replace(['{', '}'], "");
        let change = |headers: &str| {
            let request = format!(
                "{} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n",
                route.method
            );
            send(addr, &request).status
        };
        let token = server.page_token().reveal();
        assert_eq!(change(""), 403, "{path}");
        assert_eq!(change("Authorization: Bearer 0123456789abcdef\r\n"), 403, "{path}");
        assert_eq!(
            change(&format!("Authorization: Bearer {token}\r\nOrigin: http://evil.com\r\n")),
            403,
            "{path}"
        );
        let admitted = change(&format!("Authorization: Bearer {token}\r\nOrigin: http://{host}\r\n"));
        assert_ne!(admitted, 403, "{path}");
    }
}

#[test]
fn a_forged_host_gets_no_stream() {
    let server = serve(vec![fixture::topology()]);
    for host in ["evil.com", "127.0.0.1", "localhost:1"] {
        let answer = ask(server.local_addr(), "GET", "/api/v1/events?view=components", host);
        assert_eq!(answer.status, 403, "{host}");
    }
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let token = "a-token-that-is-long-enough";
    let config = StatusConfig {
        token: Some(token.parse().unwrap()),
        ..StatusConfig::new("127.0.0.1:0".parse().unwrap())
    };
    let server = StatusServer::bind_with(&config, Arc::new(Fixture(vec![fixture::topology()]))).unwrap();
    let addr = server.local_addr();
    let asked = |path: &str, header: &str| {
        send(addr, &format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{header}\r\n"))
    };
    for path in PATHS.into_iter().filter(|path| !path.starts_with("/assets/")) {
        let answer = asked(path, "");
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.body.contains("words") && !answer.body.contains(token), "{path}: {}", answer.body);
        assert_eq!(
            asked(path, "Authorization: Bearer a-token-that-is-long-enougi\r\n").status,
            401,
            "{path}"
        );
    }
    assert!(asked("/", "").body.contains("<form id=\"login\""));
    let request = format!(
        "POST /api/v1/session HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let session = send(addr, &request);
    let cookie = &session.headers["set-cookie"];
    assert!(session.status == 204 && cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let page = asked("/", &cookie);
    assert!(page.status == 200 && page.body.contains(server.page_token().reveal()));
    assert!(!page.body.contains(token));
    assert_eq!(asked("/api/v1/topology/words-1", &cookie).status, 200);
}

#[test]
fn every_answer_keeps_browsers_strict() {
    let server = serve(Vec::new());
    let addr = server.local_addr();
    let answers = PATHS.map(|path| get(addr, path)).into_iter();
    for answer in
        answers.chain([ask(addr, "GET", "/", "evil.com"), ask(addr, "POST", "/", &addr.to_string())])
    {
        assert!(
            answer.headers["content-security-policy"].starts_with("default-src 'none'; script-src 'self'; ")
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cross-origin-resource-policy"], "same-origin");
        assert!(!answer.headers.keys().any(|name| name.starts_with("access-control-")));
    }
}

#[test]
fn addresses_that_others_reach_are_refused() {
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8080", "[::ffff:192.0.2.1]:8080"] {
        let refused = StatusServer::bind(addr.parse().unwrap(), Arc::new(Fixture(Vec::new()))).unwrap_err();
        assert!(matches!(refused, StatusError::NotLoopback(_)), "{addr}: {refused}");
        assert!(refused.to_string().contains("whoever reaches it may stop the topology"), "{refused}");
        let token = Some("a-token-that-is-long-enough".parse().unwrap());
        let config = StatusConfig { token, ..StatusConfig::new(addr.parse().unwrap()) };
        let refused = StatusServer::bind_with(&config, Arc::new(Fixture(Vec::new()))).unwrap_err();
        assert!(matches!(refused, StatusError::NotLoopback(_)), "a token without TLS: {refused}");
    }
}

#[test]
fn where_it_is_meant_every_address_is_listened_on_and_the_host_is_the_one_reached() {
    let config = StatusConfig { insecure: true, ..StatusConfig::new("0.0.0.0:0".parse().unwrap()) };
    let server = StatusServer::bind_with(&config, Arc::new(Fixture(Vec::new()))).unwrap();
    let port = server.local_addr().port();
    let reached: SocketAddr = format!("127.0.0.2:{port}").parse().unwrap();
    assert_eq!(ask(reached, "GET", "/", &format!("127.0.0.2:{port}")).status, 200);
    assert_eq!(ask(reached, "GET", "/", &format!("127.0.0.3:{port}")).status, 403);
    assert_eq!(ask(reached, "GET", "/", &format!("evil.com:{port}")).status, 403);
    // What it says of itself is answered.
    assert_eq!(server.url(), format!("http://127.0.0.1:{port}"));
    let refused = ask(reached, "GET", "/", &format!("0.0.0.0:{port}"));
    let advice = format!(
        "this server answers at http://127.0.0.1:{port}/, or at the address that you reach this machine at, only\n"
    );
    assert_eq!((refused.status, refused.body), (403, advice));
    assert_eq!(ask(reached, "GET", "/", &format!("127.0.0.1:{port}")).status, 200);
}

//! What may be done, asked for over loopback sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use topo_core::schedule::TokioScheduler;
use topo_core::{Bolt, Config, Emitter, Fail, Running, Topology};

use super::StatusServer;
use super::tests::{Answer, send};
use crate::testing::given;

struct Sink;

impl Bolt for Sink {
    type In = u64;
    type Out = ();

    async fn execute(&mut self, _: u64, _: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

async fn running() -> (Running, StatusServer) {
    let topology = Topology::new("short");
    let numbers = topology.spout("numbers", given([1_u64, 2]));
    topology.bolt("sink", || Sink).shuffle(&numbers);
    let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await.unwrap();
    let server = StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(running.clone())).unwrap();
    (running, server)
}

fn post(server: &StatusServer, path: &str, body: &str) -> Answer {
    let (at, token): (SocketAddr, _) = (server.local_addr(), server.page_token().reveal());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    send(at, &request)
}

/// The sentence of a refusal.
fn sentence(answer: &Answer) -> String {
    assert_eq!(answer.headers["content-type"], "application/json", "{}", answer.body);
    let refusal: Value = serde_json::from_str(&answer.body).unwrap();
    refusal["error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_killed_is_neither_paused_nor_resumed() {
    let (running, server) = running().await;
    let path = |verb: &str| format!("/api/v1/topology/{}/{verb}", running.id());
    for verb in ["deactivate", "activate"] {
        assert_eq!(post(&server, &path(verb), "").status, 200, "{verb}");
    }
    running.kill(Duration::from_secs(10)).await.unwrap();
    for verb in ["deactivate", "activate"] {
        let refused = post(&server, &path(verb), "");
        assert_eq!(refused.status, 409, "{verb}");
        assert!(sentence(&refused).contains("is ending, and its spouts stay paused"), "{}", refused.body);
        assert_eq!(post(&server, "/api/v1/topology/none/activate", "").status, 404);
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_refused_is_told_in_a_sentence() {
    let (running, server) = running().await;
    let taps = format!("/api/v1/topology/{}/taps", running.id());
    for (path, body, says) in [
        (&*taps, "{}", "missing field `edge`"),
        (&taps, r#"{"edge":0,"colour":1}"#, "unknown field `colour`"),
        (&taps, "edge", "expected value"),
        ("/api/v1/replay", r#"{"topic":1}"#, "invalid type: integer `1`"),
        ("/api/v1/replay", r#"{"topic":"t","offset":1}"#, "an offset belongs to a partition"),
        ("/api/v1/group/g/reset", "[]", "invalid length 0"),
        ("/api/v1/log-level", r#"{"level":"debug","seconds":0}"#, "1 to 86400 seconds"),
        (&format!("/api/v1/topology/{}/kill/soon", running.id()), "", "a wait is a whole number of seconds"),
    ] {
        let refused = post(&server, path, body);
        assert_eq!(refused.status, 400, "{path} {body}: {}", refused.body);
        assert!(sentence(&refused).contains(says), "{path} {body}: {}", refused.body);
    }
    let get = |path: &str| super::tests::get(server.local_addr(), path);
    for path in ["/api/v1/topic/t/messages?limit=all", "/api/v1/topic/t/message?partition=0"] {
        let refused = get(path);
        assert_eq!(refused.status, 400, "{path}");
        assert!(!sentence(&refused).is_empty());
    }
    assert_eq!(get(&format!("{taps}/first")).status, 400);
    server.shutdown().await;
    running.kill(Duration::from_secs(10)).await.unwrap();
}

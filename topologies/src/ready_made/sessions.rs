//! Visits to a web server: requests of topic `access` that are less than half an hour apart are one visit of their client,
//! each visit a record of topic `sessions`, keyed by client.
//!
//! The time is that of the lines, which may be out of order by ten seconds. A request that comes after its visit was told of
//! goes to topic `sessions.late`; a line that is no request to `access.dead-letter`.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use topo_core::Fail;
use topo_core::window::{Aggregate, Window, session};

use crate::launcher::Application;
use crate::ready_made::access_log::{Request, line};
use crate::streams::{To, ToRecord, packed};

/// How long a client is silent before its visit is over.
pub const GAP: Duration = Duration::from_secs(30 * 60);
/// How much earlier than the line before it a line may be and still count.
pub const DISORDER: Duration = Duration::from_secs(10);

/// One visit of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The client's address or name.
    pub client: String,
    /// From the first request to one gap behind the last.
    pub window: Window,
    /// How many requests there were.
    pub hits: u64,
    /// Bytes of all answers' bodies.
    pub bytes: u64,
    /// Whether the client left after one request.
    pub bounce: bool,
    /// How many results of this visit came before; the last is the one that counts.
    pub revision: u32,
    /// What was told of as visits of their own, and is part of this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Window>,
}

impl ToRecord for Session {
    fn key(&self) -> Result<Option<Bytes>, Fail> {
        packed(&self.client).map(Some)
    }
}

impl ToRecord for Request {
    fn key(&self) -> Result<Option<Bytes>, Fail> {
        packed(&self.client).map(Some)
    }
}

/// Hits and bytes.
#[derive(Debug, Clone, Copy)]
struct Traffic;

impl Aggregate for Traffic {
    type In = Request;
    type Acc = (u64, u64);
    type Out = (u64, u64);

    fn start(&self, first: Request) -> (u64, u64) {
        (1, first.bytes.unwrap_or_default())
    }
    fn merge(&self, traffic: &mut (u64, u64), later: &(u64, u64)) {
        *traffic = (traffic.0.saturating_add(later.0), traffic.1.saturating_add(later.1));
    }
    fn result(&self, traffic: &(u64, u64)) -> (u64, u64) {
        *traffic
    }
}

/// The ready-made sessions, from topic `access` to topics `sessions` and `sessions.late`.
pub fn application() -> Application {
    Application::streams("sessions", |log| {
        let request = |record: &_| Request::parse(&line(record)?.text).map_err(Fail::reject);
        let requests = log.records("access", request).event_time(|request| request.time_ms, DISORDER);
        let visits = requests.key_by(|request| &request.client).window(session(GAP)).aggregate(Traffic);
        let visits = visits.name("visits").tasks(2);
        visits.late().to("sessions.late");
        let sessions = visits.map(|fired| {
            let (hits, bytes) = fired.value;
            let (client, window, replaces) = (fired.key, fired.window, fired.replaces);
            Session { client, window, hits, bytes, bounce: hits == 1, revision: fired.revision, replaces }
        });
        sessions.name("tell").to("sessions");
    })
}

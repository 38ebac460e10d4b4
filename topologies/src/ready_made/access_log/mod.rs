//! Web-server lines to typed requests: lines of topic `access`, in the common or the combined log format, are parsed and
//! written to topic `requests` as MessagePack, keyed by client address.
//!
//! A line that cannot be parsed is rejected: it goes to `access.dead-letter` with the reason, and stops nothing.

mod parse;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use topo_core::log::{Consumed, Record};
use topo_core::{Bolt, Emitter, Fail, Topology};

use crate::launcher::{Application, Environment};
use crate::ready_made::word_count::Line;

pub use parse::ParseError;

/// One request, as a web server logged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The client's address or name.
    pub client: String,
    /// Who the client said it was (RFC 1413); hardly ever known.
    pub ident: Option<String>,
    /// The user that was authenticated.
    pub user: Option<String>,
    /// When the request came, in milliseconds since 1970.
    pub time_ms: i64,
    /// The method, such as `GET`.
    pub method: String,
    /// What was asked for, as it was sent.
    pub path: String,
    /// The protocol, such as `HTTP/1.1`; requests of HTTP/0.9 name none.
    pub protocol: Option<String>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body; `None` where there was none.
    pub bytes: Option<u64>,
    /// The page that led there (combined format).
    pub referer: Option<String>,
    /// The client's program (combined format).
    pub user_agent: Option<String>,
}

impl Request {
    /// Parses a line of the common or the combined log format.
    ///
    /// ```
    /// use topo::ready_made::access_log::Request;
    /// let line = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /logo.gif HTTP/1.0" 200 2326"#;
    /// let request = Request::parse(line)?;
    /// assert_eq!((request.user.as_deref(), request.status, request.bytes), (Some("frank"), 200, Some(2326)));
    /// assert_eq!(request.time_ms, 971_211_336_000);
    /// # Ok::<(), topo::ready_made::access_log::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// [`ParseError`], which names the field that is missing or wrong.
    pub fn parse(line: &str) -> Result<Self, ParseError> {
        parse::request(line)
    }
}

/// Parses lines into requests, and rejects those that are none.
#[derive(Debug, Clone, Copy)]
pub struct Parse;

impl Bolt for Parse {
    type In = Line;
    type Out = Request;

    async fn execute(&mut self, line: Line, out: &mut Emitter<Request>) -> Result<(), Fail> {
        out.emit(Request::parse(&line.text).map_err(Fail::reject)?);
        Ok(())
    }
}

/// A record as a line of text. Bytes that are not UTF-8, as scanners send them, are no request.
///
/// # Errors
/// [`Fail::Reject`] where the value is not UTF-8.
pub fn line(record: &Consumed) -> Result<Line, Fail> {
    let bytes = record.value.as_deref().unwrap_or_default();
    let text = std::str::from_utf8(bytes).map_err(|_| Fail::reject("the line is not UTF-8"))?;
    Ok(Line { text: text.to_owned() })
}

/// A request as a record: MessagePack with named fields, keyed by client, at the time of the request.
pub fn record(request: &Request) -> Record {
    // A struct of strings and numbers always serializes.
    let value = rmp_serde::to_vec_named(request).unwrap_or_default();
    Record {
        key: Some(Bytes::copy_from_slice(request.client.as_bytes())),
        value: Some(Bytes::from(value)),
        timestamp_ms: Some(request.time_ms),
        ..Record::default()
    }
}

fn topology(environment: &Environment) -> Topology {
    let topology = Topology::new("access-log");
    let lines = topology.spout("lines", environment.log_spout("access", line));
    let requests = topology.bolt("parse", || Parse).tasks(2).shuffle(&lines);
    topology.rich_bolt("requests", environment.log_sink("requests", record)).global(&requests);
    topology
}

/// The ready-made access log, from topic `access` to topic `requests`.
pub fn application() -> Application {
    Application::new("access-log", topology).reads("access").writes("requests")
}

//! The page of a topology that runs, asked over HTTP.
//!
//! Invariant: whatever answers at the address, asking ends: after a time, or after so many bytes.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

/// How long a whole answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Far more than a page answers.
const MOST_BYTES: usize = 16 << 20;

/// Where the page of a topology is.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Page {
    /// Where the page of the topology listens, as its banner says
    #[arg(long, env = "TOPO_STATUS", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    status: SocketAddr,
}

/// Why a page did not tell what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// Nobody listens there, or no topology has started yet.
    #[error(
        "no topology is running at {0}; start one with `topo run`, or say with --status ADDR where the page of one is"
    )]
    NotRunning(SocketAddr),
    /// Another one runs there.
    #[error("no topology `{asked}` is running at {at}, but {running}")]
    NotThatOne {
        /// The page.
        at: SocketAddr,
        /// The name or id asked for.
        asked: String,
        /// The ids of those there are.
        running: String,
    },
    /// Several run there.
    #[error("several topologies are running at {at}: {running}; say which")]
    WhichOne {
        /// The page.
        at: SocketAddr,
        /// Their ids.
        running: String,
    },
    /// It is something else, or an older topo.
    #[error("what answers at {at} is no page of a topology ({reason}); say with --status ADDR where one is")]
    NoPage {
        /// The address.
        at: SocketAddr,
        /// What it did instead.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Summaries {
    topologies: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    id: String,
    name: String,
}

impl Page {
    /// The id of the topology that is called `asked`, by name or id; where nothing is asked, of the one that runs.
    ///
    /// # Errors
    /// [`PageError`].
    pub(crate) async fn topology(&self, asked: Option<&str>) -> Result<String, PageError> {
        let Summaries { mut topologies } = self.json(&self.get("/api/v1/topology/summary").await?)?;
        let at = self.status;
        let ids: Vec<&str> = topologies.iter().map(|one| &*one.id).collect();
        let running = ids.join(", ");
        if topologies.is_empty() {
            return Err(PageError::NotRunning(at));
        }
        if let Some(asked) = asked {
            topologies.retain(|one| one.id == asked || one.name == asked);
        }
        match topologies.len() {
            0 => Err(PageError::NotThatOne { at, asked: asked.unwrap_or_default().to_owned(), running }),
            1 => Ok(topologies.remove(0).id),
            _ => Err(PageError::WhichOne { at, running }),
        }
    }

    /// What the page answers at `path`, if it answers well.
    ///
    /// # Errors
    /// [`PageError::NotRunning`] or [`PageError::NoPage`].
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, PageError> {
        let (status, body) = self.ask_for(path).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(self.no_page(format!("it answers {status} for {path}")))
        }
    }

    /// What the page answers at `path`, well or not.
    ///
    /// # Errors
    /// [`PageError::NotRunning`] or [`PageError::NoPage`].
    pub(crate) async fn ask_for(&self, path: &str) -> Result<(StatusCode, Bytes), PageError> {
        let Ok(stream) = TcpStream::connect(self.status).await else {
            return Err(PageError::NotRunning(self.status));
        };
        match tokio::time::timeout(PATIENCE, self.ask(stream, path)).await {
            Ok(answered) => answered.map_err(|reason| self.no_page(reason)),
            Err(_) => Err(self.no_page(format!("it says nothing for {PATIENCE:?}"))),
        }
    }

    async fn ask(&self, stream: TcpStream, path: &str) -> Result<(StatusCode, Bytes), String> {
        let said = |error: hyper::Error| error.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
        let request = Request::get(path).header(HOST, self.status.to_string()).body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(said)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        // The connection is worked on while the answer is waited for; it may end first, with the answer's last bytes.
        let mut answer = pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    /// An answer as what it should be.
    ///
    /// # Errors
    /// [`PageError::NoPage`].
    pub(crate) fn json<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, PageError> {
        serde_json::from_slice(answer).map_err(|error| self.no_page(error.to_string()))
    }

    fn no_page(&self, reason: String) -> PageError {
        PageError::NoPage { at: self.status, reason }
    }
}

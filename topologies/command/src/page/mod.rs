//! The page of a topology that runs, asked over HTTP.
//!
//! Invariant: whatever answers at the address, asking ends: after a time, or after so many bytes.

mod address;
mod connection;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use topo::launcher::{KnownRun, runs};
use topo::status::Secret;

use self::address::{Address, NoAddress};
use self::connection::{NoAnswer, Trust};
use crate::lines::shown;

/// How long a whole answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters that are repeated of what is no sentence of an API.
const MOST_SAID: usize = 300;

/// What tells which topologies a page has.
pub(crate) const SUMMARY: &str = "/api/v1/topology/summary";

/// Where the page of a topology is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Page {
    /// Where the page of the topology listens, as its banner says; without it, the topologies that you run on this machine
    /// are looked at
    #[arg(long, env = "TOPO_STATUS", value_name = "ADDR")]
    status: Option<StatusAt>,
    /// What the page asks of everybody, where it does and is none of a topology that you run on this machine
    #[arg(long, env = "TOPO_STATUS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    status_token: Option<Secret>,
    /// The certificates, in PEM, by which that of an https:// page is known
    #[arg(long, env = "TOPO_STATUS_CA", value_name = "FILE")]
    status_ca: Option<PathBuf>,
}

/// What `--status` says. A command shares its variable with the runs, which may have been told to have no page.
#[derive(Debug, Clone)]
enum StatusAt {
    Off,
    At(Address),
}

impl FromStr for StatusAt {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        if text == "off" { Ok(Self::Off) } else { text.parse().map(Self::At) }
    }
}

/// A page that is found, to be asked.
#[derive(Debug, Clone)]
pub(crate) struct PageAt {
    address: Address,
    /// What it is shown with every request.
    token: Option<String>,
    trust: Option<PathBuf>,
}

/// Why a page did not tell what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    /// Nobody listens there, or no topology has started yet.
    #[error(
        "no topology is running at {0}; start one with `topo run`, or say with --status ADDR where the page of one is"
    )]
    NotRunning(String),
    /// Another one runs there.
    #[error("no topology `{asked}` is running at {at}, but {running}")]
    NotThatOne {
        /// The page.
        at: String,
        /// The name or id asked for.
        asked: String,
        /// The ids of those there are.
        running: String,
    },
    /// None of that name runs on this machine.
    #[error("no topology `{asked}` of yours is running on this machine, but {running}")]
    NotHere {
        /// The name or id asked for.
        asked: String,
        /// The ids of those there are.
        running: String,
    },
    /// Several run there.
    #[error("several topologies are running at {at}: {running}; say which")]
    WhichOne {
        /// The page, or the machine.
        at: String,
        /// Their ids.
        running: String,
    },
    /// It is something else, or an older topo.
    #[error("what answers at {at} is no page of a topology ({reason}); say with --status ADDR where one is")]
    NoPage {
        /// The address.
        at: String,
        /// What it did instead.
        reason: String,
    },
    /// It asks for a token that it was not shown.
    #[error("the page at {0} asks for its token; give it with TOPO_STATUS_TOKEN")]
    NoToken(String),
    /// It takes changes from who shows a token only.
    #[error(
        "the page at {0} is changed by who shows its token: be the user who runs the topology, on the same machine, or give \
         TOPO_STATUS_TOKEN as the topology was started with it"
    )]
    NoChange(String),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    error: String,
    error_message: Option<String>,
}

impl Page {
    /// The page of the topology that is called `asked`, by name or id, and its id; where nothing is asked, of the one that
    /// runs.
    ///
    /// # Errors
    /// [`PageError`].
    pub(crate) async fn topology(&self, asked: Option<&str>) -> Result<(PageAt, String), PageError> {
        let page = self.find(asked)?;
        let id = page.topology(asked).await?;
        Ok((page, id))
    }

    /// The page that is meant.
    fn find(&self, asked: Option<&str>) -> Result<PageAt, PageError> {
        // Where the directory of runs cannot be read, none is known.
        let known = runs().unwrap_or_default();
        if let Some(page) = self.named(&known) {
            return Ok(page);
        }
        let ids: Vec<&str> = known.iter().map(|run| &*run.id).collect();
        let running = ids.join(", ");
        let is_asked = |run: &KnownRun| asked.is_none_or(|asked| run.id == asked || run.name == asked);
        let mut found: Vec<(Address, KnownRun)> = (known.iter().filter(|run| is_asked(run)))
            .filter_map(|run| Some((Address::of(&run.page)?, run.clone())))
            .collect();
        match (found.len(), asked) {
            (1, _) => {
                let (address, run) = found.remove(0);
                Ok(self.at(address, Some(run)))
            }
            (0, Some(asked)) if !ids.is_empty() => {
                Err(PageError::NotHere { asked: asked.to_owned(), running })
            }
            (0, _) => Ok(self.at(Address::usual(), None)),
            _ => Err(PageError::WhichOne { at: "this machine".to_owned(), running }),
        }
    }

    /// The page that `--status` names, if it does: the one of a run among those that are `known`, or another.
    pub(crate) fn named(&self, known: &[KnownRun]) -> Option<PageAt> {
        let Some(StatusAt::At(address)) = &self.status else { return None };
        let at = |run: &&KnownRun| Address::of(&run.page);
        // Another topology may listen at another of this machine's own addresses.
        let exact = known.iter().find(|run| at(run).as_ref() == Some(address));
        let run = exact.or_else(|| known.iter().find(|run| at(run).is_some_and(|at| at.is(address))));
        Some(self.at(address.clone(), run.cloned()))
    }

    /// A run's own token is surely right; the one that is given may be another topology's.
    fn at(&self, address: Address, run: Option<KnownRun>) -> PageAt {
        let given = || self.status_token.as_ref().map(|token| token.reveal().to_owned());
        let token = run.map(|run| run.token).or_else(given);
        PageAt { address, token, trust: self.status_ca.clone() }
    }

    /// The page of a run on this machine.
    pub(crate) fn of_run(&self, run: &KnownRun) -> Option<PageAt> {
        Address::of(&run.page).map(|address| self.at(address, Some(run.clone())))
    }
}

impl PageAt {
    async fn topology(&self, asked: Option<&str>) -> Result<String, PageError> {
        let Summaries { mut topologies } = self.json(&self.get(SUMMARY).await?)?;
        let at = self.address.to_string();
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

    /// A page on this machine that asks for no token.
    pub(crate) fn open(at: SocketAddr) -> Self {
        let address = Address { host: at.ip().to_string(), port: at.port(), is_tls: false };
        Self { address, token: None, trust: None }
    }

    /// Where a browser finds it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.address.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address.authority())
    }

    /// What the page answers at `path`, if it answers well.
    ///
    /// # Errors
    /// [`PageError`].
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, PageError> {
        let answer = self.ask_for(path).await?;
        self.good(path, answer)
    }

    /// An answer of [`ask_for`](Self::ask_for), if it is a good one.
    ///
    /// # Errors
    /// [`PageError`].
    pub(crate) fn good(&self, path: &str, answer: (StatusCode, Bytes)) -> Result<Bytes, PageError> {
        match answer {
            (status, body) if status.is_success() => Ok(body),
            (StatusCode::UNAUTHORIZED, _) => Err(PageError::NoToken(self.address.to_string())),
            (StatusCode::FORBIDDEN, body) => Err(self.no_page(foreign(&body))),
            (status, _) => Err(self.no_page(format!("it answers {status} for {path}"))),
        }
    }

    /// Has the page change something; gives what it answers.
    ///
    /// # Errors
    /// [`PageError`].
    pub(crate) async fn post(&self, path: &str) -> Result<Bytes, PageError> {
        let (status, body) = self.ask(Method::POST, path).await?;
        if status.is_success() {
            return Ok(body);
        }
        match (status, serde_json::from_slice::<Said>(&body)) {
            (StatusCode::UNAUTHORIZED, _) => Err(PageError::NoToken(self.address.to_string())),
            (StatusCode::FORBIDDEN, Ok(_)) => Err(PageError::NoChange(self.address.to_string())),
            (StatusCode::FORBIDDEN, Err(_)) => Err(self.no_page(foreign(&body))),
            (_, Ok(said)) => Err(PageError::Refused(said.error_message.unwrap_or(said.error))),
            (_, Err(_)) => Err(self.no_page(format!("it answers {status} for {path}"))),
        }
    }

    /// What the page answers at `path`, well or not.
    ///
    /// # Errors
    /// [`PageError::NotRunning`] or [`PageError::NoPage`].
    pub(crate) async fn ask_for(&self, path: &str) -> Result<(StatusCode, Bytes), PageError> {
        self.ask(Method::GET, path).await
    }

    async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), PageError> {
        let trust = Trust { file: self.trust.as_deref() };
        let asking = connection::ask(&self.address, trust, method, path, self.token.as_deref());
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(NoAnswer::NotThere)) => Err(PageError::NotRunning(self.address.to_string())),
            Ok(Err(NoAnswer::Other(reason))) => Err(self.no_page(reason)),
            Err(_) => Err(self.no_page(format!("it says nothing for {PATIENCE:?}"))),
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
        PageError::NoPage { at: self.address.to_string(), reason }
    }
}

/// What a page says to who addresses it by a name that is not its own.
fn foreign(body: &[u8]) -> String {
    let said: String = String::from_utf8_lossy(body).chars().take(MOST_SAID).collect();
    shown(said.trim())
}

/// Text as a part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

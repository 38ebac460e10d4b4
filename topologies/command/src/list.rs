//! `topo list`: the topologies that run on this machine, or at a page that is named.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::{Deserialize, Serialize};
use topo::launcher::{KnownRun, runs};

use crate::describe::none;
use crate::failure::Failure;
use crate::json;
use crate::lines::{ago, shown};
use crate::page::{Page, SUMMARY};

/// Said below the verb's help.
const HELP: &str = "\
Each run with a page has a file in a directory of yours: TOPO_RUNTIME_DIR, or `topo` in XDG_RUNTIME_DIR, or `topo-UID` among \
the temporary files. What an ended run left there is removed. With --status, the topologies of that page are listed, wherever it \
is.";

/// `topo list`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: Page,
}

/// A run as it is listed: all but its token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: String,
    name: String,
    /// `null` where it is not known to this machine, as one elsewhere.
    pid: Option<u32>,
    page: String,
    started_ms: i64,
    /// What its page says; `null` where it says nothing.
    status: Option<String>,
}

#[derive(Deserialize)]
struct Summaries {
    topologies: Vec<Summary>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: String,
    name: String,
    status: String,
    uptime_seconds: u32,
}

impl List {
    /// Prints to standard output.
    ///
    /// # Errors
    /// Where the runs cannot be looked at, and those of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let listed = self.listed(runs().map_err(Failure::Runs)?).await?;
        let mut out = io::stdout().lock();
        let written = if self.json {
            json::line(&mut out, &serde_json::json!({ "topologies": listed }))
        } else {
            out.write_all(text(&listed).as_bytes())
        };
        written.map_err(Failure::Output)
    }

    async fn listed(&self, known: Vec<KnownRun>) -> Result<Vec<Listed>, Failure> {
        let mut listed = Vec::new();
        if let Some(page) = self.page.named(&known) {
            let Summaries { topologies } = page.json(&page.get(SUMMARY).await?)?;
            for Summary { id, name, status, uptime_seconds } in topologies {
                let run = known.iter().find(|run| run.id == id);
                let started_ms = now_ms() - i64::from(uptime_seconds) * 1_000;
                listed.push(Listed {
                    id,
                    name,
                    pid: run.map(|run| run.pid),
                    page: run.map_or_else(|| page.url(), |run| run.page.clone()),
                    started_ms: run.map_or(started_ms, |run| run.started_ms),
                    status: Some(status),
                });
            }
            return Ok(listed);
        }
        for run in known {
            let status = self.status(&run).await;
            let KnownRun { id, name, pid, page, started_ms, .. } = run;
            listed.push(Listed { id, name, pid: Some(pid), page, started_ms, status });
        }
        Ok(listed)
    }

    async fn status(&self, run: &KnownRun) -> Option<String> {
        let page = self.page.of_run(run)?;
        let Summaries { topologies } = page.json(&page.get(SUMMARY).await.ok()?).ok()?;
        topologies.into_iter().find(|one| one.id == run.id).map(|one| one.status)
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn text(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "no topology of yours is running on this machine\n".to_owned();
    }
    let now_ms = now_ms();
    let width =
        listed.iter().map(|one| one.id.chars().count()).max().unwrap_or_default().max("TOPOLOGY".len());
    let mut text = format!("{:<width$} {:<9} {:>8} {:>8} PAGE\n", "TOPOLOGY", "STATUS", "PID", "UP");
    for one in listed {
        let status = one.status.as_deref().unwrap_or("silent");
        let pid = one.pid.map_or_else(none, |pid| pid.to_string());
        let up = ago(now_ms - one.started_ms);
        let (id, page) = (shown(&one.id), shown(&one.page));
        text.push_str(&format!("{id:<width$} {:<9} {pid:>8} {up:>8} {page}\n", shown(status)));
    }
    text
}

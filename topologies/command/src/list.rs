//! `topo list`: the topologies that run on this machine.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::{Deserialize, Serialize};
use topo::launcher::{KnownRun, runs};

use crate::failure::Failure;
use crate::json;
use crate::lines::{ago, shown};
use crate::page::Page;

/// Said below the verb's help.
const HELP: &str = "\
Each run with a page has a file in a directory of yours: TOPO_RUNTIME_DIR, or `topo` in XDG_RUNTIME_DIR, or `topo-UID` among \
the temporary files. What an ended run left there is removed.";

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
    pid: u32,
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
struct Summary {
    id: String,
    status: String,
}

impl List {
    /// Prints to standard output.
    ///
    /// # Errors
    /// Where the runs cannot be looked at, and those of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut listed = Vec::new();
        for run in runs().map_err(Failure::Runs)? {
            let status = self.status(&run).await;
            let KnownRun { id, name, pid, page, started_ms, .. } = run;
            listed.push(Listed { id, name, pid, page, started_ms, status });
        }
        let mut out = io::stdout().lock();
        let written = if self.json {
            json::line(&mut out, &serde_json::json!({ "topologies": listed }))
        } else {
            out.write_all(text(&listed).as_bytes())
        };
        written.map_err(Failure::Output)
    }

    async fn status(&self, run: &KnownRun) -> Option<String> {
        let page = self.page.of_run(run)?;
        let Summaries { topologies } = page.json(&page.get("/api/v1/topology/summary").await.ok()?).ok()?;
        topologies.into_iter().find(|one| one.id == run.id).map(|one| one.status)
    }
}

fn text(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "no topology of yours is running on this machine\n".to_owned();
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let width =
        listed.iter().map(|one| one.id.chars().count()).max().unwrap_or_default().max("TOPOLOGY".len());
    let mut text = format!("{:<width$} {:<9} {:>8} {:>8} PAGE\n", "TOPOLOGY", "STATUS", "PID", "UP");
    for one in listed {
        let status = one.status.as_deref().unwrap_or("silent");
        let up = ago(now_ms - one.started_ms);
        let (id, page) = (shown(&one.id), shown(&one.page));
        text.push_str(&format!("{id:<width$} {:<9} {:>8} {up:>8} {page}\n", shown(status), one.pid));
    }
    text
}

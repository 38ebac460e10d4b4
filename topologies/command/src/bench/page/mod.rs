//! The status page as workload: how long each thing that can be asked takes, and what of a processor core one viewer costs.
//!
//! The page is that of a topology which works: its records come from a topic of many partitions and go through a tree of many
//! bolts. What a viewer costs is the processor time of the page's thread, which does all of the page's work, while one stream of
//! events is read, with what it takes when nobody looks beside it.

mod subject;
mod viewer;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use topo::status::StatusServer;

use self::subject::Subject;
use self::viewer::{Share, views, watch};
use super::print;
use crate::failure::Failure;
use crate::page::PageAt;

/// How to measure it.
#[derive(Debug, Args)]
pub(super) struct PageBench {
    /// Components of the topology
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    components: u32,
    /// Partitions of the topic that it reads
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    partitions: u32,
    /// Records that it gets in a second; each leads to an execute in every bolt
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How often each request is made
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
    /// How long each view is watched
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    seconds: f64,
    /// Where to write: into a directory of its own there, which is removed at the end
    #[arg(long, default_value = ".", value_name = "DIR")]
    data_dir: PathBuf,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// What a line tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
enum Row {
    /// A request, with a connection of its own.
    Request { path: String, p50_ms: f64, max_ms: f64, kib: f64 },
    /// A view, as one viewer is told it; none where nobody looks.
    Viewer { view: Option<&'static str>, core_percent: Option<f64>, kib_per_second: f64 },
}

impl PageBench {
    /// Measures, and prints each line as it is there.
    ///
    /// # Errors
    /// [`Failure`]: the log, the topology or the page refused, or nobody reads.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let dir = tempfile::Builder::new().prefix("topo-bench-").tempdir_in(&self.data_dir);
        let dir = dir.map_err(Failure::System)?;
        let subject = Arc::new(Subject::start(dir.path(), self.components, self.partitions).await?);
        let feeding = tokio::spawn({
            let (subject, rate) = (Arc::clone(&subject), self.rate);
            async move { subject.feed(rate).await }
        });
        let measured = self.measure(&subject).await;
        feeding.abort();
        // What it was doing is over, or dropped.
        let _ = feeding.await;
        let stopped = subject.stop().await;
        measured?;
        stopped
    }

    async fn measure(&self, subject: &Arc<Subject>) -> Result<(), Failure> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = StatusServer::bind(at, Arc::clone(subject) as _)
            .map_err(|error| Failure::Topology(error.to_string()))?;
        let page = PageAt::open(server.local_addr());
        subject.is_at_work(&page).await?;
        // Who looks sees the windows of ten seconds filled.
        tokio::time::sleep(Duration::from_secs_f64(self.seconds.clamp(0.0, 10.0))).await;
        for path in subject.paths(&page).await? {
            self.tell(&self.request(&page, path).await?)?;
        }
        let seconds = Duration::from_secs_f64(self.seconds.clamp(0.1, 3_600.0));
        self.tell(&row(None, watch(server.local_addr(), None, seconds).await?))?;
        for (view, query) in views(subject.id()) {
            self.tell(&row(Some(view), watch(server.local_addr(), Some(&query), seconds).await?))?;
        }
        server.shutdown().await;
        Ok(())
    }

    async fn request(&self, page: &PageAt, path: String) -> Result<Row, Failure> {
        let (mut times, mut bytes) = (Vec::new(), 0);
        for _ in 0..self.requests {
            let begun = Instant::now();
            bytes = page.get(&path).await?.len();
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let (p50_ms, max_ms) = (times[times.len() / 2], times[times.len() - 1]);
        Ok(Row::Request { path, p50_ms, max_ms, kib: bytes as f64 / 1_024.0 })
    }

    fn tell(&self, row: &Row) -> Result<(), Failure> {
        if self.json {
            let json = serde_json::to_string(row).map_err(|error| Failure::System(error.into()))?;
            return print(&json);
        }
        match row {
            Row::Request { path, p50_ms, max_ms, kib } => {
                print(&format!("{path}: {p50_ms:.1} ms, at most {max_ms:.1} ms, {kib:.0} KiB"))
            }
            Row::Viewer { view, core_percent, kib_per_second } => {
                let who =
                    view.map_or_else(|| "nobody watching".to_owned(), |view| format!("watching {view}"));
                let share =
                    core_percent.map_or_else(|| "unknown".to_owned(), |percent| format!("{percent:.2}%"));
                print(&format!("{who}: {share} of a core, {kib_per_second:.0} KiB/s"))
            }
        }
    }
}

fn row(view: Option<&'static str>, share: Share) -> Row {
    Row::Viewer { view, core_percent: share.core_percent, kib_per_second: share.kib_per_second }
}

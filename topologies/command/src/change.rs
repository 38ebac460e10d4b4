//! `topo pause`, `topo resume` and `topo kill`: what may be done to a topology that runs.

use std::io::{self, Write};

use clap::Args;

use crate::failure::Failure;
use crate::lines::shown;
use crate::page::{Page, encoded};

/// Which topology, and how what came of it is told.
#[derive(Debug, Args)]
struct Of {
    /// The topology's name or id; may be left out where one is running
    topology: Option<String>,
    /// Print what the page answers, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: Page,
}

/// `topo pause`.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    of: Of,
}

/// `topo resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    of: Of,
}

/// `topo kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// How many seconds what is under way has to complete
    #[arg(short, long, value_name = "SECS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=86_400))]
    wait: u32,
    #[command(flatten)]
    of: Of,
}

impl Pause {
    /// Pauses, and says so on standard output.
    ///
    /// # Errors
    /// Those of the page and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.of.change("deactivate", "is paused").await
    }
}

impl Resume {
    /// Resumes, and says so on standard output.
    ///
    /// # Errors
    /// Those of the page and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.of.change("activate", "goes on").await
    }
}

impl Kill {
    /// Has the topology end, and says so on standard output.
    ///
    /// # Errors
    /// Those of the page and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        self.of.change(&format!("kill/{}", self.wait), "ends").await
    }
}

impl Of {
    async fn change(&self, path: &str, done: &str) -> Result<(), Failure> {
        let (page, id) = self.page.topology(self.topology.as_deref()).await?;
        let answer = page.post(&format!("/api/v1/topology/{}/{path}", encoded(&id))).await?;
        let mut out = io::stdout().lock();
        let written = if self.json {
            out.write_all(&answer).and_then(|()| out.write_all(b"\n"))
        } else {
            writeln!(out, "{} {done}", shown(&id))
        };
        written.map_err(Failure::Output)
    }
}

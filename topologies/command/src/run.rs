//! `topo run`: a ready-made topology, until it is told to stop or its input is done.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use topo::launcher::{self, RunOptions};

use crate::failure::Failure;

/// `topo run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Which topology
    name: ReadyMade,
    #[command(flatten)]
    options: RunOptions,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ReadyMade {
    /// Counts the words of topic `lines` into topic `counts`
    WordCount,
}

impl Run {
    /// Runs the topology and prints its summary.
    ///
    /// # Errors
    /// The launcher's, and [`Failure::Lost`] where a record ran out of attempts or `--until-idle` was cut short.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let application = match self.name {
            ReadyMade::WordCount => topo::word_count::application(),
        };
        let until_idle = self.options.until_idle;
        let summary = launcher::run(application, self.options).await?;
        write!(io::stdout(), "{summary}").map_err(Failure::Output)?;
        if !summary.is_good() {
            return Err(Failure::Exhausted(summary.exhausted));
        }
        if until_idle && !summary.idle { Err(Failure::CutShort) } else { Ok(()) }
    }
}

//! `topo run`: a ready-made topology, until it is told to stop or its input is done.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use topo::launcher::{self, RunOptions};

use crate::failure::Failure;

/// Said below the verb's help.
const HELP: &str = "\
Examples:
  topo run word-count --input README.md --until-idle   count a file's words, print a summary, end
  tail -F app.log | topo run word-count --input -      count what comes, until Ctrl-C
  topo run word-count                                  go on with what the topic holds and receives

Ctrl-C, or SIGTERM, stops in order: what is under way is finished first; a second one does not wait for it. Exit codes: 0 \
done or stopped as asked; 1 a record ran out of attempts, --until-idle was cut short, or the storage failed; 2 something \
to put right, said in a sentence.";

/// `topo run`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct Run {
    /// Which topology
    #[arg(value_name = "TOPOLOGY")]
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
    /// The launcher's, [`Failure::Exhausted`] where a record ran out of attempts, and [`Failure::CutShort`] where
    /// `--until-idle` was cut short.
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

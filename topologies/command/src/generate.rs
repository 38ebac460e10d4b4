//! `topo generate`: events of which the truth is known, in the log exactly once.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use topo::ready_made::telecom::{Generator, Truth};

use crate::failure::Failure;
use crate::place::{self, Place};
use crate::progress::Progress;

/// `topo generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A day of a mobile network, for `topo run telecom`: uses of the network into topic `network`, who the subscribers are
    /// into topic `subscribers`
    Telecom(Telecom),
}

/// `topo generate telecom`.
#[derive(Debug, Args)]
#[command(after_help = format!("\
The same seed and number of events are always the same day. Killed at any moment and started again, the command goes on: \
every event is in the log once. Events come out of order, some of them late. With --truth the command also writes what the \
last results of each key and window have to be, added up from what happened and not by the topology's code: lines of JSON.\
\n\n{}", place::HELP))]
struct Telecom {
    /// How many uses of the network there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    events: u64,
    /// Which day it is: seed N is the Nth day from the beginning of 2025 on, and larger seeds may follow smaller ones
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Write what the results have to be to this file, once all events are in the log
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Generate {
    /// Writes the events, and prints how many there are.
    ///
    /// # Errors
    /// Those of the log, of the file and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Telecom(telecom) => telecom.run().await,
        }
    }
}

impl Telecom {
    async fn run(self) -> Result<(), Failure> {
        let opened = self.place.create().await?;
        let mut progress = Progress::new(None, &io::stdin());
        let written =
            Generator::new(self.seed, self.events).write(&*opened.log, |more| progress.add(more)).await;
        drop(progress);
        let written = opened.close(written.map_err(Failure::from)).await?;
        if let Some(path) = &self.truth {
            write(path, &written.truth).map_err(|source| Failure::Truth { path: path.clone(), source })?;
        }
        let (new, held) = (written.written, written.held);
        writeln!(io::stdout(), "generated {} records: {new} appended, {held} in the log already", new + held)
            .map_err(Failure::Output)
    }
}

fn write(path: &Path, truth: &Truth) -> io::Result<()> {
    truth.write(BufWriter::new(File::create(path)?))
}

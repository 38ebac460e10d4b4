//! The `topo` command.
//!
//! Invariant: what a user can cause ends with one sentence on stderr and exit code 2; a reader that closes the pipe
//! ends the command with success.

mod bench;
mod consume;
mod data_dir;
mod failure;
mod format;
mod logging;
mod produce;
mod run;
mod start_at;
mod topic;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Stream processing on a log that speaks Kafka.
#[derive(Debug, Parser)]
#[command(name = "topo", version, after_help = logging::HELP)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a topology, until it is told to stop or its input is done
    Run(run::Run),
    /// Create, list, describe and delete topics
    Topic(topic::Topic),
    /// Append the lines of standard input to a topic
    Produce(produce::Produce),
    /// Print a topic's records
    Consume(consume::Consume),
    /// Measure a workload on this machine
    Bench(bench::Bench),
}

impl Verb {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Verb::Run(run) => run.run().await,
            Verb::Topic(topic) => topic.run().await,
            Verb::Produce(produce) => produce.run().await,
            Verb::Consume(consume) => consume.run().await,
            Verb::Bench(bench) => bench.run().await,
        }
    }
}

fn main() -> ExitCode {
    let command = Command::parse();
    let ended = logging::start().and_then(|()| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::System)?;
        let ended = runtime.block_on(command.verb.run());
        // A thread may still wait for standard input; nothing of its is wanted any more.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // Where stderr is closed, the exit code has to do.
            let _ = writeln!(io::stderr(), "error: {failure}");
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Command::command().debug_assert();
    }
}

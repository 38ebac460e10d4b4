//! The `topo` command.
//!
//! Invariant: what a user can cause ends with one sentence on stderr and exit code 2; a reader that closes the pipe
//! ends the command with success.

mod bench;
mod broker;
mod consume;
mod data_dir;
mod descriptors;
mod errors;
mod failure;
mod follow;
mod format;
mod generate;
mod group;
mod json;
mod lines;
mod message_pack;
mod new;
mod page;
mod partitions;
mod place;
mod produce;
mod progress;
mod query;
mod replay;
mod run;
mod start_at;
mod topic;
mod user_crate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use topo::launcher::{self, LOGGING_HELP};

use crate::failure::Failure;

/// Stream processing on a log that speaks Kafka.
#[derive(Debug, Parser)]
#[command(name = "topo", version, after_help = LOGGING_HELP)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a topology, until it is told to stop or its input is done
    Run(run::Run),
    /// Begin a topology of your own: a crate with a first bolt and its test
    New(new::New),
    /// Create, list, describe and delete topics
    Topic(topic::Topic),
    /// Append the lines of standard input to a topic
    Produce(produce::Produce),
    /// Write events of which the truth is known, for a ready-made topology to work on
    Generate(generate::Generate),
    /// Print a topic's records
    Consume(consume::Consume),
    /// List, describe, reset and delete consumer groups
    Group(group::Group),
    /// Feed dead letters in again
    Replay(replay::Replay),
    /// Tell what went wrong in a topology that runs: its dead letters by cause, and errors
    Errors(errors::Errors),
    /// Tell what a topology that runs keeps for a key, or which states it has
    Query(query::Query),
    /// Serve the log in Kafka's protocol, alone, until it is told to stop
    Broker(broker::Broker),
    /// Measure a workload on this machine
    Bench(bench::Bench),
}

impl Verb {
    async fn run(self) -> Result<(), Failure> {
        descriptors::raise();
        match self {
            Verb::Run(run) => run.run().await,
            Verb::New(new) => new.run(),
            Verb::Topic(topic) => topic.run().await,
            Verb::Produce(produce) => produce.run().await,
            Verb::Generate(generate) => generate.run().await,
            Verb::Consume(consume) => consume.run().await,
            Verb::Group(group) => group.run().await,
            Verb::Broker(broker) => broker.run().await,
            Verb::Replay(replay) => replay.run().await,
            Verb::Errors(errors) => errors.run().await,
            Verb::Query(query) => query.run().await,
            Verb::Bench(bench) => bench.run().await,
        }
    }
}

fn main() -> ExitCode {
    launcher::process(Command::parse().verb.run())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Command::command().debug_assert();
    }
}

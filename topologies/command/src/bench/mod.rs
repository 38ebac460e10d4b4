//! `topo bench`: what this machine gives, workload by workload.

mod identity;
mod log;
mod page;
mod pipeline;
mod windowed_word_count;
mod word_count;
mod word_count_topics;

use std::io::{self, Write};

use clap::{Args, Subcommand};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use self::log::LogBench;
use self::page::PageBench;
use self::pipeline::{Meter, Pipeline};
use self::windowed_word_count::Windowed;
use self::word_count_topics::WordCountTopics;
use crate::failure::Failure;

/// Measure a workload on this machine
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to run
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Subcommand)]
enum Workload {
    /// In-memory spout → identity bolt → null sink, a task each; 16-byte records
    Identity(Pipeline),
    /// In-memory sentences → split → two counters by word; counts words
    WordCount(Pipeline),
    /// The same words in event time, counted in windows that begin every second; counts words
    WindowedWordCount(Windowed),
    /// Word count from topic to topic, at least once or exactly once: its rate, and how long a record takes
    WordCountTopics(WordCountTopics),
    /// Produce to and fetch from the log, over TCP and in process, beside what disk and loopback give
    Log(LogBench),
    /// The status page of a topology with many components and partitions: each request, and what a viewer costs
    Page(PageBench),
}

impl Bench {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        match self.workload {
            Workload::Identity(pipeline) => pipeline.run("identity", identity::topology).await,
            Workload::WordCount(pipeline) => pipeline.run("word-count", word_count::topology).await,
            Workload::WindowedWordCount(windowed) => windowed.run().await,
            Workload::WordCountTopics(topics) => topics.run().await,
            Workload::Log(log) => log.run().await,
            Workload::Page(page) => page.run().await,
        }
    }
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(Failure::Output)
}

/// The processor time of this process so far.
fn cpu_seconds() -> Result<f64, Failure> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|error| Failure::System(error.into()))?;
    Ok((usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6)
}

//! A windowed word count, staged: one spout cycles ten sentences in event time, one bolt splits them, and two tasks count
//! the words of each window, one of which begins every second.
//!
//! A word costs one look-up of its key and one update of a slice, however long the windows are; each second of event time,
//! each of the 68 words gives a result, put together from slices: one merge per slice up to three windows over a record,
//! about three merges from four on. A result is a tree of its own.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use compact_str::CompactString;
use topo_core::{
    Bolt, DataStream, Emitter, EventTime, Fail, Fault, Next, Spout, SpoutEmitter, Timed, Topology, Watermark,
};

use super::pipeline::{Meter, Pipeline};
use super::word_count::SENTENCES;
use crate::failure::Failure;

/// How the windows lie.
#[derive(Debug, Args)]
pub(super) struct Windowed {
    /// How long a window is, in seconds of event time; one begins every second
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    window: u64,
    /// Sentences per second of event time
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sentences: u64,
    #[command(flatten)]
    pipeline: Pipeline,
}

impl Windowed {
    /// Runs it, and prints what it gave; the records are words.
    ///
    /// # Errors
    /// [`Failure`]: the topology did not run, or nobody reads.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { window, sentences, mut pipeline } = self;
        pipeline.window_seconds = Some(window);
        let topology = |meter: &Arc<Meter>| topology(meter, Duration::from_secs(window), sentences);
        pipeline.run("windowed-word-count", topology).await
    }
}

struct Sentences {
    sentences: Vec<Arc<str>>,
    next: u64,
    /// Sentences of one second.
    per_second: u64,
    meter: Arc<Meter>,
}

impl Sentences {
    /// When the next sentence is said, in milliseconds since 1970.
    fn at(&self) -> i64 {
        let (seconds, rest) = (self.next / self.per_second, self.next % self.per_second);
        (1_000 * seconds + 1_000 * rest / self.per_second).cast_signed()
    }
}

impl Spout for Sentences {
    type Out = Timed<Arc<str>>;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<Timed<Arc<str>>, u64>) -> Result<Next, Fault> {
        if self.next.is_multiple_of(64) && self.meter.is_over(self.next) {
            return Ok(Next::Finished);
        }
        let sentence = &self.sentences[self.next as usize % self.sentences.len()];
        out.emit_with(self.next, Timed { at: self.at(), value: Arc::clone(sentence) })?;
        self.next += 1;
        Ok(Next::Emitted)
    }

    fn watermark(&self) -> Option<EventTime> {
        // It goes behind what was emitted, and nothing is replayed here.
        Some(EventTime::at(Watermark(self.at())))
    }
}

struct Split {
    seen: u64,
    meter: Arc<Meter>,
}

impl Bolt for Split {
    type In = Timed<Arc<str>>;
    type Out = Timed<CompactString>;

    async fn execute(&mut self, sentence: Self::In, out: &mut Emitter<Self::Out>) -> Result<(), Fail> {
        for word in sentence.value.split(' ') {
            out.emit(Timed { at: sentence.at, value: CompactString::new(word) });
            self.seen += 1;
        }
        Ok(())
    }

    async fn cleanup(&mut self) {
        self.meter.count(self.seen);
    }
}

fn topology(meter: &Arc<Meter>, window: Duration, per_second: u64) -> Topology {
    let topology = Topology::new("windowed-word-count");
    let (at_spout, at_split) = (Arc::clone(meter), Arc::clone(meter));
    let sentences = topology.spout("sentences", move || Sentences {
        sentences: SENTENCES.iter().map(|&sentence| sentence.into()).collect(),
        next: 0,
        per_second,
        meter: Arc::clone(&at_spout),
    });
    let split = move || Split { seen: 0, meter: Arc::clone(&at_split) };
    let words = DataStream::of(&topology.bolt("split", split).shuffle(&sentences));
    let windows = words.key_by(|word| word).window(window).every(Duration::from_secs(1));
    let counts = windows.count().name("count").tasks(2);
    counts.for_each(|fired| _ = black_box(fired.value)).name("results").tasks(1);
    topology
}

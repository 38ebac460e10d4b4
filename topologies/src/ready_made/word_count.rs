//! The rolling word count: lines of topic `lines`, words counted, every new count to topic `counts`.
//!
//! **What a word is:** a longest run of characters that are not white space (Unicode's `White_Space`), as it stands: case
//! and punctuation count. Bytes that are not UTF-8 count as the character U+FFFD. For text whose only white space is
//! ASCII that is what `tr -s '[:space:]' '\n' | sort | uniq -c` counts.
//!
//! Counts survive the process: each counter takes them up from `counts` when it starts. At least once means that a line
//! which is replayed is counted again. Exactly once, counts are kept in a state that is committed with them, so that each
//! word's counts in `counts` are 1, 2, 3 and so on, whatever happens; or, where it is asked for, each word's count at the end of
//! each batch that has the word.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use compact_str::{CompactString, ToCompactString};
use serde::{Deserialize, Serialize};
use topo_core::log::{Consumed, FetchLimit, Log, LogError, Record, TopicPartition};
use topo_core::state::{State, key_group, task_of_group};
use topo_core::{Bolt, Emitter, Fail, Fault, TaskContext, Topology};

use crate::launcher::{Application, Environment};

/// How many counts are emitted at the end of a batch before those behind get the time to take them.
const COUNTS_AT_ONCE: usize = 1_024;

/// When a word's count is emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Emit {
    /// With each of its occurrences.
    #[default]
    Record,
    /// At the end of each batch that has the word; exactly once alone has batches.
    Batch,
}

/// A line of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The text, without its end.
    pub text: String,
}

/// A word, as it occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The word.
    pub word: CompactString,
}

/// How often a word has occurred so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordCount {
    /// The word.
    pub word: CompactString,
    /// Its occurrences, this one among them.
    pub count: u64,
}

/// Splits lines into words.
#[derive(Debug, Clone, Copy)]
pub struct Split;

impl Bolt for Split {
    type In = Line;
    type Out = Word;

    async fn execute(&mut self, line: Line, out: &mut Emitter<Word>) -> Result<(), Fail> {
        for word in line.text.split_whitespace() {
            out.emit(Word { word: CompactString::new(word) });
        }
        Ok(())
    }
}

/// Counts words, and takes up its counts from the topic that they go to.
pub struct Count {
    log: Arc<dyn Log>,
    topic: Arc<str>,
    counts: HashMap<CompactString, u64>,
}

impl Count {
    /// A counter that begins with the last counts of `topic`.
    pub fn new(log: Arc<dyn Log>, topic: &str) -> Self {
        Self { log, topic: topic.into(), counts: HashMap::new() }
    }

    /// The last count of each word in one partition.
    async fn take_up(&mut self, partition: u32) -> Result<(), LogError> {
        let at = TopicPartition::new(Arc::clone(&self.topic), partition);
        let offsets = self.log.offsets(&at).await?;
        let mut next = offsets.log_start;
        while next < offsets.high_watermark {
            let fetched = self.log.fetch(&at, next, FetchLimit::default()).await?;
            for record in &fetched.records {
                if let Some((word, count)) = parse(record) {
                    self.counts.insert(word, count);
                }
            }
            if fetched.next_offset <= next {
                break;
            }
            next = fetched.next_offset;
        }
        Ok(())
    }
}

/// A record of the counts; `None` for one that somebody else wrote.
fn parse(record: &Consumed) -> Option<(CompactString, u64)> {
    let word = std::str::from_utf8(record.key.as_deref()?).ok()?;
    let count = std::str::from_utf8(record.value.as_deref()?).ok()?.parse().ok()?;
    Some((CompactString::new(word), count))
}

/// Counts words in a state, which is what it was where a micro-transaction is taken back.
pub struct CountInState {
    log: Arc<dyn Log>,
    topic: Arc<str>,
    counts: Option<State<CompactString, u64>>,
}

impl CountInState {
    /// A counter that begins with the last counts of `topic`, as long as its state knows none.
    pub fn new(log: Arc<dyn Log>, topic: &str) -> Self {
        Self { log, topic: topic.into(), counts: None }
    }

    /// Counts `word`; gives its occurrences, this one among them.
    fn add(&mut self, word: &CompactString) -> Result<u64, Fail> {
        let counts = self.counts.as_mut().ok_or_else(|| Fail::retry("the counter is not prepared"))?;
        Ok(counts.update(word, |count| {
            *count += 1;
            *count
        })?)
    }
}

impl Bolt for CountInState {
    type In = Word;
    type Out = WordCount;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        let mut counts: State<CompactString, u64> = task.state("count").await?;
        if counts.is_empty() {
            // Nothing was counted exactly once so far; what was counted at least once goes on.
            let mut earlier = Count::new(Arc::clone(&self.log), &self.topic);
            earlier.prepare(task).await?;
            let own = |word: &CompactString| {
                task_of_group(key_group(word), task.tasks() as usize) == task.task() as usize
            };
            for (word, count) in earlier.counts.into_iter().filter(|(word, _)| own(word)) {
                counts.put(word, count)?;
            }
        }
        self.counts = Some(counts);
        Ok(())
    }

    async fn execute(&mut self, Word { word }: Word, out: &mut Emitter<WordCount>) -> Result<(), Fail> {
        let count = self.add(&word)?;
        out.emit(WordCount { word, count });
        Ok(())
    }
}

/// Counts words in a state, and emits, as a batch ends, the words that it had and how often each has occurred by then.
pub struct CountPerBatch {
    counter: CountInState,
    /// The words of the batch in work.
    changed: HashMap<CompactString, u64>,
}

impl CountPerBatch {
    /// A counter that begins as [`CountInState`] does.
    pub fn new(log: Arc<dyn Log>, topic: &str) -> Self {
        Self { counter: CountInState::new(log, topic), changed: HashMap::new() }
    }
}

impl Bolt for CountPerBatch {
    type In = Word;
    type Out = WordCount;
    const ENDS_BATCHES: bool = true;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.counter.prepare(task).await
    }

    async fn execute(&mut self, Word { word }: Word, _out: &mut Emitter<WordCount>) -> Result<(), Fail> {
        let count = self.counter.add(&word)?;
        self.changed.insert(word, count);
        Ok(())
    }

    async fn end_batch(&mut self, out: &mut Emitter<WordCount>) -> Result<(), Fault> {
        for (number, (word, count)) in self.changed.drain().enumerate() {
            if number % COUNTS_AT_ONCE == COUNTS_AT_ONCE - 1 {
                out.ready().await;
            }
            out.emit(WordCount { word, count });
        }
        Ok(())
    }
}

impl Bolt for Count {
    type In = Word;
    type Out = WordCount;

    // Every task takes up every word: which words will be its own, only the grouping knows.
    async fn prepare(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        let Some(info) = self.log.topic(&self.topic).await? else { return Ok(()) };
        for partition in 0..info.partitions {
            self.take_up(partition).await?;
        }
        Ok(())
    }

    async fn execute(&mut self, Word { word }: Word, out: &mut Emitter<WordCount>) -> Result<(), Fail> {
        let count = match self.counts.get_mut(&word) {
            Some(count) => count,
            None => self.counts.entry(word.clone()).or_default(),
        };
        *count += 1;
        out.emit(WordCount { word, count: *count });
        Ok(())
    }
}

/// Text as the record of a line.
fn line(record: &Consumed) -> Result<Line, Fail> {
    let bytes = record.value.as_deref().unwrap_or_default();
    Ok(Line { text: String::from_utf8_lossy(bytes).into_owned() })
}

/// A count as a record: the word as key, the count as value, both as text.
fn record(count: &WordCount) -> Record {
    let key = Some(Bytes::copy_from_slice(count.word.as_bytes()));
    let value = Some(Bytes::copy_from_slice(count.count.to_compact_string().as_bytes()));
    Record { key, value, ..Record::default() }
}

fn topology(environment: &Environment, emit: Emit) -> Topology {
    let topology = Topology::new("word-count");
    let lines = topology.spout("lines", environment.log_spout("lines", line));
    let words = topology.bolt("split", || Split).tasks(2).shuffle(&lines);
    let log = Arc::clone(environment.log());
    let counts = if emit == Emit::Batch {
        let counter = move || CountPerBatch::new(Arc::clone(&log), "counts");
        topology.bolt("count", counter).tasks(2).key_groups(&words, |word: &Word| &word.word)
    } else if environment.is_exactly_once() {
        let counter = move || CountInState::new(Arc::clone(&log), "counts");
        topology.bolt("count", counter).tasks(2).key_groups(&words, |word: &Word| &word.word)
    } else {
        let counter = move || Count::new(Arc::clone(&log), "counts");
        topology.bolt("count", counter).tasks(2).fields(&words, |word| &word.word)
    };
    // One task writes, so that a word's counts stay in order.
    topology.rich_bolt("counts", environment.log_sink("counts", record)).global(&counts);
    topology
}

/// The ready-made word count, from topic `lines` to topic `counts`.
pub fn application() -> Application {
    application_that_emits(Emit::Record)
}

/// The same, where it is said when counts are emitted.
pub fn application_that_emits(emit: Emit) -> Application {
    let topology = move |environment: &Environment| topology(environment, emit);
    Application::new("word-count", topology).reads("lines").writes("counts")
}

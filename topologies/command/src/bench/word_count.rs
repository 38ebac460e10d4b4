//! A rolling word count, staged: one spout cycles ten sentences, one bolt splits them at spaces, two count by word.
//!
//! Words are inline strings: freeing a string on another thread than the one that made it costs more than the queue.

use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use topo_core::{Bolt, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};

use super::Meter;

/// Ten sentences of 90 words, 68 of them distinct.
pub(super) const SENTENCES: [&str; 10] = [
    "the cow jumped over the moon on a quiet night",
    "an apple a day keeps the doctor away always",
    "four score and seven years ago our fathers stood",
    "snow white and the seven dwarfs went home",
    "i am at two with nature and the stars",
    "the quick brown fox jumps over the lazy dog",
    "to be or not to be that is the question",
    "all that glitters is not gold my friend",
    "a journey of many miles begins with one step",
    "the early bird catches the worm in early spring",
];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Word {
    word: CompactString,
}

struct Sentences {
    sentences: Vec<Arc<str>>,
    next: u64,
    meter: Arc<Meter>,
}

impl Spout for Sentences {
    type Out = Arc<str>;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<Arc<str>, u64>) -> Result<Next, Fault> {
        if self.next.is_multiple_of(64) && self.meter.is_over(self.next) {
            return Ok(Next::Finished);
        }
        let sentence = &self.sentences[self.next as usize % self.sentences.len()];
        out.emit_with(self.next, Arc::clone(sentence))?;
        self.next += 1;
        Ok(Next::Emitted)
    }
}

struct Split;

impl Bolt for Split {
    type In = Arc<str>;
    type Out = Word;

    async fn execute(&mut self, sentence: Arc<str>, out: &mut Emitter<Word>) -> Result<(), Fail> {
        for word in sentence.split(' ') {
            out.emit(Word { word: CompactString::new(word) });
        }
        Ok(())
    }
}

struct Count {
    counts: HashMap<CompactString, u64, FixedState>,
    seen: u64,
    meter: Arc<Meter>,
}

impl Bolt for Count {
    type In = Word;
    type Out = ();

    async fn execute(&mut self, word: Word, _out: &mut Emitter<()>) -> Result<(), Fail> {
        let count = match self.counts.get_mut(&word.word) {
            Some(count) => count,
            None => self.counts.entry(word.word).or_default(),
        };
        *count += 1;
        std::hint::black_box(*count);
        self.seen += 1;
        Ok(())
    }

    async fn cleanup(&mut self) {
        self.meter.count(self.seen);
    }
}

pub(super) fn topology(meter: &Arc<Meter>) -> Topology {
    let topology = Topology::new("word-count");
    let (at_spout, at_count) = (Arc::clone(meter), Arc::clone(meter));
    let sentences = topology.spout("sentences", move || Sentences {
        sentences: SENTENCES.iter().map(|&sentence| sentence.into()).collect(),
        next: 0,
        meter: Arc::clone(&at_spout),
    });
    let words = topology.bolt("split", || Split).shuffle(&sentences);
    let count = move || Count { counts: HashMap::default(), seen: 0, meter: Arc::clone(&at_count) };
    topology.bolt("count", count).tasks(2).fields(&words, |word| &word.word);
    topology
}

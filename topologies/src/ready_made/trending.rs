//! What is talked about: the most frequent words of each minute of topic `lines`, every ten seconds, to topic `trending`.
//!
//! The time is that of the records. A word is what [`words`] finds. Words are counted in the windows of each word first, by
//! many tasks; what these give is ranked in one further step for each window.

use std::cmp::Reverse;
use std::time::Duration;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use topo_core::window::{Aggregate, Fired, Window};

use crate::launcher::Application;
use crate::ready_made::word_count::WordCount;
use crate::streams::{To, ToRecord, words};

/// How long windows are, and how far apart.
pub const WINDOW: Duration = Duration::from_secs(60);
/// How often there is one.
pub const EVERY: Duration = Duration::from_secs(10);
/// How many words are told of.
pub const TOP: usize = 10;

/// The most frequent words of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trending {
    /// The window.
    pub window: Window,
    /// Its words by count, the most frequent first; of equals, in alphabetical order.
    pub top: Vec<WordCount>,
    /// How many results of this window came before; the last is the one that counts.
    pub revision: u32,
}

impl ToRecord for Trending {}

/// The words of the largest counts.
///
/// A word whose count comes again, replayed or as it has grown, counts once, with the largest.
#[derive(Debug, Clone, Copy)]
struct Ranking {
    words: usize,
}

impl Ranking {
    fn place(self, top: &mut Vec<WordCount>, word: WordCount) {
        if let Some(before) = top.iter().position(|other| other.word == word.word) {
            if top[before].count >= word.count {
                return;
            }
            top.remove(before);
        }
        let rank = |one: &WordCount| (Reverse(one.count), one.word.clone());
        let at = top.partition_point(|other| rank(other) < rank(&word));
        if at < self.words {
            top.insert(at, word);
            top.truncate(self.words);
        }
    }
}

impl Aggregate for Ranking {
    type In = Fired<CompactString, u64>;
    type Acc = Vec<WordCount>;
    type Out = Vec<WordCount>;

    fn start(&self, first: Self::In) -> Vec<WordCount> {
        vec![WordCount { word: first.key, count: first.value }]
    }
    fn add(&self, top: &mut Vec<WordCount>, next: Self::In) {
        self.place(top, WordCount { word: next.key, count: next.value });
    }
    fn merge(&self, top: &mut Vec<WordCount>, later: &Vec<WordCount>) {
        later.iter().for_each(|word| self.place(top, word.clone()));
    }
    fn result(&self, top: &Vec<WordCount>) -> Vec<WordCount> {
        top.clone()
    }
}

/// The ready-made trends, from topic `lines` to topic `trending`.
pub fn application() -> Application {
    Application::streams("trending", |log| {
        let words = log.lines("lines").follow_clock().flat_map(words).name("split").tasks(2);
        let counts = words.key_by(|word| word).window(WINDOW).every(EVERY).count().name("count");
        // All counts of a window come at its last millisecond, each window's in another ten seconds.
        let ranked = counts.key_by(|count| &count.window).window(EVERY).aggregate(Ranking { words: TOP });
        ranked
            .name("rank")
            .map(|fired| Trending { window: fired.key, top: fired.value, revision: fired.revision })
            .name("tell")
            .to("trending");
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use topo_core::window::Kind;

    use super::*;

    fn fired(word: &str, value: u64) -> Fired<CompactString, u64> {
        let (key, window) = (word.into(), Window { start: 0, end: 60_000 });
        Fired { key, window, value, kind: Kind::OnTime, revision: 0, replaces: Vec::new() }
    }

    proptest! {
        /// However counts come, grown, again, and in two parts, the ranking is that of each word's largest.
        #[test]
        fn a_ranking_is_of_each_words_largest_count(
            counts in prop::collection::vec(("[a-e]", 1u64..6), 1..40),
            split in 0usize..40,
        ) {
            let ranking = Ranking { words: 3 };
            let ranked = |counts: &[(String, u64)]| {
                let mut top = ranking.start(fired(&counts[0].0, counts[0].1));
                counts[1..].iter().for_each(|(word, count)| ranking.add(&mut top, fired(word, *count)));
                top
            };
            let split = split.clamp(0, counts.len() - 1);
            let mut top = ranked(&counts[split..]);
            if split > 0 {
                let later = std::mem::replace(&mut top, ranked(&counts[..split]));
                ranking.merge(&mut top, &later);
            }
            let mut largest = std::collections::BTreeMap::<&str, u64>::new();
            for (word, count) in &counts {
                let most = largest.entry(word).or_default();
                *most = (*most).max(*count);
            }
            let mut expected: Vec<_> = largest.into_iter().map(|(word, count)| (Reverse(count), word)).collect();
            expected.sort_unstable();
            let given: Vec<_> = top.iter().map(|one| (Reverse(one.count), &*one.word)).collect();
            expected.truncate(3);
            prop_assert_eq!(given, expected);
        }
    }
}

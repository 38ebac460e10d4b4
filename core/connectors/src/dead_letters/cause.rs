//! What records died of: dead letters grouped by component, kind and reason, for whoever asks while a topology runs.
//!
//! Invariant: what is held is bounded, however many reasons there are. The totals count every letter; the groups tell at
//! most [`MOST`] causes apart, and letters of the others are counted together.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use topo_core::log::TopicPartition;

use super::LetterKind;

/// How many causes are told apart.
const MOST: usize = 64;
/// Causes that stay because they have the most letters; of the rest the one seen longest ago makes room.
const KEPT: usize = MOST / 2;
/// Bytes of a reason that causes are told apart by.
const REASON_BYTES: usize = 512;
/// Bytes of an example's value.
const EXCERPT_BYTES: usize = 256;

/// Dead letters of one component, kind and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The component that failed them.
    pub component: Arc<str>,
    /// How they came to be given up.
    pub kind: LetterKind,
    /// The reason, cut after 512 bytes.
    pub reason: Arc<str>,
    /// How many there are.
    pub count: u64,
    /// When the first was given up, in milliseconds since 1970.
    pub first_ms: i64,
    /// When the newest was, in milliseconds since 1970.
    pub last_ms: i64,
    /// The attempt that the newest failed in, from 1.
    pub attempt: u32,
    /// The topic that the newest lies in.
    pub letters: Arc<str>,
    /// The newest record.
    pub example: Example,
}

/// A record that died, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its partition.
    pub at: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The first 256 bytes of its value as text; what is not UTF-8 is U+FFFD.
    pub excerpt: Arc<str>,
    /// Bytes of the whole value.
    pub value_bytes: usize,
}

/// All causes, the one with the most letters first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Causes {
    groups: Vec<Cause>,
    others: u64,
    totals: BTreeMap<(Arc<str>, LetterKind), u64>,
}

/// One letter, as it is noted.
#[derive(Debug, Clone, Copy)]
pub struct Death<'a> {
    /// The component that failed the record.
    pub component: &'a Arc<str>,
    /// How the record came to be given up.
    pub kind: LetterKind,
    /// The reason, in the component's words.
    pub reason: &'a str,
    /// The attempt that failed, from 1.
    pub attempt: u32,
    /// When it was given up, in milliseconds since 1970.
    pub at_ms: i64,
    /// The topic that the letter lies in.
    pub letters: &'a Arc<str>,
    /// The partition that the record was read from.
    pub at: &'a TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// Its value.
    pub value: &'a [u8],
}

impl Causes {
    /// The causes that are told apart, the one with the most letters first.
    pub fn groups(&self) -> &[Cause] {
        &self.groups
    }

    /// Letters of causes that are not told apart, because there are too many.
    pub fn others(&self) -> u64 {
        self.others
    }

    /// Letters by component and kind.
    pub fn totals(&self) -> impl Iterator<Item = (&Arc<str>, LetterKind, u64)> {
        self.totals.iter().map(|((component, kind), count)| (component, *kind, *count))
    }

    /// All letters of a kind.
    pub fn total(&self, kind: LetterKind) -> u64 {
        self.totals().filter(|(_, one, _)| *one == kind).map(|(_, _, count)| count).sum()
    }

    /// Counts a letter.
    pub fn note(&mut self, death: Death<'_>) {
        *self.totals.entry((Arc::clone(death.component), death.kind)).or_default() += 1;
        let reason = &death.reason[..death.reason.floor_char_boundary(REASON_BYTES)];
        let same = |one: &Cause| {
            one.kind == death.kind && one.component == *death.component && &*one.reason == reason
        };
        if let Some(at) = self.groups.iter().position(same) {
            self.groups[at].add(death);
            // It rises past those that now have fewer.
            let count = self.groups[at].count;
            let to = self.groups[..at].partition_point(|one| one.count >= count);
            self.groups[to..=at].rotate_right(1);
            return;
        }
        if self.groups.len() == MOST {
            self.make_room();
        }
        self.groups.push(Cause::new(death, reason));
    }

    fn make_room(&mut self) {
        let least = (KEPT..self.groups.len()).min_by_key(|&at| (self.groups[at].last_ms, Reverse(at)));
        if let Some(at) = least {
            self.others += self.groups.remove(at).count;
        }
    }
}

impl Cause {
    fn new(death: Death<'_>, reason: &str) -> Self {
        Self {
            component: Arc::clone(death.component),
            kind: death.kind,
            reason: reason.into(),
            count: 1,
            first_ms: death.at_ms,
            last_ms: death.at_ms,
            attempt: death.attempt,
            letters: Arc::clone(death.letters),
            example: Example::new(death),
        }
    }

    fn add(&mut self, death: Death<'_>) {
        self.count += 1;
        (self.last_ms, self.attempt) = (death.at_ms, death.attempt);
        self.letters = Arc::clone(death.letters);
        self.example = Example::new(death);
    }
}

impl Example {
    fn new(Death { at, offset, value, .. }: Death<'_>) -> Self {
        Self { at: at.clone(), offset, excerpt: excerpt(value).into(), value_bytes: value.len() }
    }
}

/// The beginning of a value as text, not cut within a character.
fn excerpt(value: &[u8]) -> String {
    let mut shown = &value[..value.len().min(EXCERPT_BYTES)];
    if shown.len() < value.len()
        && let Err(error) = std::str::from_utf8(shown)
        && error.error_len().is_none()
    {
        shown = &shown[..error.valid_up_to()];
    }
    String::from_utf8_lossy(shown).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn note(causes: &mut Causes, component: &str, reason: &str, at_ms: i64) {
        causes.note(Death {
            component: &component.into(),
            kind: LetterKind::Rejected,
            reason,
            attempt: 1,
            at_ms,
            letters: &"in.dead-letter".into(),
            at: &TopicPartition::new("in", 0),
            offset: at_ms,
            value: reason.as_bytes(),
        });
    }

    #[test]
    fn letters_of_one_cause_are_one_group_with_its_newest_record() {
        let mut causes = Causes::default();
        note(&mut causes, "parse", "rare", 1);
        for at_ms in 2..5 {
            note(&mut causes, "parse", "often", at_ms);
        }
        note(&mut causes, "store", "often", 9);
        let groups: Vec<_> =
            causes.groups().iter().map(|one| (&*one.component, &*one.reason, one.count)).collect();
        assert_eq!(groups, [("parse", "often", 3), ("parse", "rare", 1), ("store", "often", 1)]);
        let often = &causes.groups()[0];
        assert_eq!((often.first_ms, often.last_ms, often.example.offset), (2, 4, 4));
        assert_eq!((causes.total(LetterKind::Rejected), causes.total(LetterKind::Exhausted)), (5, 0));
        assert_eq!(causes.totals().map(|(_, _, count)| count).collect::<Vec<_>>(), [4, 1]);
    }

    #[test]
    fn reasons_that_never_repeat_neither_grow_nor_hide_what_does() {
        let mut causes = Causes::default();
        for at_ms in 0..10_000 {
            note(&mut causes, "parse", &format!("line {at_ms}"), at_ms);
            if at_ms % 10 == 0 {
                note(&mut causes, "parse", "no time", at_ms);
            }
        }
        note(&mut causes, "parse", "new", 10_000);
        assert_eq!(causes.groups().len(), MOST);
        assert_eq!((&*causes.groups()[0].reason, causes.groups()[0].count), ("no time", 1_000));
        assert!(causes.groups().iter().any(|one| &*one.reason == "new"), "the newest is told");
        let told: u64 = causes.groups().iter().map(|one| one.count).sum();
        assert_eq!(told + causes.others(), 11_001);
    }

    #[test]
    fn long_reasons_and_values_are_cut_at_a_character() {
        let mut causes = Causes::default();
        note(&mut causes, "parse", &"ä".repeat(10_000), 1);
        note(&mut causes, "parse", &"ä".repeat(20_000), 2);
        let [cause] = causes.groups() else { panic!("they are cut to the same") };
        assert_eq!((cause.reason.len(), cause.count, cause.example.value_bytes), (512, 2, 40_000));
        assert_eq!(&*cause.example.excerpt, "ä".repeat(128));
        assert_eq!(excerpt(&[b"x".repeat(255), "ä".into()].concat()), "x".repeat(255));
        assert_eq!(excerpt(b"\xffab\xc3"), "\u{fffd}ab\u{fffd}");
    }

    proptest! {
        /// Against a map that forgets nothing.
        #[test]
        fn no_letter_is_counted_twice_or_not_at_all(
            reasons in prop::collection::vec(prop_oneof![0u32..8, 0u32..200], 0..600),
        ) {
            let mut causes = Causes::default();
            let mut model: HashMap<String, u64> = HashMap::new();
            for (at_ms, reason) in reasons.iter().enumerate() {
                note(&mut causes, "parse", &reason.to_string(), at_ms as i64);
                *model.entry(reason.to_string()).or_default() += 1;
            }
            prop_assert!(causes.groups().is_sorted_by_key(|one| Reverse(one.count)));
            prop_assert!(causes.groups().iter().all(|one| one.count <= model[&*one.reason]));
            let told: u64 = causes.groups().iter().map(|one| one.count).sum();
            prop_assert_eq!(told + causes.others(), reasons.len() as u64);
            if model.len() <= MOST {
                prop_assert_eq!(causes.groups().len(), model.len());
            }
        }
    }
}

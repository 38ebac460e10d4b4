//! What windows hold and what is late, from first principles: values in the order in which they come, and how far event time
//! had come by then.

use std::collections::BTreeMap;

/// A value: its key, when it happened, and what tells it from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) key: u32,
    pub(crate) at: i64,
    pub(crate) id: u32,
}

/// Windows, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    Time { size: i64, every: i64 },
    Session { gap: i64 },
}

/// The values of each window, by key, start and end; and what was late.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) windows: BTreeMap<(u32, i64, i64), Vec<u32>>,
    pub(crate) late: Vec<u32>,
}

/// What comes of `values`, each with how far event time had come as it came.
pub(crate) fn outcome(cut: Cut, lateness: i64, values: &[(i64, Value)]) -> Outcome {
    let mut outcome = match cut {
        Cut::Time { size, every } => by_time((size, every), lateness, values),
        Cut::Session { gap } => sessions(gap, lateness, values),
    };
    outcome.windows.values_mut().for_each(|ids| ids.sort_unstable());
    outcome.late.sort_unstable();
    outcome
}

fn by_time((size, every): (i64, i64), lateness: i64, values: &[(i64, Value)]) -> Outcome {
    let mut outcome = Outcome::default();
    for (now, Value { key, at, id }) in values {
        let covers = |start: &i64| start.rem_euclid(every) == 0;
        let starts = (at - size + 1..=*at).filter(covers);
        let open: Vec<i64> = starts.filter(|start| start + size + lateness > *now).collect();
        if open.is_empty() {
            outcome.late.push(*id);
        }
        for start in open {
            outcome.windows.entry((*key, start, start + size)).or_default().push(*id);
        }
    }
    outcome
}

/// A session's key, its first time, its last, and its values.
type Session = (u32, i64, i64, Vec<u32>);

fn sessions(gap: i64, lateness: i64, values: &[(i64, Value)]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut all: Vec<Session> = Vec::new();
    for (now, Value { key, at, id }) in values {
        let is_open = |last: i64| last + gap + lateness > *now;
        let joins = |session: &Session| {
            session.0 == *key && is_open(session.2) && session.1 < at + gap && session.2 + gap > *at
        };
        if !is_open(*at) && !all.iter().any(joins) {
            outcome.late.push(*id);
            continue;
        }
        let (joined, mut apart): (Vec<_>, Vec<_>) = all.into_iter().partition(joins);
        let one = (*key, *at, *at, vec![*id]);
        let both = |mut one: Session, other: Session| {
            one.3.extend(other.3);
            (one.0, one.1.min(other.1), one.2.max(other.2), one.3)
        };
        apart.push(joined.into_iter().fold(one, both));
        all = apart;
    }
    for (key, first, last, ids) in all {
        outcome.windows.entry((key, first, last + gap)).or_default().extend(ids);
    }
    outcome
}

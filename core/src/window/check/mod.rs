//! The engine against what says the same in the simplest words.

mod batch;
mod cost;
mod history;
mod late;
mod model;
mod planted;

use std::time::Duration;

use super::{Fired, Kind, Windows, count_sliding, global, session, sliding};

/// Windows, in the numbers that a model counts with.
#[derive(Debug, Clone, Copy)]
enum Spec {
    Time { size: i64, every: i64 },
    Session { gap: i64 },
    Count { size: u64, every: u64 },
    Global,
}

impl Spec {
    fn windows(self) -> Windows {
        let ms = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        match self {
            Self::Time { size, every } => sliding(ms(size), ms(every)),
            Self::Session { gap } => session(ms(gap)),
            Self::Count { size, every } => count_sliding(size, every),
            Self::Global => global(),
        }
    }
}

/// A result as engine and model both tell it: the numbers of the records in it are sorted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    key: u8,
    window: (i64, i64),
    records: Vec<u32>,
    kind: u8,
    revision: u32,
    replaces: Vec<(i64, i64)>,
}

impl Told {
    fn of(fired: Fired<u8, Vec<u32>>) -> Self {
        let mut records = fired.value;
        records.sort_unstable();
        let mut replaces: Vec<_> = fired.replaces.iter().map(|window| (window.start, window.end)).collect();
        replaces.sort_unstable();
        Self {
            key: fired.key,
            window: (fired.window.start, fired.window.end),
            records,
            kind: number(fired.kind),
            revision: fired.revision,
            replaces,
        }
    }
}

fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Early => 0,
        Kind::OnTime => 1,
        Kind::Late => 2,
    }
}

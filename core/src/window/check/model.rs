//! Windows in the simplest words: every record is kept, and every window computed from all of them.

use std::collections::BTreeMap;

use super::{Spec, Told, number};
use crate::window::Kind;

#[derive(Debug, Clone, Copy)]
struct Record {
    at: i64,
    id: u32,
    fresh: bool,
}

#[derive(Debug, Default)]
struct Given {
    revision: u32,
    since: u64,
}

#[derive(Debug, Default)]
struct Session {
    records: Vec<Record>,
    given: Given,
    emitted: Vec<(i64, i64)>,
}

#[derive(Debug, Default)]
struct Key {
    records: Vec<Record>,
    windows: BTreeMap<(i64, i64), Given>,
    sessions: Vec<Session>,
    /// Of the window by count under way, or of the global one.
    given: Given,
}

#[derive(Debug)]
pub(super) struct Model {
    spec: Spec,
    lateness: i64,
    count: Option<u64>,
    every: Option<i64>,
    pub(super) watermark: i64,
    next_early: Option<i64>,
    keys: BTreeMap<u8, Key>,
}

impl Model {
    pub(super) fn new(spec: Spec, lateness: i64, count: Option<u64>, every: Option<i64>) -> Self {
        Self { spec, lateness, count, every, watermark: i64::MIN, next_early: None, keys: BTreeMap::new() }
    }

    /// The windows over a time, each tried.
    fn over(&self, at: i64) -> Vec<(i64, i64)> {
        let Spec::Time { size, every } = self.spec else { return vec![] };
        (at - size + 1..=at)
            .filter(|start| start.rem_euclid(every) == 0)
            .map(|start| (start, start + size))
            .collect()
    }

    /// The results of adding, or `None` where the record is late.
    pub(super) fn add(&mut self, key: u8, at: i64, id: u32) -> Option<Vec<Told>> {
        let record = Record { at, id, fresh: true };
        match self.spec {
            Spec::Time { .. } => self.add_by_time(key, record),
            Spec::Session { gap } => self.add_to_sessions(key, record, gap),
            Spec::Count { size, every } => Some(self.add_by_count(key, record, size, every)),
            Spec::Global => Some(self.add_to_whole(key, record)),
        }
    }

    fn add_by_time(&mut self, name: u8, record: Record) -> Option<Vec<Told>> {
        let open: Vec<_> = self
            .over(record.at)
            .into_iter()
            .filter(|(_, end)| end + self.lateness > self.watermark)
            .collect();
        if open.is_empty() {
            return None;
        }
        let key = self.keys.entry(name).or_default();
        key.records.push(record);
        let mut told = vec![];
        for window in open {
            if window.1 <= self.watermark {
                told.push(key.give(name, window, Kind::Late));
            } else if let Some(n) = self.count {
                let given = key.windows.entry(window).or_default();
                given.since += 1;
                if given.since >= n {
                    told.push(key.give(name, window, Kind::Early));
                }
            }
        }
        Some(told)
    }

    fn add_to_sessions(&mut self, name: u8, record: Record, gap: i64) -> Option<Vec<Told>> {
        let key = self.keys.entry(name).or_default();
        let near = |session: &Session| session.records.iter().any(|other| (other.at - record.at).abs() < gap);
        let mut joined = Session { records: vec![record], ..Session::default() };
        for session in key.sessions.iter().filter(|session| near(session)) {
            joined.records.extend(&session.records);
            joined.given.revision = joined.given.revision.max(session.given.revision);
            joined.given.since += session.given.since;
            joined.emitted.extend(&session.emitted);
        }
        let end = joined.window(gap).1;
        if end + self.lateness <= self.watermark {
            return None;
        }
        key.sessions.retain(|session| !near(session));
        joined.given.since += 1;
        let mut told = vec![];
        if end <= self.watermark {
            told.push(joined.give(name, gap, Kind::Late));
        } else if self.count.is_some_and(|n| joined.given.since >= n) {
            told.push(joined.give(name, gap, Kind::Early));
        }
        key.sessions.push(joined);
        Some(told)
    }

    fn add_by_count(&mut self, name: u8, record: Record, size: u64, every: u64) -> Vec<Told> {
        let key = self.keys.entry(name).or_default();
        key.records.push(record);
        key.given.since += 1;
        if (key.records.len() as u64).is_multiple_of(every) {
            let told = key.give_last(name, size, every, Kind::OnTime);
            key.given.revision = 0;
            key.records.iter_mut().for_each(|record| record.fresh = false);
            vec![told]
        } else if self.count.is_some_and(|n| key.given.since >= n) {
            vec![key.give_last(name, size, every, Kind::Early)]
        } else {
            vec![]
        }
    }

    fn add_to_whole(&mut self, name: u8, record: Record) -> Vec<Told> {
        let key = self.keys.entry(name).or_default();
        key.records.push(record);
        key.given.since += 1;
        if self.count.is_some_and(|n| key.given.since >= n) { vec![key.give_whole(name)] } else { vec![] }
    }

    pub(super) fn advance(&mut self, to: i64) -> Vec<Told> {
        let from = self.watermark;
        self.watermark = from.max(to);
        let until = self.watermark;
        let mut told = vec![];
        let windows = |at| self.over(at);
        let mut complete: Vec<(u8, (i64, i64))> = vec![];
        for (name, key) in &self.keys {
            let mut all: Vec<_> = key.records.iter().flat_map(|record| windows(record.at)).collect();
            all.sort_unstable();
            all.dedup();
            complete.extend(all.into_iter().filter(|w| from < w.1 && w.1 <= until).map(|w| (*name, w)));
        }
        for (name, window) in complete {
            told.push(self.keys.get_mut(&name).unwrap().give(name, window, Kind::OnTime));
        }
        if let Spec::Session { gap } = self.spec {
            for (name, key) in &mut self.keys {
                for session in &mut key.sessions {
                    let end = session.window(gap).1;
                    if from < end && end <= until {
                        told.push(session.give(*name, gap, Kind::OnTime));
                    }
                }
                key.sessions.retain(|session| session.window(gap).1 + self.lateness > until);
            }
        }
        told
    }

    pub(super) fn end_of_time(&mut self) -> Vec<Told> {
        let mut told = vec![];
        let over: Vec<_> =
            self.keys.values().flat_map(|key| &key.records).map(|r| (r.at, self.over(r.at))).collect();
        let over: BTreeMap<_, _> = over.into_iter().collect();
        for (name, key) in &mut self.keys {
            let fresh: Vec<_> =
                key.records.iter().filter(|record| record.fresh).map(|record| record.at).collect();
            key.records.iter_mut().for_each(|record| record.fresh = false);
            match self.spec {
                Spec::Time { .. } => {
                    let mut changed: Vec<_> = fresh.iter().flat_map(|at| over[at].clone()).collect();
                    changed.sort_unstable();
                    changed.dedup();
                    changed.retain(|window| window.1 > self.watermark);
                    told.extend(changed.into_iter().map(|window| key.give(*name, window, Kind::Early)));
                }
                Spec::Session { gap } => {
                    for session in &mut key.sessions {
                        let fresh = session.records.iter().any(|record| record.fresh);
                        session.records.iter_mut().for_each(|record| record.fresh = false);
                        if fresh && session.window(gap).1 > self.watermark {
                            told.push(session.give(*name, gap, Kind::Early));
                        }
                    }
                }
                Spec::Count { .. } | Spec::Global if fresh.is_empty() => {}
                Spec::Count { size, every } => told.push(key.give_last(*name, size, every, Kind::Early)),
                Spec::Global => told.push(key.give_whole(*name)),
            }
        }
        told
    }

    pub(super) fn processing_time(&mut self, now: i64) -> Vec<Told> {
        let Some(every) = self.every else { return vec![] };
        match self.next_early {
            Some(due) if now < due => vec![],
            Some(_) => {
                self.next_early = Some(now + every);
                self.end_of_time()
            }
            None => {
                self.next_early = Some(now + every);
                vec![]
            }
        }
    }

    pub(super) fn restarted(&mut self) {
        self.next_early = None;
    }

    /// The windows of a key that take records, with what they hold, in the order of their ends.
    pub(super) fn windows(&self, name: u8) -> Vec<((i64, i64), Vec<u32>)> {
        let Some(key) = self.keys.get(&name) else { return vec![] };
        let ids = |records: &[Record]| {
            let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
            ids.sort_unstable();
            ids
        };
        let mut windows = match self.spec {
            Spec::Time { .. } => {
                let mut all: Vec<_> = key.records.iter().flat_map(|record| self.over(record.at)).collect();
                all.sort_unstable();
                all.dedup();
                all.retain(|window| window.1 + self.lateness > self.watermark);
                let of = |window: (i64, i64)| {
                    let within = |record: &&Record| window.0 <= record.at && record.at < window.1;
                    ids(&key.records.iter().filter(within).copied().collect::<Vec<_>>())
                };
                all.into_iter().map(|window| (window, of(window))).collect()
            }
            Spec::Session { gap } => {
                key.sessions.iter().map(|session| (session.window(gap), ids(&session.records))).collect()
            }
            Spec::Count { size, every } => {
                let end = (key.records.len() as u64 / every + 1) * every;
                let records = &key.records[end.saturating_sub(size) as usize..];
                let times = || records.iter().map(|record| record.at);
                let window = times().min().zip(times().max()).map(|(first, last)| (first, last + 1));
                window.into_iter().map(|window| (window, ids(records))).collect()
            }
            Spec::Global => vec![((i64::MIN, i64::MAX), ids(&key.records))],
        };
        windows.retain(|(_, ids)| !ids.is_empty());
        windows.sort_by_key(|(window, _)| window.1);
        windows
    }

    /// Whether a key has anything open that engines must keep.
    pub(super) fn is_open(&self, name: u8) -> bool {
        let Some(key) = self.keys.get(&name) else { return false };
        let open =
            |record: &Record| self.over(record.at).iter().any(|w| w.1 + self.lateness > self.watermark);
        match self.spec {
            Spec::Time { .. } => key.records.iter().any(open),
            Spec::Session { .. } => !key.sessions.is_empty(),
            Spec::Count { size, every } if size == every => !(key.records.len() as u64).is_multiple_of(size),
            Spec::Count { .. } | Spec::Global => true,
        }
    }
}

fn told(key: u8, window: (i64, i64), records: &[Record], kind: Kind, given: &mut Given) -> Told {
    let mut records: Vec<_> = records.iter().map(|record| record.id).collect();
    records.sort_unstable();
    let revision = given.revision;
    (given.revision, given.since) = (revision + 1, 0);
    Told { key, window, records, kind: number(kind), revision, replaces: vec![] }
}

impl Key {
    fn give(&mut self, name: u8, window: (i64, i64), kind: Kind) -> Told {
        let within = |record: &&Record| window.0 <= record.at && record.at < window.1;
        let records: Vec<_> = self.records.iter().filter(within).copied().collect();
        told(name, window, &records, kind, self.windows.entry(window).or_default())
    }

    fn give_last(&mut self, name: u8, size: u64, every: u64, kind: Kind) -> Told {
        let end = (self.records.len() as u64).next_multiple_of(every);
        let records = self.records[end.saturating_sub(size) as usize..].to_vec();
        let times = || records.iter().map(|record| record.at);
        let window = (times().min().unwrap(), times().max().unwrap() + 1);
        told(name, window, &records, kind, &mut self.given)
    }

    fn give_whole(&mut self, name: u8) -> Told {
        told(name, (i64::MIN, i64::MAX), &self.records, Kind::Early, &mut self.given)
    }
}

impl Session {
    fn window(&self, gap: i64) -> (i64, i64) {
        let times = || self.records.iter().map(|record| record.at);
        (times().min().unwrap(), times().max().unwrap() + gap)
    }

    fn give(&mut self, name: u8, gap: i64, kind: Kind) -> Told {
        let window = self.window(gap);
        let mut replaces = std::mem::replace(&mut self.emitted, vec![window]);
        replaces.retain(|before| *before != window);
        replaces.sort_unstable();
        Told { replaces, ..told(name, window, &self.records, kind, &mut self.given) }
    }
}

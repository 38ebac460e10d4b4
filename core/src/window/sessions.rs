//! Sessions of one key.
//!
//! A record makes a session from itself to one gap behind it, and merges with all that it overlaps; so a late record may
//! join what were two. A session whose end the watermark has passed stays for the allowed lateness.
//!
//! Invariant: sessions stand in the order of time, each beginning at least a gap behind the last record of the one before.

use serde::{Deserialize, Serialize};

use super::aggregate::Aggregate;
use super::fired::{Kind, Outcome};
use super::offer::Refusal;
use super::plan::{Declined, Item, Plan, Take, Taken};
use super::shown::MOST;
use super::span::Window;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Sessions<S> {
    sessions: Vec<Session<S>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session<S> {
    /// The times of its first record and of its last.
    first: i64,
    last: i64,
    acc: S,
    /// Records since the last early results at an interval.
    fresh: u64,
    /// Records since the last result.
    records: u64,
    /// How many results it gave; of merged ones, the most.
    revision: u32,
    /// The windows whose results stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    emitted: Vec<Window>,
}

impl<S> Default for Sessions<S> {
    fn default() -> Self {
        Self { sessions: Vec::new() }
    }
}

impl<S: Clone> Session<S> {
    fn fire<A: Aggregate<Acc = S>>(&mut self, gap: i64, kind: Kind, aggregate: &A) -> Outcome<A::Out> {
        let window = Window { start: self.first, end: self.last + gap };
        let mut replaces = std::mem::replace(&mut self.emitted, vec![window]);
        replaces.retain(|before| *before != window);
        let revision = self.revision;
        self.revision = revision.saturating_add(1);
        self.records = 0;
        Outcome { window, value: aggregate.result(&self.acc), kind, revision, replaces }
    }

    /// Takes in the session that comes after it.
    fn absorb<A: Aggregate<Acc = S>>(&mut self, later: Self, aggregate: &A) {
        aggregate.merge(&mut self.acc, &later.acc);
        self.last = self.last.max(later.last);
        self.fresh = self.fresh.saturating_add(later.fresh);
        self.records = self.records.saturating_add(later.records);
        self.revision = self.revision.max(later.revision);
        self.emitted.extend(later.emitted);
    }
}

impl<S: Clone> Sessions<S> {
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many end after `passed`.
    pub(super) fn open(&self, gap: i64, passed: i64) -> u64 {
        self.sessions.iter().filter(|session| session.last + gap > passed).count() as u64
    }

    /// Whether sessions lie as this gap would have parted them.
    pub(super) fn fit(&self, gap: i64) -> bool {
        let within = |session: &Session<S>| {
            let fits = |at| super::windows::within(at) == at;
            session.first <= session.last && fits(session.first) && fits(session.last)
        };
        self.sessions.iter().all(within)
            && self.sessions.windows(2).all(|pair| pair[0].last + gap <= pair[1].first)
    }

    /// Whether anything changed since early results were asked for last.
    pub(super) fn is_fresh(&self) -> bool {
        self.sessions.iter().any(|session| session.fresh > 0)
    }

    pub(super) fn add<A: Aggregate<Acc = S>>(
        &mut self,
        (gap, plan, aggregate): (i64, &Plan, &A),
        item: Item<A>,
        passed: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) -> Take<A> {
        let Item { first, last, records, .. } = item;
        let from = self.sessions.partition_point(|session| session.last + gap <= first);
        let joined = self.sessions[from..].partition_point(|session| session.first < last + gap);
        let end =
            self.sessions[from..from + joined].last().map_or(last, |session| session.last.max(last)) + gap;
        if end + plan.lateness <= passed {
            return Err((Declined::Late, item));
        }
        let mut taken = Taken::MayBeSooner;
        if joined == 0 {
            if self.sessions.len() >= plan.max_slices {
                return Err((Declined::Refused(Refusal::Full), item));
            }
            let acc = item.content.start(aggregate);
            let session =
                Session { first, last, acc, fresh: records, records, revision: 0, emitted: Vec::new() };
            self.sessions.insert(from, session);
        } else {
            if joined == 1 && self.sessions[from].last + gap > passed {
                taken = Taken::AsBefore;
            }
            let later: Vec<_> = self.sessions.drain(from + 1..from + joined).collect();
            let session = &mut self.sessions[from];
            later.into_iter().for_each(|other| session.absorb(other, aggregate));
            item.content.add_to(aggregate, &mut session.acc);
            session.first = session.first.min(first);
            session.last = session.last.max(last);
            session.fresh = session.fresh.saturating_add(records);
            session.records = session.records.saturating_add(records);
        }
        let session = &mut self.sessions[from];
        if end <= passed {
            fired.push(session.fire(gap, Kind::Late, aggregate));
        } else if plan.early_count.is_some_and(|n| session.records >= n) {
            fired.push(session.fire(gap, Kind::Early, aggregate));
        }
        Ok(taken)
    }

    /// When the next session is complete, or over; `i64::MAX` if there is none.
    pub(super) fn due(&self, gap: i64, plan: &Plan, passed: i64) -> i64 {
        let due = |session: &Session<S>| {
            let end = session.last + gap;
            if end > passed { end } else { end + plan.lateness }
        };
        self.sessions.iter().map(due).min().unwrap_or(i64::MAX)
    }

    /// Fires the sessions that end after `passed` and up to `until`, and drops those that are over then.
    pub(super) fn settle<A: Aggregate<Acc = S>>(
        &mut self,
        (gap, plan, aggregate): (i64, &Plan, &A),
        passed: i64,
        until: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        for session in &mut self.sessions {
            let end = session.last + gap;
            if passed < end && end <= until {
                fired.push(session.fire(gap, Kind::OnTime, aggregate));
            }
        }
        self.sessions.retain(|session| session.last + gap + plan.lateness > until);
    }

    /// Fires early each session that ends after `passed` and has changed since the last time.
    pub(super) fn early<A: Aggregate<Acc = S>>(
        &mut self,
        (gap, aggregate): (i64, &A),
        passed: i64,
        fired: &mut Vec<Outcome<A::Out>>,
    ) {
        for session in &mut self.sessions {
            if std::mem::take(&mut session.fresh) > 0 && session.last + gap > passed {
                fired.push(session.fire(gap, Kind::Early, aggregate));
            }
        }
    }

    /// Gives what each session would give now; uses up what is known of results.
    pub(super) fn look<A: Aggregate<Acc = S>>(
        &mut self,
        (gap, aggregate): (i64, &A),
        passed: i64,
        seen: &mut Vec<Outcome<A::Out>>,
    ) {
        for session in self.sessions.iter_mut().take(MOST) {
            let kind = if session.last + gap > passed { Kind::Early } else { Kind::Late };
            seen.push(session.fire(gap, kind, aggregate));
        }
    }

    /// Takes the sessions apart: first and last time, records and accumulator of each.
    pub(super) fn into_parts(self) -> impl Iterator<Item = (i64, i64, u64, S)> {
        self.sessions.into_iter().map(|session| (session.first, session.last, session.fresh, session.acc))
    }
}

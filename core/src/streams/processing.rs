//! The operator that runs a [`Process`]: its timers are state, and what timers emit is kept until it is done.
//!
//! Invariant: a timer is set until its call has returned, and what it emitted is in the same entry of state by then; so a
//! crash at any time calls it again or emits its results again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use serde::{Deserialize, Serialize};

use super::key::KeySelector;
use super::marks::Marks;
use super::process::{Process, ProcessContext, Sink, Timer};
use super::rolling::unprepared;
use super::shelf::{Keeps, Shelf, Way};
use crate::backoff::Backoff;
use crate::context::TaskContext;
use crate::fail::{Fail, Failure};
use crate::operator::Operator;
use crate::runtime::{Emitter, Phase, Trees};
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::state::{Key, State};
use crate::time::{Timed, Watermark};
use crate::tuple::Tuple;
use crate::window::{Clock, KeyTimers, Timers};

/// How often a timer's call is made before the timer is given up.
const ATTEMPTS: u32 = 5;
/// Between two attempts.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

/// What timers have emitted and is not done, each call's under a number.
type Results<O> = BTreeMap<u64, Arc<[Timed<O>]>>;

/// What is kept of a key.
#[derive(Clone, Serialize, Deserialize)]
struct Entry<O> {
    timers: KeyTimers,
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    results: Results<O>,
}

/// What a timer has emitted, on its way.
#[derive(Debug)]
pub(super) struct Given<K, O> {
    key: K,
    number: u64,
    values: Arc<[Timed<O>]>,
}

impl<K, O> Given<K, O> {
    /// What event time must not pass before it is done.
    fn at(&self) -> i64 {
        self.values.iter().map(|timed| timed.at).min().unwrap_or(i64::MAX)
    }
}

/// The call of the timer that is due first.
#[derive(Debug, Default)]
struct Call {
    /// How often it was made.
    attempts: u32,
    /// When it is to be made next.
    due: Moment,
    /// The time that event time is held back at until it has succeeded.
    hold: Option<i64>,
}

/// Timers and results, and the states that they are written out to.
struct Kept<K: Key, O: Tuple> {
    timers: Timers<K>,
    results: HashMap<K, Results<O>, RandomState>,
    next: u64,
    /// Keys whose entry is not what the state has.
    changed: HashSet<K, RandomState>,
    entries: State<K, Entry<O>>,
    marks: Marks,
    watermark: Watermark,
    call: Call,
    /// Whether no timer is called any more: one failed as the topology was about to stop.
    is_over: bool,
}

impl<K: Key, O: Tuple> Kept<K, O> {
    async fn open(task: &TaskContext, given: &mut Vec<Given<K, O>>) -> Result<Self, Fault> {
        let entries: State<K, Entry<O>> = task.state(&format!("{}.timers", task.component())).await?;
        let marks = Marks::open(task).await?;
        let (mut timers, mut results, mut next) = (Timers::new(), HashMap::<_, Results<O>, _>::default(), 0);
        let mut restored = Ok(());
        entries.for_each(|key, entry| {
            if restored.is_ok() {
                restored = timers.restore(key.clone(), entry.timers.clone());
            }
            if let Some((last, _)) = entry.results.last_key_value() {
                next = next.max(last + 1);
                results.insert(key.clone(), entry.results.clone());
            }
        })?;
        restored?;
        for (key, results) in &results {
            let one = |(number, values): (&u64, &Arc<[Timed<O>]>)| Given {
                key: key.clone(),
                number: *number,
                values: Arc::clone(values),
            };
            given.extend(results.iter().map(one));
        }
        let (watermark, changed, call) = (marks.at(), HashSet::default(), Call::default());
        Ok(Self { timers, results, next, changed, entries, marks, watermark, call, is_over: false })
    }

    /// Which clock's timer is due, and when it was.
    fn due(&self, now_ms: i64) -> Option<Clock> {
        if self.is_over {
            return None;
        }
        let is_due =
            |clock, until| self.timers.next(clock).is_some_and(|at| at <= until && until != i64::MIN);
        let event = is_due(Clock::Event, self.watermark.0).then_some(Clock::Event);
        event.or_else(|| is_due(Clock::Processing, now_ms).then_some(Clock::Processing))
    }

    fn give(&mut self, key: K, values: Vec<Timed<O>>) -> Given<K, O> {
        let (number, values) = (self.next, Arc::<[Timed<O>]>::from(values));
        self.next += 1;
        self.changed.insert(key.clone());
        self.results.entry(key.clone()).or_default().insert(number, Arc::clone(&values));
        Given { key, number, values }
    }

    fn done(&mut self, given: &Given<K, O>) {
        if let Some(results) = self.results.get_mut(&given.key) {
            results.remove(&given.number);
            if results.is_empty() {
                self.results.remove(&given.key);
            }
            self.changed.insert(given.key.clone());
        }
    }
}

impl<K: Key, O: Tuple> Keeps for Kept<K, O> {
    fn write_out(&mut self) -> Result<(), Fault> {
        let changed = &mut self.changed;
        self.timers.take_changes(|key, _| _ = changed.insert(key.clone()));
        let mut entries = self.entries.lock();
        for key in changed.iter() {
            let (timers, results) = (self.timers.get(key), self.results.get(key));
            match (timers, results) {
                (None, None) => entries.remove(key).map(drop)?,
                _ => {
                    let (timers, results) = (timers.cloned(), results.cloned());
                    let (timers, results) = (timers.unwrap_or_default(), results.unwrap_or_default());
                    entries.put(key.clone(), Entry { timers, results })?;
                }
            }
        }
        drop(entries);
        changed.clear();
        self.marks.write_out(self.watermark)
    }
}

/// A step that runs `P`.
pub(super) struct Processing<S, P: Process> {
    selector: S,
    process: P,
    task: Option<TaskContext>,
    kept: Option<Kept<P::Key, P::Out>>,
    shelf: Way<Kept<P::Key, P::Out>>,
    /// Results of an earlier run, which are to be given again.
    given: Vec<Given<P::Key, P::Out>>,
}

impl<S: KeySelector<P::In, Key = P::Key>, P: Process> Processing<S, P> {
    pub(super) fn new(selector: S, process: P) -> Self {
        Self { selector, process, task: None, kept: None, shelf: None, given: Vec::new() }
    }

    fn wall_ms(&self) -> i64 {
        self.task.as_ref().map_or(0, |task| task.clock().wall_ms())
    }

    fn is_draining(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.control.phase() >= Phase::Draining)
    }

    fn now(&self) -> Moment {
        self.task.as_ref().map(TaskContext::now).unwrap_or_default()
    }

    /// Calls the timers that are due, one after the other, until none is or one failed.
    fn fire(&mut self, trees: &mut Trees<Given<P::Key, P::Out>>) {
        self.given.drain(..).for_each(|given| trees.open(given.at(), given));
        if self.is_draining() {
            // What failed stays set for the next run.
            if let Some(kept) = &mut self.kept
                && let Some(hold) = std::mem::take(&mut kept.call).hold
            {
                kept.is_over = true;
                return trees.release(hold);
            }
        }
        let (now_ms, now) = (self.wall_ms(), self.now());
        while let Some(kept) = &mut self.kept
            && kept.call.due <= now
            && let Some(clock) = kept.due(now_ms)
        {
            let Some((key, at)) = kept.timers.pop(clock, i64::MAX) else { return };
            // It stays set until the call has returned.
            kept.timers.set(clock, &key, at);
            let timer = Timer { clock, at };
            let time = match (clock, kept.watermark) {
                (Clock::Event, _) => at,
                (Clock::Processing, Watermark::MIN) => now_ms,
                (Clock::Processing, watermark) => watermark.0,
            };
            if kept.call.hold.is_none() {
                trees.hold_back(time);
                kept.call.hold = Some(time);
            }
            let outcome = if kept.call.attempts < ATTEMPTS {
                kept.call.attempts += 1;
                kept.call.due = BACKOFF.due(kept.call.attempts + 1, now, at as u64);
                self.call(&key, timer, time, now_ms)
            } else {
                Err(Fail::reject("it panics"))
            };
            if !self.note(&key, timer, outcome, trees) {
                return;
            }
        }
    }

    fn call(&mut self, key: &P::Key, timer: Timer, at: i64, now_ms: i64) -> Result<Vec<Timed<P::Out>>, Fail> {
        let kept = self.kept.as_mut().ok_or_else(unprepared)?;
        let mut values = Vec::new();
        let (watermark, timers, sink) = (kept.watermark, &mut kept.timers, Sink::Own(&mut values));
        let mut context = ProcessContext { key, at, watermark, now_ms, timers, sink };
        // What it sets again now is not what was due.
        let outcome = self.process.on_timer(timer, &mut context);
        outcome.map(|()| values)
    }

    /// Notes how a timer's call went; whether others may follow.
    fn note(
        &mut self,
        key: &P::Key,
        timer: Timer,
        outcome: Result<Vec<Timed<P::Out>>, Fail>,
        trees: &mut Trees<Given<P::Key, P::Out>>,
    ) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        match outcome {
            Ok(values) if values.is_empty() => {}
            Ok(values) => {
                let given = kept.give(key.clone(), values);
                trees.open(given.at(), given);
            }
            Err(Fail::Retry(_)) if kept.call.attempts < ATTEMPTS => return false,
            Err(fail) => {
                let Timer { clock, at } = timer;
                if let Some(task) = &self.task {
                    task.report(&format!("a timer ({clock:?}, {at} ms) is given up: {}", fail.reason()));
                }
            }
        }
        kept.timers.delete(timer.clock, key, timer.at);
        if let Some(hold) = std::mem::take(&mut kept.call).hold {
            trees.release(hold);
        }
        true
    }
}

impl<S: KeySelector<P::In, Key = P::Key>, P: Process> Operator for Processing<S, P> {
    type In = Timed<P::In>;
    type Out = Timed<P::Out>;
    type Tree = Given<P::Key, P::Out>;

    const KEEPS_STATE: bool = true;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        let shelf = Shelf::of(task, "timers");
        self.kept = shelf.take();
        self.shelf = Some(shelf);
        if self.kept.is_none() {
            self.kept = Some(Kept::open(task, &mut self.given).await?);
        }
        self.process.prepare(task).await
    }

    async fn execute(
        &mut self,
        timed: Timed<P::In>,
        out: &mut Emitter<Timed<P::Out>>,
        _trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fail> {
        let (at, now_ms) = (timed.at, self.wall_ms());
        let kept = self.kept.as_mut().ok_or_else(unprepared)?;
        let key = self.selector.key(&timed.value, Clone::clone);
        let (watermark, timers) = (kept.watermark, &mut kept.timers);
        let mut context = ProcessContext { key: &key, at, watermark, now_ms, timers, sink: Sink::Input(out) };
        self.process.process(timed, &mut context)
    }

    async fn on_watermark(
        &mut self,
        at: Watermark,
        _out: &mut Emitter<Timed<P::Out>>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fault> {
        if let Some(kept) = self.kept.as_mut().filter(|_| at != Watermark::MAX) {
            kept.watermark = kept.watermark.max(at);
        }
        self.fire(trees);
        Ok(())
    }

    fn timer(&self) -> Option<Moment> {
        let (kept, now) = (self.kept.as_ref()?, self.now());
        if !self.given.is_empty() {
            return Some(now);
        }
        let now_ms = self.wall_ms();
        if kept.due(now_ms).is_some() {
            if kept.call.hold.is_some() && self.is_draining() {
                return Some(now);
            }
            return Some(kept.call.due.max(now));
        }
        if kept.is_over {
            return None;
        }
        let wait = kept.timers.next(Clock::Processing)?.saturating_sub(now_ms);
        Some(now.after(Duration::from_millis(wait.unsigned_abs())))
    }

    async fn on_timer(
        &mut self,
        _now: Moment,
        _out: &mut Emitter<Timed<P::Out>>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fault> {
        self.fire(trees);
        Ok(())
    }

    fn emit(given: &Self::Tree, out: &mut Emitter<Timed<P::Out>>) {
        given.values.iter().for_each(|timed| out.emit(timed.clone()));
    }

    fn acked(&mut self, given: Self::Tree) {
        if let Some(kept) = &mut self.kept {
            kept.done(&given);
        }
    }

    fn exhausted(&mut self, given: Self::Tree, _failure: &Failure) {
        // Reported and counted; to keep it would only have it fail again.
        self.acked(given);
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.refresh()
    }

    fn refresh(&mut self) -> Result<(), Fault> {
        self.kept.as_mut().map_or(Ok(()), Keeps::write_out)
    }
}

impl<S, P: Process> Drop for Processing<S, P> {
    fn drop(&mut self) {
        if let (Some(shelf), Some(kept)) = (&self.shelf, self.kept.take()) {
            shelf.put_back(kept);
        }
    }
}

impl<S, P: Process> fmt::Debug for Processing<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processing").field("given", &self.given.len()).finish_non_exhaustive()
    }
}

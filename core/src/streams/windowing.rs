//! The operator that drives a window engine: its keys' entries are state, its results trees of their own.
//!
//! Invariant: a result is in its key's entry until its tree is done, so a crash at any time gives it again.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::intake::Intake;
use super::marks::Marks;
use super::rolling::unprepared;
use super::shelf::{Keeps, Shelf, Way};
use crate::context::TaskContext;
use crate::fail::{Fail, Failure};
use crate::operator::Operator;
use crate::ports;
use crate::runtime::Trees;
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::state::{Key, State};
use crate::time::{Timed, Watermark};
use crate::tuple::Tuple;
use crate::window::aggregate::Aggregate;
use crate::window::{Engine, Entry, Fired, PaneId, Trigger, Window, WindowError, Windows};

ports! {
    /// What a step with windows emits.
    pub struct Windowed<R, T> {
        /// Results of windows.
        results: Timed<R>,
        /// What came too late for its windows.
        late: Timed<T>,
    }
}

/// What windows there are, and when they give results.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) windows: Windows,
    pub(super) trigger: Trigger,
    pub(super) lateness: Duration,
}

impl Plan {
    pub(super) fn new(windows: Windows) -> Self {
        Self { windows, trigger: Trigger::watermark(), lateness: Duration::ZERO }
    }

    pub(super) fn engine<K: std::hash::Hash + Eq + Clone, A: Aggregate>(
        &self,
        aggregate: A,
    ) -> Result<Engine<K, A>, WindowError> {
        Engine::new(self.windows, aggregate)?.trigger(self.trigger)?.allowed_lateness(self.lateness)
    }
}

/// A result on its way.
#[derive(Debug)]
pub(super) struct Given<K, V> {
    pane: PaneId,
    fired: Fired<K, V>,
}

impl<K, V> Given<K, V> {
    /// The last moment of the result's window, or `now` where that has none.
    fn at(&self, now: i64) -> i64 {
        match self.fired.window {
            Window::ALL => now,
            Window { end, .. } => end.saturating_sub(1),
        }
    }
}

/// An engine, and the states that it is written out to.
struct Kept<K: Key, A: Aggregate> {
    engine: Engine<K, A>,
    entries: State<K, Entry<A::Acc, A::Out>>,
    marks: Marks,
    /// Keys that changed and could not be written out.
    unwritten: Vec<K>,
    /// Keys that are gone, whose entries say so until the watermark that closed their windows is flushed.
    over: Vec<K>,
}

impl<K: Key, A: Aggregate> Kept<K, A> {
    async fn open(
        task: &TaskContext,
        engine: Engine<K, A>,
        given: &mut Vec<Given<K, A::Out>>,
    ) -> Result<Self, Fault>
    where
        A: Clone + Sync,
    {
        let name = task.component();
        let entries: State<K, Entry<A::Acc, A::Out>> = task.state(name).await?;
        entries.show_as(engine.shows());
        let marks = Marks::open(task).await?;
        let (unwritten, over) = Default::default();
        let mut kept = Self { engine, entries, marks, unwritten, over };
        let mut restored = Ok(());
        kept.entries.for_each(|key, entry| {
            if entry.over_at().is_some_and(|at| at <= kept.marks.at()) {
                kept.over.push(key.clone());
            } else if restored.is_ok() {
                restored = kept.engine.restore(key.clone(), entry.clone());
            }
        })?;
        restored?;
        kept.engine.resume(kept.marks.at(), &mut |pane, fired| given.push(Given { pane, fired }));
        Ok(kept)
    }
}

impl<K: Key, A: Aggregate> Keeps for Kept<K, A> {
    /// Brings the states up to the engine.
    fn write_out(&mut self) -> Result<(), Fault> {
        let mut entries = self.entries.lock();
        // Entries are flushed before the watermark. Where a crash comes between, only they tell what was closed.
        if self.marks.is_flushed() {
            while let Some(key) = self.over.last() {
                if self.engine.get(key).is_none() {
                    entries.remove(key)?;
                }
                self.over.pop();
            }
        }
        let unwritten = &mut self.unwritten;
        self.engine.take_changes(|key, _| unwritten.push(key.clone()));
        while let Some(key) = unwritten.last() {
            match self.engine.get(key) {
                Some(entry) => entries.put(key.clone(), entry.clone())?,
                None => match self.engine.over() {
                    Some(over) => {
                        entries.put(key.clone(), over)?;
                        self.over.push(key.clone());
                    }
                    None => entries.remove(key).map(drop)?,
                },
            }
            unwritten.pop();
        }
        drop(entries);
        self.marks.write_out(self.engine.watermark())
    }
}

/// A step with windows.
pub(super) struct Windowing<T, I: Intake<T, A>, A: Aggregate<In = T>> {
    intake: I,
    plan: Plan,
    aggregate: A,
    kept: Option<Kept<I::Key, A>>,
    shelf: Way<Kept<I::Key, A>>,
    task: Option<TaskContext>,
    /// The moment that processing time is counted from.
    begin: Moment,
    /// Results of an earlier run, which are to be given again.
    given: Vec<Given<I::Key, A::Out>>,
    values: PhantomData<fn(T)>,
}

impl<T, I, A> Windowing<T, I, A>
where
    T: Tuple,
    I: Intake<T, A>,
    A: Aggregate<In = T> + Sync,
{
    pub(super) fn new(intake: I, plan: Plan, aggregate: A) -> Self
    where
        A: Clone,
    {
        let begin = Moment::default();
        let (kept, shelf, task, given) = Default::default();
        Self { intake, plan, aggregate, kept, shelf, task, begin, given, values: PhantomData }
    }

    fn open_given(&mut self, trees: &mut Trees<Given<I::Key, A::Out>>) {
        let now = self.kept.as_ref().map_or(i64::MIN, |kept| kept.engine.watermark().0);
        self.given.drain(..).for_each(|given| trees.open(given.at(now), given));
    }

    fn show_windows(&self) {
        if let (Some(task), Some(kept)) = (&self.task, &self.kept) {
            let engine = &kept.engine;
            task.counters.show_open_windows(engine.len(), engine.open_windows(), engine.awaiting());
        }
    }

    fn millis(&self, now: Moment) -> i64 {
        now.since(self.begin).as_millis().try_into().unwrap_or(i64::MAX)
    }
}

impl<T, I, A> Operator for Windowing<T, I, A>
where
    T: Tuple,
    I: Intake<T, A>,
    A: Aggregate<In = T> + Clone + Sync,
{
    type In = Timed<I::In>;
    type Out = Windowed<Fired<I::Key, A::Out>, T>;
    type Tree = Given<I::Key, A::Out>;

    const KEEPS_STATE: bool = true;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        self.begin = task.now();
        let shelf = Shelf::of(task, "windows");
        self.kept = shelf.take();
        self.shelf = Some(shelf);
        if self.kept.is_none() {
            let engine = self.plan.engine(self.aggregate.clone())?;
            self.kept = Some(Kept::open(task, engine, &mut self.given).await?);
        }
        if let Some(kept) = &mut self.kept {
            // Early results begin to be due.
            kept.engine.processing_time(0, &mut |_, _| ());
        }
        Ok(())
    }

    async fn execute(
        &mut self,
        timed: Timed<I::In>,
        out: &mut Windowed<Fired<I::Key, A::Out>, T>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fail> {
        let at = timed.at;
        let kept = self.kept.as_mut().ok_or_else(unprepared)?;
        let task = &self.task;
        let sink = &mut |pane, fired| {
            let given = Given { pane, fired };
            trees.open(given.at(at), given);
        };
        self.intake.offer(&mut kept.engine, timed, sink, &mut |value| {
            if let Some(task) = task {
                task.counters.late(1);
            }
            out.late.emit(value);
        })
    }

    async fn on_watermark(
        &mut self,
        at: Watermark,
        _out: &mut Windowed<Fired<I::Key, A::Out>, T>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fault> {
        self.open_given(trees);
        if let Some(kept) = &mut self.kept {
            kept.engine.advance(at, &mut |pane, fired| {
                let given = Given { pane, fired };
                trees.open(given.at(at.0), given);
            });
        }
        self.show_windows();
        Ok(())
    }

    fn timer(&self) -> Option<Moment> {
        if !self.given.is_empty() {
            return Some(self.begin);
        }
        let due = self.kept.as_ref()?.engine.next_processing_time()?;
        Some(self.begin.after(Duration::from_millis(due.try_into().unwrap_or(0))))
    }

    async fn on_timer(
        &mut self,
        now: Moment,
        _out: &mut Windowed<Fired<I::Key, A::Out>, T>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fault> {
        self.open_given(trees);
        let millis = self.millis(now);
        if let Some(kept) = &mut self.kept {
            let watermark = kept.engine.watermark().0;
            kept.engine.processing_time(millis, &mut |pane, fired| {
                let given = Given { pane, fired };
                trees.open(given.at(watermark), given);
            });
        }
        self.show_windows();
        Ok(())
    }

    fn emit(given: &Self::Tree, out: &mut Windowed<Fired<I::Key, A::Out>, T>) {
        let Fired { window, .. } = given.fired;
        let at = if window == Window::ALL { i64::MAX - 1 } else { window.end.saturating_sub(1) };
        out.results.emit(Timed { at, value: given.fired.clone() });
    }

    fn acked(&mut self, given: Self::Tree) {
        if let Some(kept) = &mut self.kept {
            kept.engine.acked(given.pane);
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
        let written = self.kept.as_mut().map_or(Ok(()), Kept::write_out);
        self.show_windows();
        written
    }
}

impl<T, I: Intake<T, A>, A: Aggregate<In = T>> Drop for Windowing<T, I, A> {
    fn drop(&mut self) {
        if let (Some(shelf), Some(kept)) = (&self.shelf, self.kept.take()) {
            shelf.put_back(kept);
        }
    }
}

impl<T, I: Intake<T, A>, A: Aggregate<In = T>> fmt::Debug for Windowing<T, I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windowing").field("plan", &self.plan).finish_non_exhaustive()
    }
}

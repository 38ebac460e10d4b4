//! What the topologies under test are made of: a spout that replays, bolts made from closures, and what they saw.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};

use topo_core::{
    Bolt, Emitter, Fail, FailKind, Failure, Fault, Input, Next, Output, RichBolt, Spout, SpoutEmitter,
    TaskContext, Tuple,
};

/// Work for the tasks of a [`Source`], which outlives its instances, and what became of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<Ledger>>);

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Numbers to emit, and on which attempt.
    to_emit: VecDeque<(u64, u32)>,
    /// Emitted and not answered: the attempt.
    open: BTreeMap<u64, u32>,
    attempts: u32,
    /// How often each number was acked.
    pub(crate) acked: BTreeMap<u64, u32>,
    /// All fails, in their order.
    pub(crate) failed: Vec<(u64, Failure)>,
    /// Numbers that ran out of attempts or were rejected.
    pub(crate) given_up: Vec<u64>,
    /// The most that were open at once.
    pub(crate) most_open: usize,
}

impl Ledger {
    /// How many numbers are emitted and not answered.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// How many numbers were not emitted yet.
    pub(crate) fn left(&self) -> usize {
        self.to_emit.len()
    }
}

impl Desk {
    /// The numbers below `count`, each tried up to `attempts` times.
    pub(crate) fn new(count: u64, attempts: u32) -> Self {
        let desk = Self::default();
        {
            let mut ledger = desk.lock();
            ledger.to_emit = (0..count).map(|number| (number, 1)).collect();
            ledger.attempts = attempts;
        }
        desk
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap()
    }

    pub(crate) fn add(&self, number: u64) {
        self.lock().to_emit.push_back((number, 1));
    }

    /// A spout's factory.
    pub(crate) fn source(&self) -> impl Fn() -> Source + Send + Sync + 'static {
        let desk = self.clone();
        move || Source(desk.clone())
    }

    /// Takes the next number to emit.
    pub(crate) fn take(&self) -> Option<(u64, u32)> {
        let mut ledger = self.lock();
        let (number, attempt) = ledger.to_emit.pop_front()?;
        assert_eq!(ledger.open.insert(number, attempt), None, "{number} is emitted while it is open");
        ledger.most_open = ledger.most_open.max(ledger.open.len());
        Some((number, attempt))
    }

    /// As [`take`](Self::take), but what was tried before only where `own` says so: time is a task's own.
    pub(crate) fn take_own(&self, own: impl Fn(u64) -> bool) -> Option<(u64, u32)> {
        let mut ledger = self.lock();
        let at = ledger.to_emit.iter().position(|&(number, attempt)| attempt == 1 || own(number))?;
        let first = ledger.to_emit.remove(at)?;
        ledger.to_emit.push_front(first);
        drop(ledger);
        self.take()
    }

    /// What `next` says when there is nothing to take.
    pub(crate) fn rest(&self) -> Next {
        if self.lock().open.is_empty() { Next::Finished } else { Next::Idle }
    }

    pub(crate) fn ack(&self, number: u64) {
        let mut ledger = self.lock();
        assert!(ledger.open.remove(&number).is_some(), "{number} is acked and not open");
        *ledger.acked.entry(number).or_default() += 1;
    }

    pub(crate) fn fail(&self, number: u64, failure: &Failure) {
        let mut ledger = self.lock();
        let attempt =
            ledger.open.remove(&number).unwrap_or_else(|| panic!("{number} failed and is not open"));
        assert_eq!(failure.attempt, attempt, "the attempt of {number}");
        ledger.failed.push((number, failure.clone()));
        if failure.kind == FailKind::Reject || attempt == ledger.attempts {
            ledger.given_up.push(number);
        } else {
            ledger.to_emit.push_back((number, attempt + 1));
        }
    }

    /// Every number below `count` was acked exactly once, and none was given up.
    pub(crate) fn assert_all_acked(&self, count: u64) {
        let ledger = self.lock();
        let acked: Vec<(u64, u32)> = ledger.acked.iter().map(|(&number, &times)| (number, times)).collect();
        let expected: Vec<(u64, u32)> = (0..count).map(|number| (number, 1)).collect();
        assert_eq!(acked, expected, "what was acked, and how often");
        assert_eq!(ledger.given_up, []);
        assert!(ledger.open.is_empty());
    }
}

/// A spout that emits its desk's numbers, and those that fail again.
pub(crate) struct Source(pub(crate) Desk);

impl Spout for Source {
    type Out = u64;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        let Some((number, attempt)) = self.0.take() else { return Ok(self.0.rest()) };
        out.replay(number, attempt, number)?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, number: u64) {
        self.0.ack(number);
    }

    fn fail(&mut self, number: u64, failure: &Failure) {
        self.0.fail(number, failure);
    }
}

/// Things seen by many tasks, in the order they were seen.
#[derive(Debug)]
pub(crate) struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Seen<T> {
    pub(crate) fn note(&self, seen: T) {
        self.0.lock().unwrap().push(seen);
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn sorted(&self) -> Vec<T>
    where
        T: Ord,
    {
        let mut all = self.all();
        all.sort();
        all
    }
}

/// A bolt made from a closure, which is also told its task.
pub(crate) struct Act<In, Out, F> {
    act: F,
    task: Option<TaskContext>,
    types: PhantomData<fn() -> (In, Out)>,
}

/// A factory of bolts that do `act`, each instance with a clone of it.
pub(crate) fn act<In, T, F>(act: F) -> impl Fn() -> Act<In, T, F> + Send + Sync + 'static
where
    In: Tuple,
    T: Tuple,
    F: FnMut(In, &mut Emitter<T>, &TaskContext) -> Result<(), Fail> + Clone + Send + Sync + 'static,
{
    act_to::<In, T, F>(act)
}

/// As [`act`], for bolts with ports.
pub(crate) fn act_to<In, Out, F>(act: F) -> impl Fn() -> Act<In, Out, F> + Send + Sync + 'static
where
    In: Tuple,
    Out: Output,
    F: FnMut(In, &mut Out::Emitter, &TaskContext) -> Result<(), Fail> + Clone + Send + Sync + 'static,
{
    move || Act { act: act.clone(), task: None, types: PhantomData }
}

impl<In, Out, F> Bolt for Act<In, Out, F>
where
    In: Tuple,
    Out: Output,
    F: FnMut(In, &mut Out::Emitter, &TaskContext) -> Result<(), Fail> + Send + 'static,
{
    type In = In;
    type Out = Out;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, tuple: In, out: &mut Out::Emitter) -> Result<(), Fail> {
        (self.act)(tuple, out, self.task.as_ref().expect("it is prepared"))
    }
}

/// Hands every number on.
pub(crate) struct Pass;

/// A factory of bolts that hand every number on.
pub(crate) fn pass() -> impl Fn() -> Pass + Send + Sync + 'static {
    || Pass
}

impl Bolt for Pass {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        out.emit(number);
        Ok(())
    }
}

/// Notes the task and the number of all it gets.
pub(crate) struct Note {
    seen: Seen<(u32, u64)>,
    task: u32,
}

/// A factory of bolts that note what they see.
pub(crate) fn note(seen: &Seen<(u32, u64)>) -> impl Fn() -> Note + Send + Sync + 'static {
    let seen = seen.clone();
    move || Note { seen: seen.clone(), task: 0 }
}

impl Bolt for Note {
    type In = u64;
    type Out = ();

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = task.task();
        Ok(())
    }

    async fn execute(&mut self, number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        self.seen.note((self.task, number));
        Ok(())
    }
}

/// A rich bolt made from a closure.
pub(crate) struct RichAct<In, Out, F> {
    act: F,
    types: PhantomData<fn() -> (In, Out)>,
}

/// A factory of bolts that own their inputs and do `act` with each.
pub(crate) fn rich<In, T, F>(act: F) -> impl Fn() -> RichAct<In, T, F> + Send + Sync + 'static
where
    In: Tuple,
    T: Tuple,
    F: FnMut(Input<In>, &mut Emitter<T>) -> Result<(), Fault> + Clone + Send + Sync + 'static,
{
    move || RichAct { act: act.clone(), types: PhantomData }
}

impl<In, Out, F> RichBolt for RichAct<In, Out, F>
where
    In: Tuple,
    Out: Output,
    F: FnMut(Input<In>, &mut Out::Emitter) -> Result<(), Fault> + Send + 'static,
{
    type In = In;
    type Out = Out;

    async fn execute(&mut self, input: Input<In>, out: &mut Out::Emitter) -> Result<(), Fault> {
        (self.act)(input, out)
    }
}

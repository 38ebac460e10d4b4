//! The step that lets the first value of each key pass.
//!
//! Invariant: a value that passes is kept with its key until its tree is done; so neither a failure behind this step nor a
//! crash loses it, though a replay finds its key known.

use std::fmt;

use super::key::KeySelector;
use super::rolling::unprepared;
use super::shelf::{Keeps, Shelf, Way};
use crate::context::TaskContext;
use crate::fail::{Fail, Failure};
use crate::operator::Operator;
use crate::runtime::{Emitter, Trees};
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::state::{Key, State};
use crate::time::{Timed, Watermark};
use crate::tuple::Tuple;

/// What is kept of a key that is known: its value, until that is done.
type Known<T> = Option<Box<Timed<T>>>;

/// The first value of a key, on its way.
#[derive(Debug)]
pub(super) struct Passing<K, T> {
    key: K,
    value: Timed<T>,
}

/// The keys that are known, and those whose values are done and could not be noted as that.
struct Kept<K: Key, T: Tuple> {
    known: State<K, Known<T>>,
    unnoted: Vec<K>,
}

impl<K: Key, T: Tuple> Keeps for Kept<K, T> {
    fn write_out(&mut self) -> Result<(), Fault> {
        while let Some(key) = self.unnoted.last() {
            self.known.put(key.clone(), None)?;
            self.unnoted.pop();
        }
        Ok(())
    }
}

/// A step that lets the first value of each key pass.
pub(super) struct First<T: Tuple, S: KeySelector<T>> {
    key: S,
    kept: Option<Kept<S::Key, T>>,
    shelf: Way<Kept<S::Key, T>>,
    /// Values of an earlier run, which are to be given again.
    given: Vec<Passing<S::Key, T>>,
    task: Option<TaskContext>,
}

impl<T: Tuple, S: KeySelector<T>> First<T, S> {
    pub(super) fn new(key: S) -> Self {
        Self { key, kept: None, shelf: None, given: Vec::new(), task: None }
    }

    fn open_given(&mut self, trees: &mut Trees<Passing<S::Key, T>>) {
        self.given.drain(..).for_each(|passing| trees.open(passing.value.at, passing));
    }
}

impl<T: Tuple, S: KeySelector<T>> Operator for First<T, S> {
    type In = Timed<T>;
    type Out = Timed<T>;
    type Tree = Passing<S::Key, T>;

    const KEEPS_STATE: bool = true;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        let shelf = Shelf::of(task, "first");
        self.kept = shelf.take();
        self.shelf = Some(shelf);
        if self.kept.is_none() {
            let known: State<S::Key, Known<T>> = task.state(task.component()).await?;
            let given = &mut self.given;
            known.for_each(|key, value| {
                let passing = |value: &Timed<T>| Passing { key: key.clone(), value: value.clone() };
                given.extend(value.as_deref().map(passing));
            })?;
            self.kept = Some(Kept { known, unnoted: Vec::new() });
        }
        Ok(())
    }

    async fn execute(
        &mut self,
        timed: Timed<T>,
        _out: &mut Emitter<Timed<T>>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fail> {
        let kept = self.kept.as_mut().ok_or_else(unprepared)?;
        let first = self.key.key(&timed.value, |key| {
            let is_known = kept.known.modify(key, |known| {
                let is_known = known.is_some();
                known.get_or_insert_with(|| Some(Box::new(timed.clone())));
                is_known
            })?;
            Ok::<_, Fail>((!is_known).then(|| key.clone()))
        })?;
        if let Some(key) = first {
            trees.open(timed.at, Passing { key, value: timed });
        }
        Ok(())
    }

    async fn on_watermark(
        &mut self,
        _at: Watermark,
        _out: &mut Emitter<Timed<T>>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fault> {
        self.open_given(trees);
        Ok(())
    }

    fn timer(&self) -> Option<Moment> {
        self.task.as_ref().filter(|_| !self.given.is_empty()).map(TaskContext::now)
    }

    async fn on_timer(
        &mut self,
        _now: Moment,
        _out: &mut Emitter<Timed<T>>,
        trees: &mut Trees<Self::Tree>,
    ) -> Result<(), Fault> {
        self.open_given(trees);
        Ok(())
    }

    fn emit(passing: &Self::Tree, out: &mut Emitter<Timed<T>>) {
        out.emit(passing.value.clone());
    }

    fn acked(&mut self, passing: Self::Tree) {
        if let Some(kept) = &mut self.kept
            && kept.known.put(passing.key.clone(), None).is_err()
        {
            // The next flush notes it, or says why it cannot.
            kept.unnoted.push(passing.key);
        }
    }

    fn exhausted(&mut self, passing: Self::Tree, _failure: &Failure) {
        // Reported and counted; to keep it would only have it fail again.
        self.acked(passing);
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        self.kept.as_mut().map_or(Ok(()), Keeps::write_out)
    }
}

impl<T: Tuple, S: KeySelector<T>> Drop for First<T, S> {
    fn drop(&mut self) {
        if let (Some(shelf), Some(kept)) = (&self.shelf, self.kept.take()) {
            shelf.put_back(kept);
        }
    }
}

impl<T: Tuple, S: KeySelector<T>> fmt::Debug for First<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("First").field("given", &self.given.len()).finish_non_exhaustive()
    }
}

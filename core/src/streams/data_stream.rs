//! A stream of values and their times, and the steps that need no state.
//!
//! Each step is a bolt of the same graph that spouts and bolts are added to: it has a name, tasks, a row on the page.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::each::Each;
use super::key::{ByKey, ByReference, ByValue, KeySelector};
use super::keyed::KeyedStream;
use super::map_async::{MapAsync, Order};
use crate::bolt::{Bolt, RichBolt};
use crate::fail::Fail;
use crate::ports;
use crate::runtime::Emitter;
use crate::state::Key;
use crate::stream::{Feeds, Output, Stream};
use crate::time::Timed;
use crate::topology::{BoltHandle, BuildError, ComponentId, GraphHandle, Topology};
use crate::tuple::Tuple;

ports! {
    /// A stream split in two by a condition; see [`DataStream::branch`].
    pub struct Branches<T> {
        /// What meets the condition.
        matching: Timed<T>,
        /// The rest.
        others: Timed<T>,
    }
}

/// How the next step subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routing {
    /// Task n to task n where both have as many, else in turn.
    Forward,
    /// In turn.
    Shuffle,
    /// Every task gets everything.
    Broadcast,
}

/// A stream of `T`, each with its event time (Flink's `DataStream`, Kafka Streams' `KStream`).
///
/// What comes of it is added to the topology step by step; a step has as many tasks as the one before it unless
/// [`tasks`](Self::tasks) says otherwise, and a name such as `map-2` unless [`name`](Self::name) does. A function that
/// panics, or that fails through [`try_map`](Self::try_map), fails the tree of its input, as any bolt does.
pub struct DataStream<T> {
    graph: GraphHandle,
    /// What the next step subscribes to; several after a merge.
    sources: Vec<Stream<Timed<T>>>,
    routing: Routing,
    /// The step before, which `name` and `tasks` change.
    step: Option<ComponentId>,
}

impl<T> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        Self {
            graph: self.graph.clone(),
            sources: self.sources.clone(),
            routing: self.routing,
            step: self.step,
        }
    }
}

impl<T> fmt::Debug for DataStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataStream").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl<T: Tuple> DataStream<T> {
    /// The data stream of what a component emits: from hand-written spouts and bolts to the steps here.
    ///
    /// ```
    /// # use topo_core::{DataStream, Fault, Next, Spout, SpoutEmitter, Timed, Topology};
    /// # struct Words;
    /// # impl Spout for Words {
    /// #     type Out = Timed<String>;
    /// #     type Id = u64;
    /// #     fn next(&mut self, _: &mut SpoutEmitter<Timed<String>, u64>) -> Result<Next, Fault> { Ok(Next::Finished) }
    /// # }
    /// let topology = Topology::new("lengths");
    /// let words = topology.spout("words", || Words);
    /// DataStream::of(&words).map(|word| word.len()).name("lengths").for_each(|length| println!("{length}"));
    /// topology.check()?;
    /// # Ok::<(), topo_core::BuildError>(())
    /// ```
    pub fn of(stream: &Stream<Timed<T>>) -> Self {
        let step = Some(stream.component());
        Self { graph: stream.graph().clone(), sources: vec![stream.clone()], routing: Routing::Forward, step }
    }

    /// The streams that it is made of, one unless it was merged: for bolts of your own, which take `Timed<T>`.
    pub fn streams(&self) -> &[Stream<Timed<T>>] {
        &self.sources
    }

    /// Names the step before.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        if let Some(step) = self.step {
            self.graph.rename(step, name);
        }
        self
    }

    /// Gives the step before so many tasks.
    #[must_use]
    pub fn tasks(self, tasks: usize) -> Self {
        if let Some(step) = self.step {
            self.graph.change(step, |component| component.tasks = tasks);
        }
        self
    }

    /// Makes one value of each.
    pub fn map<U: Tuple>(&self, map: impl Fn(T) -> U + Send + Sync + 'static) -> DataStream<U> {
        self.each("map", move |Timed { at, value }, out| {
            out.emit(Timed { at, value: map(value) });
            Ok(())
        })
    }

    /// As [`map`](Self::map), by a function that may fail: [`Fail::retry`] has the record replayed, [`Fail::reject`] gives it
    /// up to the dead letters.
    pub fn try_map<U: Tuple>(
        &self,
        map: impl Fn(T) -> Result<U, Fail> + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.each("try-map", move |Timed { at, value }, out| {
            out.emit(Timed { at, value: map(value)? });
            Ok(())
        })
    }

    /// Makes one value of each by a function that awaits, such as a look-up over the network: at most `at_once` at a time in
    /// each task, whose results leave in `order`. A function that fails fails the tree, as for [`try_map`](Self::try_map).
    pub fn map_async<U: Tuple, Fut>(
        &self,
        at_once: usize,
        order: Order,
        map: impl Fn(T) -> Fut + Send + Sync + 'static,
    ) -> DataStream<U>
    where
        Fut: Future<Output = Result<U, Fail>> + Send + 'static,
    {
        let map = Arc::new(map);
        let bolt = move || MapAsync::new(Arc::clone(&map), at_once, order);
        let step = self.subscribe(self.topology().rich_bolt(&self.step_name("map-async"), bolt));
        DataStream::of(&step)
    }

    /// Makes any number of values of each.
    pub fn flat_map<U: Tuple, I: IntoIterator<Item = U>>(
        &self,
        map: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.each("flat-map", move |Timed { at, value }, out| {
            map(value).into_iter().for_each(|value| out.emit(Timed { at, value }));
            Ok(())
        })
    }

    /// Keeps what meets `condition`.
    pub fn filter(&self, condition: impl Fn(&T) -> bool + Send + Sync + 'static) -> DataStream<T> {
        self.each("filter", move |timed, out| {
            if condition(&timed.value) {
                out.emit(timed);
            }
            Ok(())
        })
    }

    /// Makes a value of each, or none.
    pub fn filter_map<U: Tuple>(
        &self,
        map: impl Fn(T) -> Option<U> + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.each("filter-map", move |Timed { at, value }, out| {
            if let Some(value) = map(value) {
                out.emit(Timed { at, value });
            }
            Ok(())
        })
    }

    /// Looks at each as it passes.
    pub fn inspect(&self, look: impl Fn(&T) + Send + Sync + 'static) -> DataStream<T> {
        self.each("inspect", move |timed, out| {
            look(&timed.value);
            out.emit(timed);
            Ok(())
        })
    }

    /// Ends the stream: calls `act` with each. Done again where a record is replayed.
    pub fn for_each(&self, act: impl Fn(T) + Send + Sync + 'static) -> Step {
        let step: BoltHandle<_, ()> = self.add(
            "for-each",
            Each::factory(move |timed: Timed<T>, _: &mut _| {
                act(timed.value);
                Ok(())
            }),
        );
        Step::from(step)
    }

    /// Splits by `condition`: first what meets it, then the rest.
    pub fn branch(
        &self,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> (DataStream<T>, DataStream<T>) {
        let step: BoltHandle<_, Branches<T>> = self.add(
            "branch",
            Each::factory(move |timed: Timed<T>, out: &mut Branches<T>| {
                if condition(&timed.value) {
                    out.matching.emit(timed)
                } else {
                    out.others.emit(timed)
                }
                Ok(())
            }),
        );
        (DataStream::of(&step.matching), DataStream::of(&step.others))
    }

    /// One stream of both, in no order between them.
    pub fn merge(&self, other: &DataStream<T>) -> DataStream<T> {
        if !other.graph.is_same(&self.graph) {
            let component = self.step.map(|step| self.graph.name_of(step)).unwrap_or_default();
            self.graph.refuse(BuildError::ForeignStream { component });
        }
        let sources = self.sources.iter().chain(&other.sources).cloned().collect();
        Self { graph: self.graph.clone(), sources, routing: Routing::Forward, step: None }
    }

    /// Deals values out in turn to the tasks of the next step, however they lie now.
    pub fn repartition(&self) -> DataStream<T> {
        Self { routing: Routing::Shuffle, ..self.clone() }
    }

    /// Gives every value to each task of the next step.
    pub fn broadcast(&self) -> DataStream<T> {
        Self { routing: Routing::Broadcast, ..self.clone() }
    }

    /// Keys the stream by a part of each value: equal keys go to the same task.
    pub fn key_by<K, F>(&self, key: F) -> KeyedStream<T, ByReference<F, K>>
    where
        K: Key,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.clone(), ByReference::new(key))
    }

    /// As [`key_by`](Self::key_by), by a key that is computed: several fields as a pair, a number, a new string.
    pub fn key_by_value<K, F>(&self, key: F) -> KeyedStream<T, ByValue<F, K>>
    where
        K: Key,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.clone(), ByValue::new(key))
    }

    /// A step by a bolt of your own that takes `Timed<T>`, or anything made from it.
    pub fn bolt<B: Bolt>(
        &self,
        name: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> BoltHandle<B::In, B::Out>
    where
        Timed<T>: Feeds<B::In>,
    {
        self.subscribe(self.topology().bolt(name, factory))
    }

    /// Ends the stream in a bolt that owns its inputs, such as a log's sink.
    pub fn sink<B: RichBolt<Out = ()>>(
        &self,
        name: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> Step
    where
        Timed<T>: Feeds<B::In>,
    {
        Step::from(self.subscribe(self.topology().rich_bolt(name, factory)))
    }

    /// What was attached to the topology.
    #[doc(hidden)]
    pub fn attached<A: Any + Send + Sync>(&self) -> Option<Arc<A>> {
        self.graph.lock().attached.clone()?.downcast().ok()
    }

    /// Notes that a step cannot be; the topology is refused with this.
    #[doc(hidden)]
    pub fn refuse(&self, error: BuildError) {
        self.graph.refuse(error);
    }

    /// A name for the next step, by its kind.
    #[doc(hidden)]
    pub fn step_name(&self, kind: &str) -> String {
        self.graph.next_name(kind)
    }

    fn each<U: Tuple>(
        &self,
        kind: &str,
        step: impl Fn(Timed<T>, &mut Emitter<Timed<U>>) -> Result<(), Fail> + Send + Sync + 'static,
    ) -> DataStream<U> {
        let step: BoltHandle<_, Timed<U>> = self.add(kind, Each::factory(step));
        DataStream::of(&step)
    }

    fn add<B: Bolt<In = Timed<T>>>(
        &self,
        kind: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> BoltHandle<B::In, B::Out> {
        let topology = self.topology();
        self.subscribe(topology.bolt(&self.step_name(kind), factory))
    }

    pub(super) fn topology(&self) -> Topology {
        Topology::of(self.graph.clone())
    }

    /// Gives a step as many tasks as the sources have.
    pub(super) fn as_many_tasks<In: Tuple, O: Output>(&self, step: BoltHandle<In, O>) -> BoltHandle<In, O> {
        let tasks = self.sources.iter().filter_map(|one| self.graph.tasks_of(one.component()));
        match tasks.max() {
            Some(tasks) => step.tasks(tasks),
            None => step,
        }
    }

    /// Subscribes a step with keyed state to all sources: each value goes to the task that has its key's state.
    pub(super) fn subscribe_keyed<O: Output, S: KeySelector<T>>(
        &self,
        step: BoltHandle<Timed<T>, O>,
        key: &S,
    ) -> BoltHandle<Timed<T>, O> {
        let step = self.as_many_tasks(step);
        self.sources.iter().fold(step, |step, source| {
            step.subscribe(source, "key-groups", ByKey(key.clone()), |timed: Timed<T>| timed)
        })
    }

    /// Subscribes a step to all sources; it gets as many tasks as they have.
    pub(super) fn subscribe<In: Tuple, O: Output>(&self, mut step: BoltHandle<In, O>) -> BoltHandle<In, O>
    where
        Timed<T>: Feeds<In>,
    {
        if let Some(tasks) = self.sources.iter().filter_map(|one| self.graph.tasks_of(one.component())).max()
        {
            step = step.tasks(tasks);
        }
        for source in &self.sources {
            step = match self.routing {
                Routing::Forward => step.local_or_shuffle(source),
                Routing::Shuffle => step.shuffle(source),
                Routing::Broadcast => step.all(source),
            };
        }
        step
    }
}

/// The last step of a stream, which emits nothing.
#[derive(Debug)]
pub struct Step {
    graph: GraphHandle,
    component: ComponentId,
}

impl<In: Tuple> From<BoltHandle<In, ()>> for Step {
    fn from(bolt: BoltHandle<In, ()>) -> Self {
        Self { graph: bolt.graph().clone(), component: bolt.id() }
    }
}

impl Step {
    /// Names the step.
    pub fn name(self, name: &str) -> Self {
        self.graph.rename(self.component, name);
        self
    }

    /// Gives the step so many tasks.
    pub fn tasks(self, tasks: usize) -> Self {
        self.graph.change(self.component, |component| component.tasks = tasks);
        self
    }
}

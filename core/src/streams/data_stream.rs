//! A stream of values and their times: how it is dealt out, and what it goes on with.
//!
//! Each step is a bolt of the same graph that spouts and bolts are added to: it has a name, tasks, a row on the page.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::key::{ByKey, ByReference, ByValue, KeySelector};
use super::keyed::KeyedStream;
use super::step::Step;
use crate::bolt::{Bolt, RichBolt};
use crate::state::Key;
use crate::stream::{Feeds, Output, Stream};
use crate::time::Timed;
use crate::topology::{BoltHandle, BuildError, ComponentId, GraphHandle, Topology};
use crate::tuple::Tuple;

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
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// struct Shout;
    ///
    /// impl Bolt for Shout {
    ///     type In = Timed<String>;
    ///     type Out = Timed<String>;
    ///
    ///     async fn execute(&mut self, word: Timed<String>, out: &mut Emitter<Timed<String>>) -> Result<(), Fail> {
    ///         out.emit(Timed { at: word.at, value: word.value.to_uppercase() });
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let long = words.filter(|word| word.len() > 3);
    /// let shout = topology.bolt("shout", || Shout).tasks(2);
    /// long.streams().iter().fold(shout, |shout, words| shout.shuffle(words));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn streams(&self) -> &[Stream<Timed<T>>] {
        &self.sources
    }

    /// Names the step before.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let lengths = words.map(|word| word.len()).name("lengths");
    /// lengths.for_each(|length| println!("{length}")).name("print");
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        if let Some(step) = self.step {
            self.graph.rename(step, name);
        }
        self
    }

    /// Gives the step before so many tasks.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let lengths = words.map(|word| word.len()).tasks(4);
    #[doc = include_str!("example/end.md")]
    /// ```
    #[must_use]
    pub fn tasks(self, tasks: usize) -> Self {
        if let Some(step) = self.step {
            self.graph.change(step, |component| component.tasks = tasks);
        }
        self
    }

    /// One stream of both, in no order between them.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let mails = stream::<String>(&topology, "mails");
    /// # let letters = stream::<String>(&topology, "letters");
    /// let all = mails.merge(&letters).map(|text| text.len());
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn merge(&self, other: &DataStream<T>) -> DataStream<T> {
        if !other.graph.is_same(&self.graph) {
            let component = self.step.map(|step| self.graph.name_of(step)).unwrap_or_default();
            self.graph.refuse(BuildError::ForeignStream { component });
        }
        let sources = self.sources.iter().chain(&other.sources).cloned().collect();
        Self { graph: self.graph.clone(), sources, routing: Routing::Forward, step: None }
    }

    /// Deals values out in turn to the tasks of the next step, however they lie now.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let lines = stream::<String>(&topology, "lines");
    /// let lengths = lines.repartition().map(|line| line.len()).tasks(4);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn repartition(&self) -> DataStream<T> {
        Self { routing: Routing::Shuffle, ..self.clone() }
    }

    /// Gives every value to each task of the next step.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let rules = stream::<String>(&topology, "rules");
    /// // Each of the four tasks gets all rules.
    /// rules.broadcast().for_each(|rule| println!("new rule: {rule}")).tasks(4);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn broadcast(&self) -> DataStream<T> {
        Self { routing: Routing::Broadcast, ..self.clone() }
    }

    /// Keys the stream by a part of each value: equal keys go to the same task.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let payments_of = payments.key_by(|(account, _)| account).count();
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn key_by<K, F>(&self, key: F) -> KeyedStream<T, ByReference<F, K>>
    where
        K: Key,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.clone(), ByReference::new(key))
    }

    /// As [`key_by`](Self::key_by), by a key that is computed: several fields as a pair, a number, a new string.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let by_length = words.key_by_value(|word| word.len() as u64).count();
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn key_by_value<K, F>(&self, key: F) -> KeyedStream<T, ByValue<F, K>>
    where
        K: Key,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.clone(), ByValue::new(key))
    }

    /// A step by a bolt of your own that takes `Timed<T>`, or anything made from it.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// struct Twice;
    ///
    /// impl Bolt for Twice {
    ///     type In = Timed<String>;
    ///     type Out = Timed<String>;
    ///
    ///     async fn execute(&mut self, word: Timed<String>, out: &mut Emitter<Timed<String>>) -> Result<(), Fail> {
    ///         out.emit(word.clone());
    ///         out.emit(word);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let twice = words.bolt("twice", || Twice).tasks(2);
    /// DataStream::of(&twice).for_each(|word| println!("{word}"));
    #[doc = include_str!("example/end.md")]
    /// ```
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

    /// Passes the values on to a rich bolt, as [`bolt`](Self::bolt) does to a bolt.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// #[derive(Default)]
    /// struct Pairs(Option<Input<Timed<String>>>);
    ///
    /// impl RichBolt for Pairs {
    ///     type In = Timed<String>;
    ///     type Out = Timed<String>;
    ///
    ///     async fn execute(
    ///         &mut self,
    ///         word: Input<Timed<String>>,
    ///         out: &mut Emitter<Timed<String>>,
    ///     ) -> Result<(), Fault> {
    ///         let Some(first) = self.0.take() else {
    ///             self.0 = Some(word);
    ///             return Ok(());
    ///         };
    ///         let value = format!("{} {}", first.value, word.value);
    ///         out.emit_anchored(&[&first, &word], Timed { at: word.at, value });
    ///         first.ack();
    ///         word.ack();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let pairs = words.rich_bolt("pairs", Pairs::default);
    /// DataStream::of(&pairs).for_each(|pair| println!("{pair}"));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn rich_bolt<B: RichBolt>(
        &self,
        name: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> BoltHandle<B::In, B::Out>
    where
        Timed<T>: Feeds<B::In>,
    {
        self.subscribe(self.topology().rich_bolt(name, factory))
    }

    /// Ends the stream in a bolt that owns its inputs, such as a log's sink.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// struct Print;
    ///
    /// impl RichBolt for Print {
    ///     type In = Timed<String>;
    ///     type Out = ();
    ///
    ///     async fn execute(&mut self, word: Input<Timed<String>>, _: &mut Emitter<()>) -> Result<(), Fault> {
    ///         println!("{}", word.value);
    ///         word.ack();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// words.sink("print", || Print).tasks(2);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn sink<B: RichBolt<Out = ()>>(
        &self,
        name: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> Step
    where
        Timed<T>: Feeds<B::In>,
    {
        Step::from(self.rich_bolt(name, factory))
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

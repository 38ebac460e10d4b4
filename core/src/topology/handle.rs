//! Handles of components: their settings, their streams, and what they subscribe to.

use std::hash::Hash;
use std::ops::Deref;
use std::sync::Mutex;
use std::time::Duration;

use serde::Serialize;

use super::error::BuildError;
use super::graph::{ComponentId, Edge, GraphHandle};
use crate::grouping::{
    All, Direct, Directed, Fields, FieldsBy, Global, Grouping, LocalOrShuffle, PartialKey, Shuffle,
};
use crate::runtime::InboxSlot;
use crate::state::{KeyGroups, KeyGroupsBy};
use crate::stream::{Feeds, Output, Stream, SubscriptionPlan};
use crate::tuple::Tuple;

/// A spout in a topology; dereferences to its stream or streams.
pub struct SpoutHandle<O: Output> {
    id: ComponentId,
    graph: GraphHandle,
    streams: O::Streams,
}

impl<O: Output> SpoutHandle<O> {
    pub(crate) fn new(id: ComponentId, graph: GraphHandle, streams: O::Streams) -> Self {
        Self { id, graph, streams }
    }

    /// How many tasks run the spout; 1 unless set.
    pub fn tasks(self, tasks: usize) -> Self {
        self.graph.change(self.id, |component| component.tasks = tasks);
        self
    }

    /// How many trees each task may have open; the topology's [`max_pending`](crate::Config::max_pending) unless set.
    pub fn max_pending(self, trees: usize) -> Self {
        self.graph.change(self.id, |component| component.max_pending = Some(trees));
        self
    }
}

impl<O: Output> Deref for SpoutHandle<O> {
    type Target = O::Streams;

    fn deref(&self) -> &O::Streams {
        &self.streams
    }
}

/// A bolt in a topology: subscribes to streams, and dereferences to its own stream or streams.
///
/// Every subscription says by its grouping which task gets which tuple. A stream of `T` may be subscribed where the
/// bolt's input is `From<T>`.
pub struct BoltHandle<In, O: Output> {
    id: ComponentId,
    graph: GraphHandle,
    streams: O::Streams,
    inboxes: InboxSlot<In>,
}

impl<In, O: Output> Deref for BoltHandle<In, O> {
    type Target = O::Streams;

    fn deref(&self) -> &O::Streams {
        &self.streams
    }
}

impl<In: Tuple, O: Output> BoltHandle<In, O> {
    pub(crate) fn new(
        id: ComponentId,
        graph: GraphHandle,
        streams: O::Streams,
        inboxes: InboxSlot<In>,
    ) -> Self {
        Self { id, graph, streams, inboxes }
    }

    pub(crate) fn graph(&self) -> &GraphHandle {
        &self.graph
    }

    pub(crate) fn id(&self) -> ComponentId {
        self.id
    }

    /// How many tasks run the bolt; 1 unless set.
    pub fn tasks(self, tasks: usize) -> Self {
        self.graph.change(self.id, |component| component.tasks = tasks);
        self
    }

    /// Calls the bolt's `tick` every `interval` on each task.
    pub fn tick_every(self, interval: Duration) -> Self {
        self.graph.change(self.id, |component| component.tick = Some(interval));
        self
    }

    /// How long one execute, tick or idle may take, or `None` for ever; the topology's
    /// [`execute_timeout`](crate::Config::execute_timeout) unless set.
    pub fn execute_timeout(self, longest: impl Into<Option<Duration>>) -> Self {
        let longest = longest.into();
        self.graph.change(self.id, |component| component.execute_timeout = Some(longest));
        self
    }

    /// How long a bolt that owns its inputs may hold one unanswered, or `None` for ever; the topology's
    /// [`hold_timeout`](crate::Config::hold_timeout) unless set.
    pub fn hold_timeout(self, longest: impl Into<Option<Duration>>) -> Self {
        let longest = longest.into();
        self.graph.change(self.id, |component| component.hold_timeout = Some(longest));
        self
    }

    /// Deals tuples out in turn.
    pub fn shuffle<T: Tuple + Feeds<In>>(self, stream: &Stream<T>) -> Self {
        self.subscribe(stream, "shuffle", Shuffle::default(), T::feed)
    }

    /// Sends tuples with equal keys to the same task.
    pub fn fields<T, K, F>(self, stream: &Stream<T>, key: F) -> Self
    where
        T: Tuple + Feeds<In>,
        K: Hash + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + 'static,
    {
        self.subscribe(stream, "fields", Fields::new(key), T::feed)
    }

    /// As [`fields`](Self::fields), for a key that is computed: several fields as a pair, a number, a new string.
    pub fn fields_by<T, K, F>(self, stream: &Stream<T>, key: F) -> Self
    where
        T: Tuple + Feeds<In>,
        K: Hash + 'static,
        F: Fn(&T) -> K + Clone + Send + 'static,
    {
        self.subscribe(stream, "fields", FieldsBy::new(key), T::feed)
    }

    /// Sends tuples whose keys are of the same key group to the same task: the one that has those keys of its
    /// [states](crate::state). As [`fields`](Self::fields) does, but by the key's serialized form, so that a key goes where its
    /// state is after a restart too.
    pub fn key_groups<T, K, F>(self, stream: &Stream<T>, key: F) -> Self
    where
        T: Tuple + Feeds<In>,
        K: Serialize + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + 'static,
    {
        self.subscribe(stream, "key-groups", KeyGroups::new(key), T::feed)
    }

    /// As [`key_groups`](Self::key_groups), for a key that is computed.
    pub fn key_groups_by<T, K, F>(self, stream: &Stream<T>, key: F) -> Self
    where
        T: Tuple + Feeds<In>,
        K: Serialize + 'static,
        F: Fn(&T) -> K + Clone + Send + 'static,
    {
        self.subscribe(stream, "key-groups", KeyGroupsBy::new(key), T::feed)
    }

    /// As [`fields`](Self::fields), but each key is shared by two tasks, the less loaded of which gets the tuple: for
    /// aggregates that are combined again later, where some keys are much heavier than others.
    pub fn partial_key<T, K, F>(self, stream: &Stream<T>, key: F) -> Self
    where
        T: Tuple + Feeds<In>,
        K: Hash + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + 'static,
    {
        self.subscribe(stream, "partial-key", PartialKey::new(key), T::feed)
    }

    /// Sends a copy of every tuple to each task.
    pub fn all<T: Tuple + Feeds<In>>(self, stream: &Stream<T>) -> Self {
        self.subscribe(stream, "all", All, T::feed)
    }

    /// Sends everything to the lowest task.
    pub fn global<T: Tuple + Feeds<In>>(self, stream: &Stream<T>) -> Self {
        self.subscribe(stream, "global", Global, T::feed)
    }

    /// Sends each tuple to the task that its emitter named.
    pub fn direct<T: Tuple + Feeds<In>>(self, stream: &Stream<Direct<T>>) -> Self {
        self.subscribe(stream, "direct", Directed, |direct: Direct<T>| direct.tuple.feed())
    }

    /// Task n of the emitting component to task n of this one where both have as many tasks, else a shuffle.
    pub fn local_or_shuffle<T: Tuple + Feeds<In>>(self, stream: &Stream<T>) -> Self {
        self.subscribe(stream, "local-or-shuffle", LocalOrShuffle::default(), T::feed)
    }

    /// Picks tasks by a grouping of your own.
    pub fn custom<T: Tuple + Feeds<In>>(self, stream: &Stream<T>, grouping: impl Grouping<T>) -> Self {
        self.subscribe(stream, "custom", grouping, T::feed)
    }

    pub(crate) fn subscribe<T, G, C>(
        self,
        stream: &Stream<T>,
        name: &'static str,
        grouping: G,
        convert: C,
    ) -> Self
    where
        T: Tuple,
        G: Grouping<T>,
        C: Fn(T) -> In + Copy + Send + Sync + 'static,
    {
        if !stream.graph().is_same(&self.graph) {
            let component = self.graph.name_of(self.id);
            self.graph.refuse(BuildError::ForeignStream { component });
            return self;
        }
        let plan = SubscriptionPlan {
            grouping: Mutex::new(grouping),
            convert,
            inboxes: self.inboxes.clone(),
            subscriber: self.id,
            input: self.graph.inputs_of(self.id),
        };
        stream.subscribe(Box::new(plan));
        let edge = Edge { from: stream.component(), stream: stream.name().clone(), grouping: name };
        self.graph.change(self.id, |component| component.inputs.push(edge));
        self
    }
}

/// A stream that closes a cycle; dereferences to the stream that its subscribers read.
///
/// ```
/// # use topo_core::{Bolt, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};
/// # struct Numbers;
/// # impl Spout for Numbers {
/// #     type Out = u64;
/// #     type Id = u64;
/// #     fn next(&mut self, _: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> { Ok(Next::Finished) }
/// # }
/// /// Halves a number until it is odd.
/// struct Halve;
/// impl Bolt for Halve {
///     type In = u64;
///     type Out = u64;
///     async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
///         if number % 2 == 0 && number > 0 {
///             out.emit(number / 2);
///         }
///         Ok(())
///     }
/// }
/// let topology = Topology::new("halves");
/// let numbers = topology.spout("numbers", || Numbers);
/// let again = topology.feedback::<u64>("again");
/// let halves = topology.bolt("halve", || Halve).shuffle(&numbers).shuffle(&again);
/// again.connect(&halves);
/// topology.check()?;
/// # Ok::<(), topo_core::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Feedback<T> {
    stream: Stream<T>,
}

impl<T: Tuple> Feedback<T> {
    pub(crate) fn new(stream: Stream<T>) -> Self {
        Self { stream }
    }

    /// Feeds what `source` carries to those who subscribed to this feedback.
    pub fn connect(self, source: &Stream<T>) {
        let graph = self.stream.graph();
        if !source.graph().is_same(graph) {
            return graph.refuse(BuildError::ForeignStream { component: self.stream.name().clone() });
        }
        graph.close_loop(self.stream.component(), source.component(), source.name().clone());
        source.feed_back_to(self.stream);
    }
}

impl<T> Deref for Feedback<T> {
    type Target = Stream<T>;

    fn deref(&self) -> &Stream<T> {
        &self.stream
    }
}

//! Building a topology: spouts and bolts by name, wired by typed stream handles.

mod check;
mod error;
mod graph;
mod handle;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::bolt::{Bolt, RichBolt};
use crate::config::{Config, Delivery};
use crate::metrics::ComponentKind;
use crate::operator::Operator;
use crate::runtime::{Basic, BoltStart, LaunchError, Operating, Rich, Running, SpoutStart, launch};
use crate::schedule::Scheduler;
use crate::spout::Spout;
use crate::stream::{Declaration, Output, Stream};
use crate::tuple::Tuple;

pub use error::BuildError;
pub use handle::{BoltHandle, Feedback, SpoutHandle};

use check::check;
pub(crate) use check::check_delivery;

pub(crate) use graph::{Component, ComponentId, Graph, GraphHandle};

/// A graph of spouts and bolts, to be launched. A clone is the same graph.
///
/// ```
/// use topo_core::{Bolt, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};
///
/// struct Lines;
/// impl Spout for Lines {
///     type Out = String;
///     type Id = u64;
///     fn next(&mut self, out: &mut SpoutEmitter<String, u64>) -> Result<Next, Fault> {
///         out.emit_with(1, "to be or not to be".to_owned())?;
///         Ok(Next::Finished)
///     }
/// }
///
/// struct Split;
/// impl Bolt for Split {
///     type In = String;
///     type Out = String;
///     async fn execute(&mut self, line: String, out: &mut Emitter<String>) -> Result<(), Fail> {
///         line.split(' ').for_each(|word| out.emit(word.to_owned()));
///         Ok(())
///     }
/// }
///
/// #[derive(Default)]
/// struct Count(std::collections::HashMap<String, u64>);
/// impl Bolt for Count {
///     type In = String;
///     type Out = ();
///     async fn execute(&mut self, word: String, _out: &mut Emitter<()>) -> Result<(), Fail> {
///         *self.0.entry(word).or_default() += 1;
///         Ok(())
///     }
/// }
///
/// let topology = Topology::new("word-count");
/// let lines = topology.spout("lines", || Lines);
/// let words = topology.bolt("split", || Split).tasks(2).shuffle(&lines);
/// topology.bolt("count", Count::default).tasks(2).fields(&words, |word| word.as_str());
/// topology.check()?;
/// # Ok::<(), topo_core::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Topology {
    name: Arc<str>,
    graph: GraphHandle,
}

impl Topology {
    /// An empty topology.
    pub fn new(name: &str) -> Self {
        let (name, graph) = (Arc::<str>::from(name), GraphHandle::default());
        graph.lock().topology = Arc::clone(&name);
        Self { name, graph }
    }

    /// The topology that `graph` belongs to, for adding to it.
    pub(crate) fn of(graph: GraphHandle) -> Self {
        let name = Arc::clone(&graph.lock().topology);
        Self { name, graph }
    }

    /// Gives what is built on a topology's streams something to know: where topics are, for a step that writes one. The
    /// newest counts.
    #[doc(hidden)]
    pub fn attach(&self, attached: Arc<dyn Any + Send + Sync>) {
        self.graph.lock().attached = Some(attached);
    }

    /// The topology's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Adds a spout; `factory` makes a fresh instance per task, and again after a panic.
    pub fn spout<S: Spout>(
        &self,
        name: &str,
        factory: impl Fn() -> S + Send + Sync + 'static,
    ) -> SpoutHandle<S::Out> {
        let (id, streams) = self.declare::<S::Out>(name, ComponentKind::Spout);
        let start = SpoutStart::<S>::new(Arc::new(factory), streams.clone());
        self.graph.change(id, |component| {
            component.start = Some(Box::new(start));
            component.replays = S::REPLAYS;
        });
        SpoutHandle::new(id, self.graph.clone(), streams)
    }

    /// Adds a bolt whose inputs are answered for it.
    pub fn bolt<B: Bolt>(
        &self,
        name: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> BoltHandle<B::In, B::Out> {
        self.add_bolt::<Basic<B>>(name, move || Basic(factory()))
    }

    /// Adds a bolt that owns its inputs and answers for them itself.
    pub fn rich_bolt<B: RichBolt>(
        &self,
        name: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> BoltHandle<B::In, B::Out> {
        let bolt = self.add_bolt::<Rich<B>>(name, move || Rich(factory()));
        if B::WAITS_OUTSIDE { bolt.execute_timeout(None).hold_timeout(None) } else { bolt }
    }

    /// Adds a bolt that emits what came of many inputs in trees of its own, and goes by event time.
    pub fn operator<O: Operator>(
        &self,
        name: &str,
        factory: impl Fn() -> O + Send + Sync + 'static,
    ) -> BoltHandle<O::In, O::Out> {
        self.add_bolt::<Operating<O>>(name, move || Operating(factory()))
    }

    /// A stream that does not exist yet: subscribe to it first, and [`connect`](Feedback::connect) it to the stream that
    /// closes the cycle later.
    ///
    /// A feedback edge never waits. Over [`Config::feedback_bytes`], what it carries fails with that reason. A topology
    /// that drains waits for the trees that are open; tuples in a cycle that belong to none are dropped.
    pub fn feedback<T: Tuple>(&self, name: &str) -> Feedback<T> {
        let component = self.graph.add_loop(name);
        Feedback::new(Stream::new(component, name, self.graph.clone()))
    }

    fn declare<O: Output>(&self, name: &str, kind: ComponentKind) -> (ComponentId, O::Streams) {
        let component = self.graph.add(name, kind);
        let streams = O::declare(&Declaration { component, graph: self.graph.clone() });
        (component, streams)
    }

    fn add_bolt<F: crate::runtime::Form>(
        &self,
        name: &str,
        factory: impl Fn() -> F + Send + Sync + 'static,
    ) -> BoltHandle<F::In, F::Out> {
        let (id, streams) = self.declare::<F::Out>(name, ComponentKind::Bolt);
        let start = BoltStart::<F>::new(Arc::new(factory), streams.clone());
        let inboxes = start.inboxes();
        self.graph.change(id, |component| {
            component.start = Some(Box::new(start));
            component.opens_trees = F::OPENS_TREES;
            component.ends_batches = F::ENDS_BATCHES;
        });
        BoltHandle::new(id, self.graph.clone(), streams, inboxes)
    }

    /// Gives a component that was added another number of tasks, as an operator's setting does.
    ///
    /// # Errors
    /// [`BuildError::NoSuchComponent`].
    pub fn set_tasks(&self, component: &str, tasks: usize) -> Result<(), BuildError> {
        let mut graph = self.graph.lock();
        let at = graph.place_of(component)?;
        graph.components[at].tasks = tasks;
        Ok(())
    }

    /// Whether a component of that name was added.
    ///
    /// # Errors
    /// [`BuildError::NoSuchComponent`], with the names that there are.
    pub fn has(&self, component: &str) -> Result<(), BuildError> {
        self.graph.lock().place_of(component).map(drop)
    }

    /// Whether the topology can run.
    ///
    /// # Errors
    /// The first thing that is wrong, and what to do about it.
    pub fn check(&self) -> Result<(), BuildError> {
        check(&self.graph.lock())
    }

    /// Whether the topology can run under [`Delivery::ExactlyOnce`](crate::Delivery::ExactlyOnce).
    ///
    /// # Errors
    /// The first component or edge that cannot, and what to do about it.
    pub fn check_exactly_once(&self) -> Result<(), BuildError> {
        self.check_delivery(Delivery::ExactlyOnce)
    }

    /// Whether the topology can run under `delivery`.
    ///
    /// # Errors
    /// The first component or edge that cannot, and what to do about it.
    pub fn check_delivery(&self, delivery: Delivery) -> Result<(), BuildError> {
        check_delivery(&self.graph.lock(), delivery)
    }

    /// Starts the topology on `scheduler`; returns once every task is prepared.
    ///
    /// # Errors
    /// A [`BuildError`], or the first component that could not start.
    pub async fn launch(self, scheduler: Arc<dyn Scheduler>, config: Config) -> Result<Running, LaunchError> {
        self.check()?;
        let graph = std::mem::take(&mut *self.graph.lock());
        launch(self.name, graph, scheduler, config).await
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("name", &self.name).field("graph", &self.graph).finish()
    }
}

//! The topology under construction: what was added, and what was wrong with it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::BuildError;
use crate::metrics::ComponentKind;
use crate::runtime::Start;

/// A component's place in the order of their adding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ComponentId(pub(crate) usize);

/// One subscription as the graph knows it.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) from: ComponentId,
    pub(crate) stream: Arc<str>,
    pub(crate) grouping: &'static str,
}

/// One component.
pub(crate) struct Component {
    pub(crate) name: Arc<str>,
    pub(crate) kind: ComponentKind,
    pub(crate) tasks: usize,
    /// Whether each task owns a ledger.
    pub(crate) opens_trees: bool,
    /// Whether it can go back to what was committed (spouts).
    pub(crate) replays: bool,
    /// Whether it does something at the end of each batch (bolts).
    pub(crate) ends_batches: bool,
    pub(crate) tick: Option<Duration>,
    pub(crate) max_pending: Option<usize>,
    /// The topology's, where not set.
    pub(crate) execute_timeout: Option<Option<Duration>>,
    pub(crate) hold_timeout: Option<Option<Duration>>,
    /// Its output streams.
    pub(crate) streams: Vec<Arc<str>>,
    /// What it subscribes to.
    pub(crate) inputs: Vec<Edge>,
    pub(crate) start: Option<Box<dyn Start>>,
}

/// A loop's entry: a stream that exists before the one that feeds it.
pub(crate) struct Loop {
    pub(crate) name: Arc<str>,
    /// The stand-in that its subscribers name as their source.
    pub(crate) component: ComponentId,
    /// The stream that was connected to it, once it was.
    pub(crate) source: Option<(ComponentId, Arc<str>)>,
}

/// Components, loops, and what went wrong so far.
#[derive(Default)]
pub(crate) struct Graph {
    /// The topology's name.
    pub(crate) topology: Arc<str>,
    /// What the builder of streams has to know.
    pub(crate) attached: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) components: Vec<Component>,
    pub(crate) loops: Vec<Loop>,
    pub(crate) errors: Vec<BuildError>,
}

/// The first stand-in for a loop's source; components are numbered from 0.
const FIRST_LOOP: usize = usize::MAX / 2;

/// A graph shared by the topology and the handles of its components.
#[derive(Clone, Default)]
pub(crate) struct GraphHandle(Arc<Mutex<Graph>>);

impl fmt::Debug for GraphHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphHandle").field("components", &self.lock().components.len()).finish()
    }
}

impl GraphHandle {
    // No code panics while it holds the lock, so a poisoned one is still whole.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Graph> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn add(&self, name: &str, kind: ComponentKind) -> ComponentId {
        let mut graph = self.lock();
        if graph.components.iter().any(|component| &*component.name == name) {
            graph.errors.push(BuildError::NameTwice { name: name.into() });
        }
        if name.is_empty() {
            graph.errors.push(BuildError::NoName);
        }
        graph.components.push(Component {
            name: name.into(),
            kind,
            tasks: 1,
            opens_trees: kind == ComponentKind::Spout,
            replays: false,
            ends_batches: false,
            tick: None,
            max_pending: None,
            execute_timeout: None,
            hold_timeout: None,
            streams: Vec::new(),
            inputs: Vec::new(),
            start: None,
        });
        ComponentId(graph.components.len() - 1)
    }

    /// Gives a component another name.
    pub(crate) fn rename(&self, id: ComponentId, name: &str) {
        let mut graph = self.lock();
        if graph.components.iter().enumerate().any(|(at, one)| at != id.0 && &*one.name == name) {
            graph.errors.push(BuildError::NameTwice { name: name.into() });
        }
        if name.is_empty() {
            graph.errors.push(BuildError::NoName);
        }
        if let Some(component) = graph.components.get_mut(id.0) {
            component.name = name.into();
        }
    }

    /// A name for the next component, by its kind and number.
    pub(crate) fn next_name(&self, kind: &str) -> String {
        format!("{kind}-{}", self.lock().components.len())
    }

    /// How many tasks a component has so far; `None` for a loop's entry.
    pub(crate) fn tasks_of(&self, id: ComponentId) -> Option<usize> {
        self.lock().components.get(id.0).map(|component| component.tasks)
    }

    pub(crate) fn add_loop(&self, name: &str) -> ComponentId {
        let mut graph = self.lock();
        let component = ComponentId(FIRST_LOOP + graph.loops.len());
        graph.loops.push(Loop { name: name.into(), component, source: None });
        component
    }

    pub(crate) fn close_loop(&self, component: ComponentId, source: ComponentId, stream: Arc<str>) {
        let mut graph = self.lock();
        let is_loop = source.0 >= FIRST_LOOP;
        if let Some(one) = graph.loops.iter_mut().find(|one| one.component == component) {
            one.source = Some((source, stream));
            let name = Arc::clone(&one.name);
            if is_loop {
                graph.errors.push(BuildError::LoopOfLoop { name });
            }
        }
    }

    /// Changes a component. A handle that outlived the launch of its topology changes nothing.
    pub(crate) fn change(&self, id: ComponentId, change: impl FnOnce(&mut Component)) {
        if let Some(component) = self.lock().components.get_mut(id.0) {
            change(component);
        }
    }

    pub(crate) fn declare_stream(&self, id: ComponentId, name: &str) {
        self.change(id, |component| component.streams.push(name.into()));
    }

    pub(crate) fn refuse(&self, error: BuildError) {
        self.lock().errors.push(error);
    }

    pub(crate) fn name_of(&self, id: ComponentId) -> Arc<str> {
        let graph = self.lock();
        let component = graph.components.get(id.0).map(|component| &component.name);
        let entry = || graph.loops.iter().find(|one| one.component == id).map(|one| &one.name);
        component.or_else(entry).map(Arc::clone).unwrap_or_default()
    }
}

impl Graph {
    /// Where the component of that name is among the others.
    pub(crate) fn place_of(&self, component: &str) -> Result<usize, BuildError> {
        self.components.iter().position(|one| &*one.name == component).ok_or_else(|| {
            let names: Vec<&str> = self.components.iter().map(|one| &*one.name).collect();
            BuildError::NoSuchComponent { name: component.into(), there_are: names.join(", ").into() }
        })
    }

    /// The component and stream that really feed an edge: a loop's edge is fed by what was connected to it.
    pub(crate) fn source_of(&self, edge: &Edge) -> Option<(ComponentId, Arc<str>)> {
        match self.loops.iter().find(|one| one.component == edge.from) {
            Some(one) => one.source.clone(),
            None => Some((edge.from, Arc::clone(&edge.stream))),
        }
    }
}

//! The last step of a stream, which can still be named and given tasks.

use crate::topology::{BoltHandle, ComponentId, GraphHandle};
use crate::tuple::Tuple;

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

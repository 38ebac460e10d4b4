//! Something that picks no tasks is given as a grouping.

use topo_core::{Bolt, Emitter, Fail, Stream, Topology};

struct Count;

impl Bolt for Count {
    type In = u64;
    type Out = ();
    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

fn wire(topology: &Topology, numbers: &Stream<u64>) {
    topology.bolt("count", || Count).custom(numbers, |number: &u64| *number as usize);
}

fn main() {}

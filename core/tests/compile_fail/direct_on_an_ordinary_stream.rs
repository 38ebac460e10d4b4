//! A stream whose tuples name no task is read by direct grouping, and one whose tuples do is read by another.

use topo_core::{Bolt, Direct, Emitter, Fail, Stream, Topology};

struct Count;

impl Bolt for Count {
    type In = u64;
    type Out = ();
    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

fn ordinary(topology: &Topology, numbers: &Stream<u64>) {
    topology.bolt("count", || Count).direct(numbers);
}

fn addressed(topology: &Topology, numbers: &Stream<Direct<u64>>) {
    topology.bolt("count", || Count).shuffle(numbers);
}

fn main() {}

//! A bolt is subscribed to a component that has several streams, not to one of them.

use topo_core::{Bolt, Emitter, Fail, SpoutHandle, Topology, ports};

ports! {
    struct Sorted {
        even: u64,
        odd: u64,
    }
}

struct Count;

impl Bolt for Count {
    type In = u64;
    type Out = ();
    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

fn wire(topology: &Topology, sorted: &SpoutHandle<Sorted>) {
    topology.bolt("count", || Count).shuffle(sorted);
}

fn main() {}

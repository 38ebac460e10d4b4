//! Things are added to a topology that are not what they are added as.

use topo_core::{Emitter, Fault, Input, RichBolt, Topology};

struct Nothing;

struct Rich;

impl RichBolt for Rich {
    type In = u64;
    type Out = ();
    async fn execute(&mut self, input: Input<u64>, _out: &mut Emitter<()>) -> Result<(), Fault> {
        input.ack();
        Ok(())
    }
}

fn main() {
    let topology = Topology::new("wrong");
    topology.spout("nothing", || Nothing);
    topology.bolt("nothing", || Nothing);
    topology.rich_bolt("nothing", || Nothing);
    topology.bolt("rich", || Rich);
}

//! An instance is given where a factory is wanted.

use topo_core::{Bolt, Emitter, Fail, Topology};

struct Count;

impl Bolt for Count {
    type In = u64;
    type Out = ();
    async fn execute(&mut self, _number: u64, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

fn main() {
    Topology::new("wrong").bolt("count", Count);
}

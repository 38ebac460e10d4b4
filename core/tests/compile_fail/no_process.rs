//! `process` takes what implements `Process`.

use topo_core::{DataStream, Spout, Topology};

struct Words;

impl Spout for Words {
    type Out = topo_core::Timed<String>;
    type Id = u64;

    fn next(
        &mut self,
        _: &mut topo_core::SpoutEmitter<topo_core::Timed<String>, u64>,
    ) -> Result<topo_core::Next, topo_core::Fault> {
        Ok(topo_core::Next::Finished)
    }
}

struct Plain;

fn main() {
    let topology = Topology::new("test");
    let words = DataStream::of(&topology.spout("words", || Words));
    words.key_by(|word| word).process(|| Plain);
}

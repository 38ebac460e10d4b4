//! A tuple is anchored to an input that was acknowledged already.

use topo_core::{Emitter, Input};

fn late(input: Input<u64>, out: &mut Emitter<u64>) {
    input.ack();
    out.emit_anchored(&[&input], 7);
}

fn main() {}

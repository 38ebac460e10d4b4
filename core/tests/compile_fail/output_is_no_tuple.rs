//! A spout emits a type that cannot be copied to several subscribers.

use topo_core::{Fault, Next, Spout, SpoutEmitter};

#[derive(serde::Serialize, serde::Deserialize)]
struct Line(String);

struct Lines;

impl Spout for Lines {
    type Out = Line;
    type Id = u64;
    fn next(&mut self, _out: &mut SpoutEmitter<Line, u64>) -> Result<Next, Fault> {
        Ok(Next::Finished)
    }
}

fn main() {}

//! A bolt that takes words is subscribed to a stream of lines.

use topo_core::{Bolt, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Line(String);

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Word(String);

struct Lines;

impl Spout for Lines {
    type Out = Line;
    type Id = u64;
    fn next(&mut self, _out: &mut SpoutEmitter<Line, u64>) -> Result<Next, Fault> {
        Ok(Next::Finished)
    }
}

struct Count;

impl Bolt for Count {
    type In = Word;
    type Out = ();
    async fn execute(&mut self, _word: Word, _out: &mut Emitter<()>) -> Result<(), Fail> {
        Ok(())
    }
}

fn main() {
    let topology = Topology::new("wrong");
    let lines = topology.spout("lines", || Lines);
    topology.bolt("count", || Count).shuffle(&lines);
}

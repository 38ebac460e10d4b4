//! Topologies that cannot be exactly once, each for a reason of its own, which the environment names.

use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use topo::prelude::*;
use topo_core::TaskStore;

/// Emits nothing, and could not emit it again.
struct Sensor;

impl Spout for Sensor {
    type Out = String;
    type Id = ();

    fn next(&mut self, _out: &mut SpoutEmitter<String, ()>) -> Result<Next, Fault> {
        Ok(Next::Idle)
    }
}

/// Passes on what it gets, and keeps something beside its state where it is told to.
struct Pass {
    keeps: bool,
}

struct Aside;

#[async_trait]
impl TaskStore for Aside {
    async fn flush(&self) -> Result<(), Fault> {
        Ok(())
    }
}

impl Bolt for Pass {
    type In = String;
    type Out = String;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        if self.keeps {
            task.keep_store("aside", Arc::new(Aside));
        }
        Ok(())
    }

    async fn execute(&mut self, value: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        out.emit(value);
        Ok(())
    }
}

fn topology(environment: &Environment) -> Topology {
    let topology = Topology::new("not-exactly-once");
    let reason = std::env::var("REASON").unwrap_or_default();
    let text = |record: &Consumed| {
        Ok(String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
    };
    if reason == "sensor" {
        let values = topology.spout("sensor", || Sensor);
        topology.bolt("pass", || Pass { keeps: false }).shuffle(&values);
        return topology;
    }
    let lines = topology.spout("lines", environment.log_spout("lines", text));
    if reason == "cycle" {
        let again = topology.feedback::<String>("again");
        let passed = topology.bolt("pass", || Pass { keeps: false }).shuffle(&lines).shuffle(&again);
        again.connect(&passed);
    } else {
        topology.bolt("pass", || Pass { keeps: true }).shuffle(&lines);
    }
    topology
}

fn main() -> ExitCode {
    topo::main(Application::new("not-exactly-once", topology).reads("lines"))
}

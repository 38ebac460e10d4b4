//! `access-log` behind a bolt that fails a third of the lines at their first attempt in this process, so that replay is
//! always at work.

mod first_attempt;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use topo::prelude::*;
use topo::ready_made::access_log::{Parse, line, record};
use topo::ready_made::word_count::Line;

/// Lets lines through, some of them at the second attempt only.
struct FailFirst {
    /// What has failed once, in whichever task.
    failed: Arc<Mutex<HashSet<String>>>,
}

impl Bolt for FailFirst {
    type In = Line;
    type Out = Line;

    async fn execute(&mut self, line: Line, out: &mut Emitter<Line>) -> Result<(), Fail> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if first_attempt::fails(&line.text) && failed.insert(line.text.clone()) {
            return Err(Fail::retry("the first attempt fails"));
        }
        out.emit(line);
        Ok(())
    }
}

fn topology(environment: &Environment) -> Topology {
    let topology = Topology::new("access-log");
    let failed = Arc::<Mutex<HashSet<String>>>::default();
    let fail_first = move || FailFirst { failed: Arc::clone(&failed) };
    let lines = topology.spout("lines", environment.log_spout("access", line));
    let passed = topology.bolt("fail-first", fail_first).tasks(2).shuffle(&lines);
    let requests = topology.bolt("parse", || Parse).tasks(2).shuffle(&passed);
    topology.rich_bolt("requests", environment.log_sink("requests", record)).global(&requests);
    topology
}

fn main() -> ExitCode {
    topo::main(Application::new("access-log", topology).reads("access").writes("requests"))
}

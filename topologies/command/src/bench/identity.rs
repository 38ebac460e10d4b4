//! A record's way through two queues: an in-memory spout, a bolt that gives its input through and is not inlined, and a
//! sink that counts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use topo_core::{Bolt, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};

use super::Meter;

/// 16 bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Reading {
    sensor: u64,
    value: u64,
}

struct Readings {
    next: u64,
    meter: Arc<Meter>,
}

impl Spout for Readings {
    type Out = Reading;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<Reading, u64>) -> Result<Next, Fault> {
        if self.next.is_multiple_of(512) && self.meter.is_over(self.next) {
            return Ok(Next::Finished);
        }
        out.emit_with(self.next, Reading { sensor: self.next, value: self.next })?;
        self.next += 1;
        Ok(Next::Emitted)
    }
}

struct Identity;

#[inline(never)]
fn identity(reading: Reading) -> Reading {
    std::hint::black_box(reading)
}

impl Bolt for Identity {
    type In = Reading;
    type Out = Reading;

    async fn execute(&mut self, reading: Reading, out: &mut Emitter<Reading>) -> Result<(), Fail> {
        out.emit(identity(reading));
        Ok(())
    }
}

struct Null {
    seen: u64,
    meter: Arc<Meter>,
}

impl Bolt for Null {
    type In = Reading;
    type Out = ();

    async fn execute(&mut self, reading: Reading, _out: &mut Emitter<()>) -> Result<(), Fail> {
        std::hint::black_box(reading.value);
        self.seen += 1;
        Ok(())
    }

    async fn cleanup(&mut self) {
        self.meter.count(self.seen);
    }
}

pub(super) fn topology(meter: &Arc<Meter>) -> Topology {
    let topology = Topology::new("identity");
    let (at_spout, at_sink) = (Arc::clone(meter), Arc::clone(meter));
    let readings = topology.spout("readings", move || Readings { next: 0, meter: Arc::clone(&at_spout) });
    let same = topology.bolt("identity", || Identity).shuffle(&readings);
    topology.bolt("null", move || Null { seen: 0, meter: Arc::clone(&at_sink) }).shuffle(&same);
    topology
}

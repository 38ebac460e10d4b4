//! A running topology as a source of snapshots.

use std::sync::Arc;

use topo_core::Running;
use topo_core::metrics::TopologySnapshot;
use topo_core::state::StateHub;

use super::Snapshots;

impl Snapshots for Running {
    fn snapshots(&self) -> Vec<TopologySnapshot> {
        vec![self.snapshot()]
    }

    fn running(&self, id: &str) -> Option<Running> {
        (**self.id() == *id).then(|| self.clone())
    }

    fn states(&self) -> Vec<(Arc<str>, StateHub)> {
        vec![(Arc::clone(self.id()), self.states().clone())]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use topo_core::schedule::TokioScheduler;
    use topo_core::{Bolt, Config, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, Topology};

    use crate::status::StatusServer;
    use crate::status::tests::get_json;

    const TUPLES: u64 = 10_000;

    struct Numbers(u64);

    impl Spout for Numbers {
        type Out = u64;
        type Id = u64;

        fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
            if self.0 == TUPLES {
                return Ok(Next::Finished);
            }
            out.emit_with(self.0, self.0)?;
            self.0 += 1;
            Ok(Next::Emitted)
        }
    }

    /// Refuses every tenth number.
    struct Strict;

    impl Bolt for Strict {
        type In = u64;
        type Out = ();

        async fn execute(&mut self, number: u64, _: &mut Emitter<()>) -> Result<(), Fail> {
            if number.is_multiple_of(10) { Err(Fail::reject("a tenth")) } else { Ok(()) }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topologys_numbers_are_exact() {
        let topology = Topology::new("strict");
        let numbers = topology.spout("numbers", || Numbers(0));
        topology.bolt("strict", || Strict).tasks(2).shuffle(&numbers);
        let scheduler = Arc::new(TokioScheduler::current());
        let running = topology.launch(scheduler, Config::default()).await.unwrap();
        running.finished().await;
        let server = StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(running.clone())).unwrap();
        let page = get_json(server.local_addr(), &format!("/api/v1/topology/{}", running.id()));
        let (spout, bolt) = (&page["spouts"][0], &page["bolts"][0]);
        assert_eq!((&spout["emitted"], &spout["pending"]), (&TUPLES.into(), &0.into()));
        assert_eq!((&spout["acked"], &spout["failed"]), (&(TUPLES * 9 / 10).into(), &(TUPLES / 10).into()));
        assert_eq!((&bolt["executed"], &bolt["tasks"]), (&TUPLES.into(), &2.into()));
        assert_eq!((&bolt["acked"], &bolt["rejected"]), (&(TUPLES * 9 / 10).into(), &(TUPLES / 10).into()));
        server.shutdown().await;
        running.kill(Duration::from_secs(10)).await.unwrap();
    }
}

//! What every executor has, whether it runs a spout or a bolt.

use std::sync::Arc;
use std::time::Duration;

use super::acks::Acks;
use super::control::{Control, Phase};
use super::emitter::Emitters;
use super::holding::Holding;
use super::inbox::Bell;
use super::witness::Witness;
use crate::config::Config;
use crate::context::TaskContext;
use crate::metrics::{Activity, TaskCounters};
use crate::schedule::Moment;
use crate::spout::Fault;
use crate::trace::{HopRing, TreeBook};
use crate::transaction::{Stage, Transactions};

/// One task's surroundings.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) task: TaskContext,
    pub(crate) config: Arc<Config>,
    pub(crate) control: Arc<Control>,
    pub(crate) bell: Bell,
    pub(crate) counters: Arc<TaskCounters>,
    pub(crate) hops: Arc<HopRing>,
    pub(crate) trees: Arc<TreeBook>,
    pub(crate) witness: Option<Arc<Witness>>,
    pub(crate) holding: Arc<Holding>,
    /// How often the component's `tick` is due.
    pub(crate) tick: Option<Duration>,
    /// Its number among all tasks of the topology.
    pub(crate) seat: usize,
}

impl Executor {
    pub(crate) fn now(&self) -> Moment {
        self.task.now()
    }

    /// The task turns to something else; tells what it was at before.
    pub(crate) fn turn_to(&self, activity: Activity) -> Activity {
        self.counters.activities.turn_to(activity, self.now())
    }

    /// Where input goes through in micro-transactions.
    #[inline]
    pub(crate) fn transactions(&self) -> Option<&Arc<Transactions>> {
        self.control.transactions.as_ref()
    }

    /// Has the micro-transaction in work taken back, where there is one.
    #[cold]
    pub(crate) fn fail_batch(&self, why: &Arc<str>) {
        if let Some(transactions) = self.transactions() {
            transactions.fail(why);
        }
    }

    /// Waits as long as the micro-transactions are at one of `stages`; `false` where the topology is aborted meanwhile.
    pub(crate) async fn wait_while(&self, stages: &[Stage]) -> bool {
        let Some(transactions) = self.transactions() else { return true };
        while stages.contains(&transactions.stage()) {
            if self.control.phase() == Phase::Aborting {
                return false;
            }
            self.bell.notified().await;
        }
        self.control.phase() != Phase::Aborting
    }

    /// Notes an error for the page and the log.
    pub(crate) fn report(&self, message: Arc<str>) {
        tracing::warn!(component = %self.task.component, task = self.task.task, error = %message, "a task erred");
        self.counters.report(self.task.clock().wall_ms(), message);
    }

    /// Says that this task is ready and waits until all are. `false` where the topology stops instead.
    pub(crate) async fn wait_for_start(&self, prepared: Result<(), Fault>) -> bool {
        match prepared {
            Ok(()) => self.control.advance(|progress| progress.prepared += 1),
            Err(fault) => self.control.fail_start(&self.task.component, fault),
        }
        loop {
            match self.control.phase() {
                Phase::Preparing => self.bell.notified().await,
                Phase::Aborting => return false,
                _ => return true,
            }
        }
    }

    /// Waits before the instance after `breakdowns` in a row is started: twice as long each time, up to a hundredfold. An
    /// abort ends it; it may take rings, so whoever waits next has to look at everything first.
    pub(crate) async fn wait_to_restart(&self, breakdowns: u32) {
        let times = 2u32.saturating_pow(breakdowns.saturating_sub(1)).min(100);
        let until = self.now().after(self.config.restart_delay.saturating_mul(times));
        let mut delay = self.task.scheduler.sleep_until(until);
        while self.control.phase() != Phase::Aborting {
            tokio::select! {
                biased;
                () = &mut delay => return,
                () = self.bell.notified() => {}
            }
        }
    }

    /// Takes over what routing has to tell: to the ledgers by `acks`, to the counters.
    pub(crate) fn settle(&self, out: &mut impl Emitters, acks: &mut Acks) {
        out.settle(&mut |report| {
            self.counters.emitted.add(report.emitted);
            self.counters.transferred.add(std::mem::take(&mut report.settled.transferred));
            for anchor in report.settled.dropped.drain(..) {
                acks.update(anchor);
            }
            // Counted where the tree ends, at its spout: the input that emitted the tuple was executed all right.
            report.settled.failed.drain(..).for_each(|(root, fail)| acks.fail(root, fail));
            if let Some(fail) = report.settled.last_fail.take() {
                self.fail_batch(fail.reason());
                self.report(Arc::clone(fail.reason()));
            }
        });
    }
}

//! What a use is worth, by what its subscriber's plan and home were when it happened.

use std::fmt;
use std::sync::Arc;

use topo_core::log::Log;
use topo_core::{Bolt, Emitter, Fail, Fault, TaskContext, Timed, Watermark};

use super::subscribers::Subscribers;
use super::usage::{RatedUsage, UsageRecord};
use super::{LATENESS, SUBSCRIBERS};

/// Rates uses.
///
/// Each task reads the table of subscribers whole; it is no state, since what it says of a time never changes. A use of a
/// subscriber that is not in the table is rejected: it goes to the dead letters, and once the subscriber is entered,
/// `topo replay` feeds it in again.
pub struct Rate {
    subscribers: Subscribers,
    task: Option<TaskContext>,
}

impl Rate {
    /// Rates by topic `subscribers` of `log`.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { subscribers: Subscribers::new(log, SUBSCRIBERS), task: None }
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").finish_non_exhaustive()
    }
}

impl Bolt for Rate {
    type In = Timed<UsageRecord>;
    type Out = Timed<RatedUsage>;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(
        &mut self,
        Timed { at, value: used }: Timed<UsageRecord>,
        out: &mut Emitter<Self::Out>,
    ) -> Result<(), Fail> {
        let found = self.subscribers.find(&used.subscriber, at).await?;
        let rated = found.map(|found| (found.plan.price(), found.home != used.cell));
        if let Some(task) = &self.task {
            self.subscribers.troubles().for_each(|trouble| task.report(&trouble));
        }
        let UsageRecord { cell, subscriber, bytes, duration_ms, .. } = used;
        let Some((price, is_away)) = rated else {
            return Err(Fail::reject(format!(
                "there is no subscriber `{subscriber}`: once topic `{SUBSCRIBERS}` has it, replay this letter"
            )));
        };
        let charge = bytes.saturating_mul(price);
        let value = RatedUsage { cell, subscriber, bytes, duration_ms, is_away, charge };
        out.emit(Timed { at, value });
        Ok(())
    }

    async fn on_watermark(&mut self, at: Watermark, _out: &mut Emitter<Self::Out>) -> Result<(), Fault> {
        // The end of time says nothing of what another run will read.
        if at != Watermark::MAX {
            let lateness = i64::try_from(LATENESS.as_millis()).unwrap_or(i64::MAX);
            self.subscribers.forget_before(at.0.saturating_sub(lateness));
        }
        Ok(())
    }
}

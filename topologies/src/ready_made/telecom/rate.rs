//! What a use is worth, by what its subscriber's plan and home were when it happened.

use std::fmt;
use std::sync::Arc;

use topo_core::log::Log;
use topo_core::{Emitter, Fail, Fault, Input, RichBolt, TaskContext, Timed, Watermark};

use super::subscribers::Subscribers;
use super::usage::{RatedUsage, UsageRecord};
use super::{LATENESS, SUBSCRIBERS};

/// How many uses wait for one reading of the table at the most.
const GATHERED: usize = 4_096;

/// Rates uses.
///
/// Each task reads the table of subscribers whole; it is no state, since what it says of a time never changes. Uses that are
/// later than what is known of the table are gathered while more come, and then it is read to its end once for all of them: at
/// a broker of its own, that is a question over the network. A use of a subscriber that is not in the table is rejected: it
/// goes to the dead letters, and once the subscriber is entered, `topo replay` feeds it in again.
pub struct Rate {
    subscribers: Subscribers,
    /// What waits for the table to be read on.
    waiting: Vec<Input<Timed<UsageRecord>>>,
    task: Option<TaskContext>,
}

impl Rate {
    /// Rates by topic `subscribers` of `log`.
    pub fn new(log: Arc<dyn Log>) -> Self {
        Self { subscribers: Subscribers::new(log, SUBSCRIBERS), waiting: Vec::new(), task: None }
    }

    /// Reads the table, and rates what waited for that.
    async fn rate_waiting(&mut self, out: &mut Emitter<Timed<RatedUsage>>) {
        let Some(latest) = self.waiting.iter().map(|input| input.at).max() else { return };
        let learned = self.subscribers.learn(latest).await;
        if let Some(task) = &self.task {
            self.subscribers.troubles().for_each(|trouble| task.report(&trouble));
        }
        for input in std::mem::take(&mut self.waiting) {
            match &learned {
                Ok(()) => self.rate(input, out),
                Err(error) => input.fail(Fail::retry(error)),
            }
        }
    }

    /// Rates a use by what is known.
    fn rate(&self, input: Input<Timed<UsageRecord>>, out: &mut Emitter<Timed<RatedUsage>>) {
        let UsageRecord { cell, subscriber, bytes, duration_ms, .. } = &input.value;
        let Some(found) = self.subscribers.find(subscriber, input.at) else {
            let fail = Fail::reject(format!(
                "there is no subscriber `{subscriber}`: once topic `{SUBSCRIBERS}` has it, replay this letter"
            ));
            return input.fail(fail);
        };
        let value = RatedUsage {
            cell: cell.clone(),
            subscriber: subscriber.clone(),
            bytes: *bytes,
            duration_ms: *duration_ms,
            is_away: found.home != *cell,
            charge: bytes.saturating_mul(found.plan.price()),
        };
        out.emit_anchored(&[&input], Timed { at: input.at, value });
        input.ack();
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rate").finish_non_exhaustive()
    }
}

impl RichBolt for Rate {
    type In = Timed<UsageRecord>;
    type Out = Timed<RatedUsage>;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(
        &mut self,
        input: Input<Timed<UsageRecord>>,
        out: &mut Emitter<Self::Out>,
    ) -> Result<(), Fault> {
        if self.subscribers.knows(&input.value.subscriber, input.at) {
            self.rate(input, out);
            return Ok(());
        }
        self.waiting.push(input);
        if self.waiting.len() >= GATHERED {
            self.rate_waiting(out).await;
        }
        Ok(())
    }

    async fn idle(&mut self, out: &mut Emitter<Self::Out>) -> Result<(), Fault> {
        self.rate_waiting(out).await;
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

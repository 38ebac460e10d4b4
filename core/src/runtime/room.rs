//! A bolt that has no room: its queue waits, and what it has done meanwhile leaves at once.

use super::bolt_executor::{BoltExecutor, outcome_of};
use super::contain::contain;
use super::form::Form;
use super::holding::Doing;
use super::route::Flush;
use crate::fail::Fail;
use crate::metrics::Activity;

/// Whether the bolt takes another input now.
#[inline]
pub(super) fn has_room<F: Form>(form: &F) -> bool {
    // One that panics here will do so in its execute, too.
    !F::IDLES || contain(|| form.has_room()).unwrap_or(true)
}

impl<F: Form> BoltExecutor<F> {
    /// Waits until the bolt takes another input, or the topology stops or goes back. `None` where the topology aborted while
    /// an instance was being replaced.
    pub(super) async fn make_room(&mut self, mut form: F) -> Option<F> {
        let backs = self.backs;
        loop {
            self.env.turn_to(Activity::Executing);
            self.env.holding.arrive().await;
            let idle = self.env.holding.run(Doing::Idle, form.idle(&mut self.out)).await;
            if let Err(cause) = outcome_of(idle) {
                form = self.replace(form, cause).await?;
            }
            // What finds a queue full goes once the bell tells of space.
            self.send(Flush::All);
            if has_room(&form) || self.backs != backs || self.env.control.is_stopping() {
                return Some(form);
            }
            // A commit waits for the one, and a question for the other.
            if self.is_flush_due() {
                self.flush_state(&mut form).await;
            }
            self.answer(&mut form);
            if let Err(panicked) = self.wait(&mut form).await {
                form = self.replace(form, Fail::Retry(panicked.0).into()).await?;
            }
            if let Err(cause) = self.tick_if_due(&mut form).await {
                form = self.replace(form, cause).await?;
            }
        }
    }

    /// Answers what was asked of the task's states.
    #[inline]
    pub(super) fn answer(&mut self, form: &mut F) {
        if self.env.task.states.is_asked() {
            self.answer_all(form);
        }
    }

    #[cold]
    fn answer_all(&mut self, form: &mut F) {
        if F::KEEPS_STATE {
            let refreshed = contain(|| form.refresh()).unwrap_or_else(|panicked| Err((&*panicked.0).into()));
            if let Err(fault) = refreshed {
                self.env.report(format!("the states are shown as of their last flush: {fault}").into());
            }
        }
        self.env.task.states.answer();
    }
}

//! A few inputs of a batch, executed in a row under one look at the clock; and what is noted of traced ones.

use std::sync::Arc;
use std::time::Duration;
use std::vec::Drain;

use super::emitter::Emitters;
use super::envelope::{Envelope, Joints};
use super::executor::Executor;
use super::form::Turn;
use crate::schedule::Moment;
use crate::trace::{Hop, HopOutcome, value_of};
use crate::tuple::Tuple;

/// Inputs to execute, and where they come from.
pub(crate) struct Chunk<'a, 'b, In> {
    pub(crate) env: &'a Executor,
    pub(crate) envelopes: &'a mut Drain<'b, Envelope<In>>,
    pub(crate) joints: &'a Joints,
    pub(crate) queued: Moment,
}

impl<In: Tuple> Chunk<'_, '_, In> {
    /// The next input; its hop begins where it is traced.
    #[inline(always)]
    pub(crate) fn next(&mut self, out: &impl Emitters, turn: &mut Turn) -> Option<Envelope<In>> {
        let envelope = self.envelopes.next()?;
        if envelope.anchor.root.traced() {
            turn.tracing = Some(Tracing::begin(self.env, self.queued, &envelope, out, turn));
        }
        Some(envelope)
    }

    /// Whether the input in work is the chunk's last: the output fills a batch, or the watch wants it.
    #[inline(always)]
    pub(crate) fn is_over(&self, out: &impl Emitters) -> bool {
        self.env.holding.ends_chunk(out.buffered())
    }

    /// Ends the hop of the input that was executed, if it had one.
    #[inline(always)]
    pub(crate) fn end(&self, out: &impl Emitters, turn: &mut Turn) {
        if turn.tracing.is_some() {
            self.end_hop(out, turn);
        }
    }

    #[cold]
    fn end_hop(&self, out: &impl Emitters, turn: &mut Turn) {
        if let Some(tracing) = turn.tracing.take() {
            tracing.end(self.env, out, turn);
        }
    }
}

/// A hop in the making.
#[derive(Debug)]
pub(crate) struct Tracing {
    hop: Hop,
    emitted: u64,
    failed: u64,
    acked: u64,
}

impl Tracing {
    #[cold]
    fn begin<In: Tuple>(
        env: &Executor,
        queued: Moment,
        envelope: &Envelope<In>,
        out: &impl Emitters,
        turn: &Turn,
    ) -> Self {
        let hop = Hop {
            root: envelope.anchor.root,
            component: Arc::clone(&env.task.component),
            task: env.task.task,
            queued,
            started: env.now(),
            executed: Duration::ZERO,
            outcome: HopOutcome::Held,
            value: value_of(&envelope.tuple),
        };
        Self { hop, emitted: out.emitted(), failed: turn.failed, acked: turn.acked }
    }

    #[cold]
    fn end(mut self, env: &Executor, out: &impl Emitters, turn: &Turn) {
        self.hop.executed = env.now().since(self.hop.started);
        let emitted = out.emitted().saturating_sub(self.emitted);
        match &turn.last_fail {
            Some(fail) if turn.failed > self.failed => {
                self.hop.outcome = HopOutcome::Failed(Arc::clone(fail.reason()))
            }
            _ if turn.acked > self.acked => self.hop.outcome = HopOutcome::Done { emitted },
            _ => {}
        }
        env.hops.push(self.hop);
    }
    /// The bolt broke over it.
    #[cold]
    pub(crate) fn fail(mut self, env: &Executor, why: Arc<str>) {
        self.hop.executed = env.now().since(self.hop.started);
        self.hop.outcome = HopOutcome::Failed(why);
        env.hops.push(self.hop);
    }
}

//! Runs one task of a spout, and keeps the ledger of the trees that it opened.
//!
//! Acks and fails are taken before every burst of `next` calls and whenever the task waits, so that they reach an idle or
//! a blocked spout at once.

use std::sync::Arc;
use std::time::Duration;

use super::acks::{Acks, Answers, Failed, Lanes};
use super::contain::{Panicked, contain, contain_future};
use super::control::Phase;
use super::emitter::Emitters;
use super::executor::Executor;
use super::route::Flush;
use super::signal::Reached;
use super::spout_batch::SpoutBatch;
use super::spout_emitter::SpoutEmitter;
use crate::context::TaskContext;
use crate::fail::Fail;
use crate::metrics::Activity;
use crate::spout::{Fault, Next, Spout};
use crate::time::{EventTime, Watermark};

/// How long a spout that is idle, and has no `ready` of its own, is left alone.
const IDLE_POLL: Duration = Duration::from_millis(1);
/// Bursts before other executors of the thread get their turn.
const BURSTS_PER_TURN: u32 = 4;
/// Calls of `next` between two looks at the clock.
const CALLS_PER_LOOK: u32 = 32;

/// One task of a spout.
pub(crate) struct SpoutExecutor<S: Spout> {
    pub(crate) env: Executor,
    pub(crate) factory: Arc<dyn Fn() -> S + Send + Sync>,
    pub(crate) out: SpoutEmitter<S::Out, S::Id>,
    pub(crate) acks: Acks,
    pub(crate) lanes: Lanes,
    /// Which of `lanes` is this task's.
    pub(crate) ledger: u16,
    /// Answers being worked on; its buffers are swapped with the lane's.
    pub(crate) answers: Answers,
    /// The newest completion time and how many trees in a row took it.
    pub(crate) completions: (Duration, u64),
    /// Untracked emits that their spout was told of and that are not counted yet.
    pub(crate) untracked: u64,
    /// How often in a row an instance broke or could not start.
    pub(crate) breakdowns: u32,
    /// How far its subscribers were told that it has come in event time. Survives the instances.
    pub(crate) told_time: Reached,
    pub(crate) batch: SpoutBatch,
    pub(crate) state: State,
}

/// What the task last did.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(super) active: bool,
    /// `next` said that nothing will ever come again.
    pub(super) finished: bool,
    /// `next` said that there is nothing now.
    pub(super) idle: bool,
    /// `ready` completed, and `next` has not emitted since.
    pub(super) asked_in_vain: bool,
    /// A queue was full at the last send.
    pub(super) blocked: bool,
    pub(super) told_idle: bool,
    pub(super) told_done: bool,
}

/// What a burst of `next` calls came to.
enum Burst {
    Emitted,
    Nothing,
    Broken(Arc<str>),
}

impl<S: Spout> SpoutExecutor<S> {
    pub(crate) async fn run(mut self) {
        let (spout, prepared) = match instance(&self.factory, &self.env.task).await {
            Ok(spout) => (Some(spout), Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let (mut spout, mut prepared) = (spout, prepared);
        if let (Some(spout), Some(transactions)) = (&mut spout, self.env.transactions()) {
            match contain_future(spout.last_batch()).await {
                Ok(Ok(last)) => last.into_iter().for_each(|last| transactions.begin_after(last)),
                Ok(Err(fault)) => prepared = Err(fault),
                Err(panicked) => prepared = Err(Fault::from(&*panicked.0)),
            }
        }
        let started = self.env.wait_for_start(prepared).await;
        self.begin_batches();
        if let (Some(spout), true) = (spout, started)
            && let Some(mut spout) = self.work_off(spout).await
        {
            let closed = contain_future(spout.close()).await;
            let dropped = contain(|| drop(spout));
            for panicked in [closed, dropped].into_iter().filter_map(Result::err) {
                self.env.report(panicked.0);
            }
        }
        self.acks.flush();
        self.env.task.states.close();
        self.out.out.close();
        let ended = usize::from(!self.has_ended());
        self.env.control.advance(|progress| {
            (progress.finished, progress.ended) = (progress.finished + 1, progress.ended + ended);
        });
    }

    /// Replaces an instance that panicked or erred. Its open trees stay open, and the new instance hears of them. `None`
    /// where the topology stops meanwhile.
    pub(super) async fn replace(&mut self, broken: S, why: Arc<str>) -> Option<S> {
        self.env.report(Arc::clone(&why));
        if let Err(panicked) = contain(|| drop(broken)) {
            self.env.report(panicked.0);
        }
        self.env.counters.restarted.add(1);
        if self.env.transactions().is_some() {
            self.env.fail_batch(&why);
            return self.go_back(None).await;
        }
        if let Some(root) = self.out.abandon() {
            let component = Arc::clone(&self.env.task.component);
            self.answers.fails.push(Failed { root, cause: Fail::Retry(why).into(), component });
        }
        let (told_idle, told_done) = (self.state.told_idle, self.state.told_done);
        self.state = State { active: true, told_idle, told_done, ..State::default() };
        // What its predecessor emitted does not wait for the next instance; what finds a queue full goes later.
        self.send(Flush::All);
        self.tell_progress();
        loop {
            self.breakdowns = self.breakdowns.saturating_add(1);
            self.env.wait_to_restart(self.breakdowns).await;
            if self.env.control.phase() == Phase::Aborting {
                return None;
            }
            match instance(&self.factory, &self.env.task).await {
                Ok(spout) => return Some(spout),
                Err(fault) => self.env.report(format!("could not start again: {fault}").into()),
            }
            if self.env.control.phase() == Phase::Draining && self.is_answered() {
                return None;
            }
        }
    }

    /// Emits and listens until the topology stops.
    async fn work_off(&mut self, mut spout: S) -> Option<S> {
        self.state.active = true;
        let mut bursts = 0;
        loop {
            if self.env.transactions().is_some() {
                spout = self.follow_transactions(spout).await?;
            }
            if self.env.trees.is_asked() {
                self.show_trees(&spout);
            }
            let told = self.take_answers(&mut spout).and_then(|()| self.follow_phase(&mut spout));
            if let Err(panicked) = told {
                spout = self.replace(spout, panicked.0).await?;
                continue;
            }
            self.pass_if_answered();
            if self.is_over() {
                return Some(spout);
            }
            match self.burst(&mut spout) {
                Burst::Broken(why) => spout = self.replace(spout, why).await?,
                Burst::Emitted => {
                    self.tell_time(&spout);
                    self.send(Flush::Due);
                    self.tell_progress();
                    bursts += 1;
                    if bursts >= BURSTS_PER_TURN {
                        bursts = 0;
                        self.show_windows(&spout);
                        self.env.turn_to(Activity::Idle);
                        tokio::task::yield_now().await;
                    }
                }
                Burst::Nothing => {
                    let was_blocked = self.state.blocked;
                    self.tell_time(&spout);
                    self.send(Flush::All);
                    let unblocked = was_blocked && !self.state.blocked;
                    if self.out.done.is_empty() && !unblocked {
                        self.tell_progress();
                        self.show_windows(&spout);
                        if let Err(panicked) = self.wait(&mut spout).await {
                            spout = self.replace(spout, panicked.0).await?;
                        }
                    }
                }
            }
        }
    }

    fn show_windows(&self, spout: &S) {
        if let Err(panicked) = contain(|| spout.show_windows(&mut self.env.counters.windows())) {
            self.env.report(panicked.0);
        }
    }

    /// Whether the topology stops and this task has nothing left to hear or to send.
    fn is_over(&mut self) -> bool {
        match self.env.control.phase() {
            Phase::Aborting => true,
            // The last batch is committed first.
            Phase::Draining if self.env.transactions().is_some() => self.has_no_more_batches(),
            Phase::Draining if self.is_answered() => {
                // Tuples that nobody tracks may still be here.
                self.send(Flush::All);
                !self.state.blocked && self.is_answered()
            }
            _ => false,
        }
    }

    /// Whether the spout has heard of all that it emitted.
    pub(super) fn is_answered(&self) -> bool {
        self.out.ledger.pending() == 0 && self.out.done.is_empty()
    }

    fn follow_phase(&mut self, spout: &mut S) -> Result<(), Panicked> {
        let active = self.env.control.phase() == Phase::Active;
        if active == self.state.active {
            return Ok(());
        }
        self.state.active = active;
        (self.state.idle, self.state.asked_in_vain) = (false, false);
        contain(|| if active { spout.activate() } else { spout.deactivate() })
    }

    /// Calls `next` until a batch is full, there is no room for a tree, or there is nothing to emit.
    fn burst(&mut self, spout: &mut S) -> Burst {
        if !self.may_emit() {
            return Burst::Nothing;
        }
        let started = self.env.now();
        self.env.counters.activities.turn_to(Activity::Executing, started);
        self.out.now = started;
        let most = self.room_in_batch();
        let (env, out, mut calls) = (&self.env, &mut self.out, 0_u32);
        let called = contain(|| {
            while out.room() > 0 && out.out.buffered() < env.config.batch_size && calls < most {
                match spout.next(out)? {
                    Next::Emitted => calls += 1,
                    end => return Ok(Some(end)),
                }
                let look = calls.is_multiple_of(CALLS_PER_LOOK);
                if look && env.now().since(started) >= env.config.max_batch_delay {
                    break;
                }
            }
            Ok::<_, Fault>(None)
        });
        let end = match called {
            Ok(Ok(end)) => Ok(end),
            Ok(Err(fault)) => Err(fault.to_string().into()),
            Err(panicked) => Err(panicked.0),
        };
        self.env.counters.pending.set(self.out.ledger.pending() as u64);
        self.note_emitted(calls as usize);
        if calls > 0 || end.is_ok() {
            self.breakdowns = 0;
        }
        let emitted = calls > 0 || self.out.out.buffered() > 0 || !self.out.done.is_empty();
        match end {
            Err(why) => return Burst::Broken(why),
            Ok(end) => self.state.finished = end == Some(Next::Finished),
        }
        self.state.idle = !emitted;
        self.state.asked_in_vain &= !emitted;
        if emitted { Burst::Emitted } else { Burst::Nothing }
    }

    pub(super) fn send(&mut self, flush: Flush) {
        self.out.out.route();
        self.state.blocked = !self.out.out.send(flush);
        self.env.settle(&mut self.out.out, &mut self.acks);
        self.acks.flush();
    }

    /// Has the subscribers hear, behind what was emitted so far, how far the spout has come in event time, where that is news.
    /// Nobody waits for a spout that knows no event time.
    fn tell_time(&mut self, spout: &S) {
        if self.has_ended() {
            return;
        }
        let is_over = self.env.control.phase() == Phase::Ending && self.is_answered() && self.is_committed();
        let told = self.told_time.time;
        let reached = match contain(|| spout.watermark()) {
            // The end is no time that it could have come to before; and nobody waits for more from it.
            Ok(Some(EventTime { at: Watermark::MAX, .. })) => {
                Reached { time: EventTime::idle(told.at), is_over: true }
            }
            Ok(time) => Reached { time: time.unwrap_or(EventTime::idle(Watermark::MIN)), is_over },
            Err(panicked) => {
                self.env.report(panicked.0);
                Reached { time: told, is_over }
            }
        };
        if reached != self.told_time {
            self.told_time = reached;
            self.out.out.signal(reached.signal());
            if self.has_ended() {
                self.note_end();
                self.env.control.advance(|progress| progress.ended += 1);
            }
        }
    }

    /// Whether event time is over here.
    pub(super) fn has_ended(&self) -> bool {
        self.told_time.is_over
    }

    /// Waits for acks, space, orders, or something to emit.
    async fn wait(&mut self, spout: &mut S) -> Result<(), Panicked> {
        self.env.turn_to(match () {
            () if self.state.blocked => Activity::Blocked,
            () if self.state.active && self.out.room() == 0 => Activity::Full,
            () => Activity::Idle,
        });
        if !self.may_emit() {
            self.env.bell.notified().await;
            return Ok(());
        }
        let in_vain = self.state.asked_in_vain;
        let ready = async {
            if in_vain {
                self.env.task.sleep(IDLE_POLL).await;
            }
            contain_future(spout.ready()).await
        };
        tokio::select! {
            biased;
            () = self.env.bell.notified() => Ok(()),
            ready = ready => {
                self.state.asked_in_vain = true;
                ready
            }
        }
    }

    /// Tells the topology whether this task has come to rest.
    pub(super) fn tell_progress(&mut self) {
        let at_rest = self.is_answered() && !self.state.blocked && self.is_committed();
        let done = at_rest && self.state.finished;
        let idle = done || (at_rest && self.state.idle);
        if idle != self.state.told_idle || done != self.state.told_done {
            let step = |to: bool, from: bool, count: &mut usize| {
                *count = *count + usize::from(to) - usize::from(from)
            };
            let (was_idle, was_done) = (self.state.told_idle, self.state.told_done);
            self.env.control.advance(|progress| {
                step(idle, was_idle, &mut progress.idle_spouts);
                step(done, was_done, &mut progress.done_spouts);
            });
            (self.state.told_idle, self.state.told_done) = (idle, done);
        }
    }
}

/// A fresh, opened instance.
pub(super) async fn instance<S: Spout>(
    factory: &Arc<dyn Fn() -> S + Send + Sync>,
    task: &TaskContext,
) -> Result<S, Fault> {
    let mut spout = contain(|| factory()).map_err(|panicked| Fault::from(&*panicked.0))?;
    match contain_future(spout.open(task)).await {
        Ok(opened) => opened.map(|()| spout),
        Err(panicked) => Err(Fault::from(&*panicked.0)),
    }
}

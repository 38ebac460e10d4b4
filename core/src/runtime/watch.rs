//! Looks after what takes too long: an execute that does not come to its end, an input that its bolt keeps.
//!
//! One task per topology looks at every bolt's executor now and then. It runs beside the executors, so it can speak for one
//! whose thread is blocked, as long as the scheduler has a thread left. What it cannot do is free tasks that the blocked
//! thread keeps to itself, as tokio's threads do with those they woke last: where the spout is one of them, it hears of the
//! fail when the thread is free again. Only the monotonic clock counts, and time in a
//! queue, or waiting for room in one, never does.
//!
//! Invariant: it sleeps without a timer while nothing is in work and nothing is held.

use std::sync::Arc;
use std::time::Duration;

use super::acks::{Answers, Cause, Failed, Lanes};
use super::control::Control;
use super::executor::Executor;
use super::holding::{Alarm, Overrun};
use super::input::AnswerDesk;
use crate::ledger::RootId;
use crate::schedule::{Moment, Scheduler};

/// Looks within the shortest timeout: what takes too long is found at most this part of it later.
const LOOKS_PER_TIMEOUT: u32 = 8;
/// The longest and the shortest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// One bolt task as the watch sees it.
pub(crate) struct Post {
    env: Executor,
    desk: Arc<AnswerDesk>,
    /// How long an input may be held.
    hold_timeout: Option<Duration>,
    /// The turn seen at the last look, and since when.
    turn: u64,
    since: Moment,
    /// Whether that turn was found to take too long.
    told: bool,
}

impl Post {
    pub(crate) fn new(env: Executor, desk: Arc<AnswerDesk>, hold_timeout: Option<Duration>) -> Self {
        Self { env, desk, hold_timeout, turn: 0, since: Moment::default(), told: false }
    }

    fn is_watched(&self) -> bool {
        self.env.holding.timeout.is_some() || self.hold_timeout.is_some()
    }

    /// Whether there is anything to look after, or was a moment ago.
    fn is_at_work(&self) -> bool {
        let holding = &self.env.holding;
        holding.turn() != self.turn || holding.is_at_work() || self.desk.holds()
    }
}

/// The watch of one topology.
pub(crate) struct Watch {
    pub(crate) posts: Vec<Post>,
    pub(crate) lanes: Lanes,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) control: Arc<Control>,
    pub(crate) scheduler: Arc<dyn Scheduler>,
    /// All tasks of the topology.
    pub(crate) tasks: usize,
}

impl Watch {
    /// Runs until every task has finished; does nothing where nothing has a timeout.
    pub(crate) async fn run(mut self) {
        self.posts.retain(Post::is_watched);
        let timeouts = self.posts.iter().flat_map(|post| [post.env.holding.timeout, post.hold_timeout]);
        let Some(shortest) = timeouts.flatten().min() else { return };
        let pause = (shortest / LOOKS_PER_TIMEOUT).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let (control, tasks) = (Arc::clone(&self.control), self.tasks);
        tokio::select! {
            biased;
            () = control.wait(|progress| progress.finished == tasks) => {}
            () = self.watch(pause) => {}
        }
    }

    async fn watch(&mut self, pause: Duration) {
        loop {
            self.alarm.lie_down();
            if self.posts.iter().any(Post::is_at_work) {
                self.alarm.get_up();
            } else {
                self.alarm.rung().await;
            }
            let now = self.scheduler.clock().now();
            let due = self.look(now).unwrap_or(now.after(pause));
            self.scheduler.sleep_until(due.min(now.after(pause))).await;
        }
    }

    /// Looks at every post; says when the next execute will have taken too long.
    fn look(&mut self, now: Moment) -> Option<Moment> {
        let mut next = None;
        for post in &mut self.posts {
            let due = look_at_turn(post, &self.lanes, now);
            next = next.into_iter().chain(due).min();
            if let Some(longest) = post.hold_timeout {
                expire(post, longest, now);
            }
        }
        next
    }
}

/// Looks at what is executed.
fn look_at_turn(post: &mut Post, lanes: &Lanes, now: Moment) -> Option<Moment> {
    let holding = &post.env.holding;
    let turn = holding.turn();
    if turn != post.turn {
        (post.turn, post.since, post.told) = (turn, now, false);
        // From here on, the turn is one input's.
        holding.end_chunk();
    }
    let longest = holding.timeout.filter(|_| !turn.is_multiple_of(2) && !post.told)?;
    let due = post.since.after(longest);
    if now < due {
        return Some(due);
    }
    post.told = true;
    let overrun = holding.overrun(turn);
    post.env.counters.time_out(u64::from(overrun != Overrun::Ended));
    if let Overrun::Blocked(roots) = overrun {
        let cause = holding.timed_out();
        let reason = cause.fail.reason();
        roots.into_iter().for_each(|root| fail(root, &cause, post, lanes));
        post.env.report(format!("{reason}; it blocks its thread, and goes on when it returns").into());
    }
    None
}

/// Fails a tree on behalf of an executor whose thread is blocked.
fn fail(root: RootId, cause: &Cause, post: &Post, lanes: &Lanes) {
    let component = Arc::clone(post.env.task.component());
    let failed = Failed { root, cause: cause.clone(), component };
    if let Some(lane) = lanes.get(usize::from(root.task())) {
        lane.append(&mut Answers { fails: vec![failed], ..Answers::default() });
    }
}

/// Fails the trees of inputs that were held too long.
fn expire(post: &Post, longest: Duration, now: Moment) {
    let cause = || {
        let (component, task) = (post.env.task.component(), post.env.task.task());
        Cause::timeout(format!("`{component}` task {task} had held it for {longest:?}").into())
    };
    let expired = post.desk.expire(now, longest, cause);
    if expired > 0 {
        post.env.counters.time_out(expired);
        post.env.report(Arc::clone(cause().fail.reason()));
    }
}

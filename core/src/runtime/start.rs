//! From a component in the graph to the executors of its tasks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::acks::{Acks, Answers, Lanes};
use super::bolt_executor::{BoltExecutor, Factory};
use super::emitter::EmitterContext;
use super::executor::Executor;
use super::form::{Form, Turn};
use super::inbox::{Bell, Inbox};
use super::input::AnswerDesk;
use super::spout_emitter::SpoutEmitter;
use super::spout_executor::SpoutExecutor;
use super::trees::Keeper;
use super::watch::Post;
use crate::config::{Config, Delivery};
use crate::ledger::{EdgeIds, Ledger};
use crate::metrics::{EdgeViews, QueueSnapshot};
use crate::schedule::Task;
use crate::spout::Spout;
use crate::stream::{Connection, Output};

/// The queues of a bolt's tasks, there once it starts.
pub(crate) type InboxSlot<In> = Arc<OnceLock<Vec<Arc<Inbox<In>>>>>;

/// Something that has a fill.
pub(crate) trait Fill: Send + Sync {
    fn fill(&self) -> QueueSnapshot;
    /// Of one subscription.
    fn fill_of(&self, input: usize) -> QueueSnapshot;
    /// The subscription of each sender.
    fn senders(&self) -> Vec<u32>;
}

impl<T: Send> Fill for Inbox<T> {
    fn fill(&self) -> QueueSnapshot {
        Inbox::fill(self)
    }

    fn fill_of(&self, input: usize) -> QueueSnapshot {
        Inbox::fill_of(self, input)
    }

    fn senders(&self) -> Vec<u32> {
        Inbox::senders(self)
    }
}

/// What a task needs to start.
pub(crate) struct Seat<'a> {
    pub(crate) env: Executor,
    pub(crate) lanes: Lanes,
    /// The ledger it owns (spouts and bolts that open trees).
    pub(crate) ledger: u16,
    pub(crate) max_pending: usize,
    /// How long an input may be held (bolts).
    pub(crate) hold_timeout: Option<Duration>,
    /// Whether the topology has a cycle.
    pub(crate) has_loops: bool,
    /// All subscriptions of the topology.
    pub(crate) edges: &'a EdgeViews,
    /// Where the watch will look.
    pub(crate) posts: &'a mut Vec<Post>,
    /// Numbers the generators of edges.
    pub(crate) generators: &'a mut u32,
}

impl Seat<'_> {
    fn connect<O: Output>(&mut self, streams: &O::Streams) -> O::Emitter {
        let env = &self.env;
        let context = EmitterContext {
            bell: Arc::clone(&env.bell),
            scheduler: Arc::clone(&env.task.scheduler),
            control: Arc::clone(&env.control),
            holding: Arc::clone(&env.holding),
            counters: Arc::clone(&env.counters),
            batch_size: env.config.batch_size,
            witness: env.witness.clone(),
        };
        let mut connection = Connection {
            emitter: env.task.task as usize,
            emitters: env.task.tasks as usize,
            config: &env.config,
            generators: self.generators,
            edges: self.edges,
            witness: env.witness.clone(),
            context,
        };
        O::connect(streams, &mut connection)
    }

    /// A generator of edges that no other task has.
    fn edges(&mut self) -> EdgeIds {
        *self.generators += 1;
        EdgeIds::new(self.env.config.seed, *self.generators)
    }

    /// Whether trees are tracked.
    fn tracked(&self) -> bool {
        self.env.config.delivery != Delivery::AtMostOnce
    }

    fn acks(&self) -> Acks {
        Acks::new(Arc::clone(&self.lanes), Arc::clone(&self.env.task.component))
    }
}

/// A component that can start.
pub(crate) trait Start: Send {
    /// Makes the queues of its tasks, which ring `bells`, for so many subscriptions.
    fn open_queues(&mut self, _bells: &[Bell], _inputs: usize, _config: &Config) -> Vec<Arc<dyn Fill>> {
        Vec::new()
    }

    /// The executor of one task. All are made before any is run, so that no queue seems to have lost its senders.
    fn executor(&mut self, seat: Seat<'_>) -> Task;
}

/// Starts a spout.
pub(crate) struct SpoutStart<S: Spout> {
    factory: Arc<dyn Fn() -> S + Send + Sync>,
    streams: <S::Out as Output>::Streams,
}

impl<S: Spout> SpoutStart<S> {
    pub(crate) fn new(
        factory: Arc<dyn Fn() -> S + Send + Sync>,
        streams: <S::Out as Output>::Streams,
    ) -> Self {
        Self { factory, streams }
    }
}

impl<S: Spout> Start for SpoutStart<S> {
    fn executor(&mut self, mut seat: Seat<'_>) -> Task {
        let out = seat.connect::<S::Out>(&self.streams);
        let (edges, tracked) = (seat.edges(), seat.tracked());
        let ledger = Ledger::new(seat.ledger, seat.max_pending);
        let out = SpoutEmitter::new(out, ledger, edges, tracked, seat.env.witness.clone());
        let executor = SpoutExecutor {
            acks: seat.acks(),
            env: seat.env,
            factory: Arc::clone(&self.factory),
            out,
            lanes: seat.lanes,
            ledger: seat.ledger,
            answers: Answers::default(),
            completions: Default::default(),
            untracked: 0,
            breakdowns: 0,
            told_time: Default::default(),
            batch: Default::default(),
            state: Default::default(),
        };
        Box::pin(executor.run())
    }
}

/// Starts a bolt.
pub(crate) struct BoltStart<F: Form> {
    factory: Factory<F>,
    streams: <F::Out as Output>::Streams,
    inboxes: InboxSlot<F::In>,
}

impl<F: Form> BoltStart<F> {
    pub(crate) fn new(factory: Factory<F>, streams: <F::Out as Output>::Streams) -> Self {
        Self { factory, streams, inboxes: InboxSlot::default() }
    }

    /// Where the queues will be.
    pub(crate) fn inboxes(&self) -> InboxSlot<F::In> {
        Arc::clone(&self.inboxes)
    }
}

impl<F: Form> Start for BoltStart<F> {
    fn open_queues(&mut self, bells: &[Bell], inputs: usize, config: &Config) -> Vec<Arc<dyn Fill>> {
        let (tuples, bytes) = (config.queue_tuples, config.queue_bytes);
        let open = |bell: &Bell| Arc::new(Inbox::new(Arc::clone(bell), inputs, tuples, bytes));
        let inboxes = self.inboxes.get_or_init(|| bells.iter().map(open).collect());
        inboxes.iter().map(|inbox| Arc::clone(inbox) as Arc<dyn Fill>).collect()
    }

    fn executor(&mut self, mut seat: Seat<'_>) -> Task {
        let out = seat.connect::<F::Out>(&self.streams);
        let inboxes = self.inboxes.get().map(Vec::as_slice).unwrap_or_default();
        let inbox = Arc::clone(&inboxes[seat.env.task.task as usize]);
        let bell = Arc::clone(&seat.env.bell);
        let desk = Arc::new(AnswerDesk::new(seat.acks(), bell, seat.env.witness.clone()));
        seat.posts.push(Post::new(seat.env.clone(), Arc::clone(&desk), seat.hold_timeout));
        let holding = Arc::clone(&seat.env.holding);
        let turn = Turn::new(seat.acks(), desk, holding, seat.env.witness.clone());
        let keeper = F::OPENS_TREES.then(|| {
            let ledger = Ledger::new(seat.ledger, seat.max_pending);
            // In a micro-transaction a tree of a bolt's own belongs to the batch, and is done or failed with it.
            let tracked = seat.env.config.delivery == Delivery::AtLeastOnce;
            Keeper::new(ledger, seat.edges(), tracked, Arc::clone(&seat.lanes))
        });
        let (env, factory) = (seat.env, Arc::clone(&self.factory));
        let executor = BoltExecutor::new(env, factory, inbox, out, turn, keeper, !seat.has_loops);
        Box::pin(executor.run())
    }
}

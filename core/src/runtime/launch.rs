//! Starting a topology: queues, ledgers and lanes first, then every executor, then the flow.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::acks::{AckLane, Lanes};
use super::control::{Control, Phase};
use super::executor::Executor;
use super::holding::{Alarm, Holding};
use super::inbox::Bell;
use super::running::{ComponentView, LaunchError, Running, TaskView, View};
use super::start::{Fill, Seat};
use super::watch::{Post, Watch};
use super::witness::Witness;
use crate::config::{Config, Delivery};
use crate::context::TaskContext;
use crate::ledger::RootId;
use crate::log::{TransactionalConfig, TransactionalLog};
use crate::metrics::{ComponentKind, EdgeSnapshot, TaskCounters};
use crate::schedule::{Scheduler, Task};
use crate::state::{HubComponent, SharedStates, StateHub, TaskStates};
use crate::time::Watermark;
use crate::topology::{BuildError, Component, Graph, check_delivery};
use crate::trace::HopRing;
use crate::transaction::{Driver, Transactions};

/// How long executors have to stop where a component could not start.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// What all tasks share.
struct Shared {
    topology: Arc<str>,
    scheduler: Arc<dyn Scheduler>,
    config: Arc<Config>,
    control: Arc<Control>,
    lanes: Lanes,
    alarm: Arc<Alarm>,
    witness: Option<Arc<Witness>>,
    states: Arc<SharedStates>,
}

/// Starts `graph`; returns once every task is prepared and the spouts are active.
pub(crate) async fn launch(
    name: Arc<str>,
    mut graph: Graph,
    scheduler: Arc<dyn Scheduler>,
    mut config: Config,
) -> Result<Running, LaunchError> {
    let edges = edges(&graph);
    check_delivery(&graph, config.delivery)?;
    config.batch_size = config.batch_size.max(1);
    let own_log = match config.delivery {
        Delivery::ExactlyOnce => Some(open_transactions(&name, &mut config).await?),
        Delivery::AtMostOnce | Delivery::AtLeastOnce => None,
    };
    let bells: Vec<Vec<Bell>> =
        graph.components.iter().map(|one| (0..one.tasks).map(|_| Bell::default()).collect()).collect();
    let ledgers = first_ledgers(&graph);
    let mut owners: Vec<(u16, &Vec<Bell>)> =
        ledgers.iter().zip(&bells).filter_map(|(first, bells)| Some(((*first)?, bells))).collect();
    owners.sort_by_key(|(first, _)| *first);
    let lanes =
        owners.into_iter().flat_map(|(_, bells)| bells).map(|bell| AckLane::new(Arc::clone(bell))).collect();
    let all_bells: Vec<Bell> = bells.iter().flatten().cloned().collect();
    let transactions = own_log
        .is_some()
        .then(|| Arc::new(Transactions::new(config.transactions.clone(), all_bells.clone())));
    let shared = Shared {
        topology: Arc::clone(&name),
        scheduler: Arc::clone(&scheduler),
        control: Arc::new(Control::new(all_bells, transactions.clone())),
        lanes,
        alarm: Arc::default(),
        witness: config.witness.then(Arc::default),
        states: Arc::new(SharedStates::new(config.state.clone(), config.seed)),
        config: Arc::new(config),
    };
    let Seated { views: components, executors, posts, states } =
        seat_all(&mut graph, &bells, &ledgers, &shared);
    let tasks = bells.iter().flatten().count();
    let started = scheduler.clock().now();
    let id = format!("{name}-{}", scheduler.clock().wall_ms() / 1_000).into();
    let tracked = shared.config.delivery != Delivery::AtMostOnce;
    let control = Arc::clone(&shared.control);
    let view = View {
        name,
        id,
        tracked,
        started,
        components,
        states: StateHub::new(states),
        edges,
        scheduler,
        control,
        witness: shared.witness.clone(),
    };
    let running = Running(Arc::new(view));
    for (name, executor) in executors {
        shared.scheduler.spawn(&name, executor);
    }
    all_prepared(&running, &shared.control).await?;
    if let (Some(transactions), Some(own), Some(log)) =
        (transactions, own_log, shared.config.state.log.clone())
    {
        let (control, scheduler) = (Arc::clone(&shared.control), Arc::clone(&shared.scheduler));
        let restart_delay = shared.config.restart_delay;
        let driver = Driver { transactions, control, scheduler, log, restart_delay, tasks };
        shared.scheduler.spawn("transactions", Box::pin(driver.run(own)));
    }
    let Shared { scheduler, control, lanes, alarm, .. } = shared;
    let watch = Watch { posts, lanes, alarm, control, scheduler: Arc::clone(&scheduler), tasks };
    scheduler.spawn("watch", Box::pin(watch.run()));
    Ok(running)
}

/// Becomes the one that writes the topology's transactions: who did before is fenced, and what it left open is aborted,
/// before anything is read.
async fn open_transactions(
    name: &Arc<str>,
    config: &mut Config,
) -> Result<Box<dyn TransactionalLog>, LaunchError> {
    let Some(log) = &config.state.log else {
        let reason =
            "exactly once commits state, outputs and offsets to one log; name it in Config::state.log";
        return Err(BuildError::Refused { reason: reason.into() }.into());
    };
    let settings = TransactionalConfig { id: Arc::clone(name), timeout: config.transactions.timeout };
    let own = log.transactional(&settings).await?;
    config.state.keeps_undo = true;
    config.witness = false;
    Ok(own)
}

/// The ledger of the first task of each component whose tasks own one: spouts first, then bolts that open trees.
fn first_ledgers(graph: &Graph) -> Vec<Option<u16>> {
    let mut firsts = vec![None; graph.components.len()];
    let mut next = 0;
    for spouts in [true, false] {
        for (component, first) in graph.components.iter().zip(&mut firsts) {
            if component.opens_trees && (component.kind == ComponentKind::Spout) == spouts {
                *first = Some(next);
                next += component.tasks as u16;
            }
        }
    }
    firsts
}

async fn all_prepared(running: &Running, control: &Control) -> Result<(), LaunchError> {
    let tasks = running.0.components.iter().map(|component| component.tasks.len()).sum();
    control.wait(|progress| progress.prepared == tasks || progress.failed_to_start).await;
    if !control.progress().failed_to_start {
        control.enter(Phase::Active);
        return Ok(());
    }
    control.enter(Phase::Aborting);
    running.stopped_within(STOP_WAIT).await;
    let (component, fault) = match control.take_start_fault() {
        Some(fault) => fault,
        None => (Arc::from("a component"), "no reason was given".into()),
    };
    Err(LaunchError::Prepare { component, reason: fault.to_string() })
}

/// Executors that are ready to run, and those who look at them.
struct Seated {
    views: Vec<ComponentView>,
    executors: Vec<(String, Task)>,
    posts: Vec<Post>,
    states: Vec<HubComponent>,
}

/// Makes every executor, connected to all others, and the views on them.
fn seat_all(graph: &mut Graph, bells: &[Vec<Bell>], ledgers: &[Option<u16>], shared: &Shared) -> Seated {
    let has_loops = !graph.loops.is_empty();
    let mut queues: Vec<Vec<Arc<dyn Fill>>> = Vec::new();
    for (component, bells) in graph.components.iter_mut().zip(bells) {
        let start = component.start.as_mut();
        queues.push(start.map(|start| start.open_queues(bells, &shared.config)).unwrap_or_default());
    }
    let mut generators = 0;
    let (mut views, mut executors, mut posts) = (Vec::new(), Vec::<(String, Task)>::new(), Vec::new());
    let mut states = Vec::new();
    for (((component, bells), queues), first_ledger) in
        graph.components.iter_mut().zip(bells).zip(queues).zip(ledgers)
    {
        let mut tasks = Vec::new();
        let mut parts = Vec::new();
        for (task, bell) in bells.iter().enumerate() {
            let env = environment(component, task, executors.len(), bell, shared);
            let queue = queues.get(task).cloned();
            parts.push(Arc::clone(&env.task.states));
            tasks.push(TaskView { counters: Arc::clone(&env.counters), hops: Arc::clone(&env.hops), queue });
            let seat = Seat {
                env,
                lanes: Arc::clone(&shared.lanes),
                ledger: first_ledger.unwrap_or(0) + task as u16,
                has_loops,
                max_pending: component
                    .max_pending
                    .unwrap_or(shared.config.max_pending)
                    .clamp(1, RootId::MAX_SLOTS),
                hold_timeout: component
                    .hold_timeout
                    .unwrap_or(shared.config.hold_timeout)
                    .map(at_least_a_millisecond),
                posts: &mut posts,
                generators: &mut generators,
            };
            if let Some(start) = component.start.as_mut() {
                executors.push((format!("{}-{task}", component.name), start.executor(seat)));
            }
        }
        states.push(HubComponent { name: Arc::clone(&component.name), tasks: parts });
        views.push(ComponentView { name: Arc::clone(&component.name), kind: component.kind, tasks });
    }
    Seated { views, executors, posts, states }
}

fn environment(component: &Component, task: usize, seat: usize, bell: &Bell, shared: &Shared) -> Executor {
    let timeout =
        component.execute_timeout.unwrap_or(shared.config.execute_timeout).map(at_least_a_millisecond);
    let holding = Holding::new(
        Arc::clone(&component.name),
        task as u32,
        shared.config.batch_size,
        timeout,
        Arc::clone(&shared.alarm),
    );
    let counters = Arc::new(TaskCounters::default());
    Executor {
        holding: Arc::new(holding),
        task: TaskContext {
            topology: Arc::clone(&shared.topology),
            component: Arc::clone(&component.name),
            task: task as u32,
            tasks: component.tasks as u32,
            scheduler: Arc::clone(&shared.scheduler),
            control: Arc::clone(&shared.control),
            counters: Arc::clone(&counters),
            event_time: Arc::new(AtomicI64::new(Watermark::MIN.0)),
            stores: Arc::default(),
            states: Arc::new(TaskStates::new(&shared.states, bell, component.kind)),
            staging: Arc::default(),
        },
        config: Arc::clone(&shared.config),
        control: Arc::clone(&shared.control),
        bell: Arc::clone(bell),
        counters,
        hops: Arc::new(HopRing::default()),
        witness: shared.witness.clone(),
        tick: component.tick,
        seat,
    }
}

/// A timeout of nothing would fail everything.
fn at_least_a_millisecond(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

fn edges(graph: &Graph) -> Vec<EdgeSnapshot> {
    let mut edges = Vec::new();
    for component in &graph.components {
        for edge in &component.inputs {
            if let Some((from, stream)) = graph.source_of(edge) {
                edges.push(EdgeSnapshot {
                    from: Arc::clone(&graph.components[from.0].name),
                    stream,
                    to: Arc::clone(&component.name),
                    grouping: edge.grouping.into(),
                });
            }
        }
    }
    edges
}

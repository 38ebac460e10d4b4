//! Starting a topology: queues, ledgers and lanes first, then every executor, then the flow.

use std::sync::Arc;
use std::time::Duration;

use super::acks::{AckLane, Lanes};
use super::control::{Control, Phase};
use super::executor::Executor;
use super::inbox::Bell;
use super::running::{ComponentView, LaunchError, Running, TaskView, View};
use super::start::{Fill, Seat};
use super::witness::Witness;
use crate::config::{Config, Delivery};
use crate::context::TaskContext;
use crate::ledger::RootId;
use crate::metrics::{ComponentKind, EdgeSnapshot, TaskCounters};
use crate::schedule::{Scheduler, Task};
use crate::topology::{Component, Graph};
use crate::trace::HopRing;

/// How long executors have to stop where a component could not start.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// What all tasks share.
struct Shared {
    topology: Arc<str>,
    scheduler: Arc<dyn Scheduler>,
    config: Arc<Config>,
    control: Arc<Control>,
    lanes: Lanes,
    witness: Option<Arc<Witness>>,
}

/// Starts `graph`; returns once every task is prepared and the spouts are active.
pub(crate) async fn launch(
    name: Arc<str>,
    mut graph: Graph,
    scheduler: Arc<dyn Scheduler>,
    mut config: Config,
) -> Result<Running, LaunchError> {
    let edges = edges(&graph);
    config.batch_size = config.batch_size.max(1);
    let bells: Vec<Vec<Bell>> =
        graph.components.iter().map(|one| (0..one.tasks).map(|_| Bell::default()).collect()).collect();
    let spouts = graph.components.iter().zip(&bells).filter(|(one, _)| one.kind == ComponentKind::Spout);
    let lanes = spouts.flat_map(|(_, bells)| bells).map(|bell| AckLane::new(Arc::clone(bell))).collect();
    let shared = Shared {
        topology: Arc::clone(&name),
        scheduler: Arc::clone(&scheduler),
        control: Arc::new(Control::new(bells.iter().flatten().cloned().collect())),
        lanes,
        witness: config.witness.then(Arc::default),
        config: Arc::new(config),
    };
    let (components, executors) = seat_all(&mut graph, &bells, &shared);
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
    Ok(running)
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

/// Makes every executor, connected to all others, and the views on them.
fn seat_all(
    graph: &mut Graph,
    bells: &[Vec<Bell>],
    shared: &Shared,
) -> (Vec<ComponentView>, Vec<(String, Task)>) {
    let mut queues: Vec<Vec<Arc<dyn Fill>>> = Vec::new();
    for (component, bells) in graph.components.iter_mut().zip(bells) {
        let start = component.start.as_mut();
        queues.push(start.map(|start| start.open_queues(bells, &shared.config)).unwrap_or_default());
    }
    let (mut generators, mut ledger) = (0, 0);
    let (mut views, mut executors) = (Vec::new(), Vec::new());
    for ((component, bells), queues) in graph.components.iter_mut().zip(bells).zip(queues) {
        let mut tasks = Vec::new();
        for (task, bell) in bells.iter().enumerate() {
            let env = environment(component, task, bell, shared);
            let queue = queues.get(task).cloned();
            tasks.push(TaskView { counters: Arc::clone(&env.counters), hops: Arc::clone(&env.hops), queue });
            let seat = Seat {
                env,
                lanes: Arc::clone(&shared.lanes),
                ledger,
                max_pending: component
                    .max_pending
                    .unwrap_or(shared.config.max_pending)
                    .clamp(1, RootId::MAX_SLOTS),
                generators: &mut generators,
            };
            if component.kind == ComponentKind::Spout {
                ledger += 1;
            }
            if let Some(start) = component.start.as_mut() {
                executors.push((format!("{}-{task}", component.name), start.executor(seat)));
            }
        }
        views.push(ComponentView { name: Arc::clone(&component.name), kind: component.kind, tasks });
    }
    (views, executors)
}

fn environment(component: &Component, task: usize, bell: &Bell, shared: &Shared) -> Executor {
    let counters = Arc::new(TaskCounters::default());
    Executor {
        task: TaskContext {
            topology: Arc::clone(&shared.topology),
            component: Arc::clone(&component.name),
            task: task as u32,
            tasks: component.tasks as u32,
            scheduler: Arc::clone(&shared.scheduler),
            control: Arc::clone(&shared.control),
            counters: Arc::clone(&counters),
        },
        config: Arc::clone(&shared.config),
        control: Arc::clone(&shared.control),
        bell: Arc::clone(bell),
        counters,
        hops: Arc::new(HopRing::default()),
        witness: shared.witness.clone(),
        tick: component.tick,
    }
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

//! Whether a graph can run: what the compiler cannot see of it.

use std::sync::Arc;

use super::error::BuildError;
use super::graph::{Component, ComponentId, Graph};
use crate::config::Delivery;
use crate::ledger::RootId;
use crate::metrics::ComponentKind;

/// The first thing that is wrong with `graph`.
pub(crate) fn check(graph: &Graph) -> Result<(), BuildError> {
    if let Some(error) = graph.errors.first() {
        return Err(error.clone());
    }
    check_spouts(graph)?;
    graph.components.iter().try_for_each(check_component)?;
    check_loops(graph)?;
    match (0..graph.components.len()).map(ComponentId).find(|&id| reads_itself(graph, id)) {
        Some(id) => Err(BuildError::Cycle { component: Arc::clone(&graph.components[id.0].name) }),
        None => Ok(()),
    }
}

/// The first thing in `graph` that cannot be done under `delivery`.
pub(crate) fn check_delivery(graph: &Graph, delivery: Delivery) -> Result<(), BuildError> {
    if delivery == Delivery::ExactlyOnce {
        return check_exactly_once(graph);
    }
    match graph.components.iter().find(|one| one.ends_batches) {
        Some(one) => Err(BuildError::Refused {
            reason: format!(
                "`{}` emits at the end of each batch, and there are batches exactly once alone; run the topology exactly once \
                 (--delivery exactly-once), or have it emit with each tuple",
                one.name
            )
            .into(),
        }),
        None => Ok(()),
    }
}

/// The first thing in `graph` that cannot be done exactly once.
fn check_exactly_once(graph: &Graph) -> Result<(), BuildError> {
    let refuse = |reason: String| Err(BuildError::Refused { reason: reason.into() });
    if let Some(one) = graph.loops.first() {
        return refuse(format!(
            "feedback `{}` makes a cycle, which no marker passes, so it cannot be done exactly once; run the topology at \
             least once, or without the cycle",
            one.name
        ));
    }
    let spouts = graph.components.iter().filter(|one| one.kind == ComponentKind::Spout);
    match spouts.into_iter().find(|one| !one.replays) {
        Some(spout) => refuse(format!(
            "spout `{}` cannot go back to what was committed, so it cannot be done exactly once; gather what it reads into a \
             topic and read that, or run the topology at least once",
            spout.name
        )),
        None => Ok(()),
    }
}

fn check_spouts(graph: &Graph) -> Result<(), BuildError> {
    let spouts = || graph.components.iter().enumerate().filter(|(_, one)| one.kind == ComponentKind::Spout);
    for (index, spout) in spouts() {
        for stream in &spout.streams {
            let read = graph.components.iter().flat_map(|one| &one.inputs);
            let source = Some((ComponentId(index), Arc::clone(stream)));
            if !read.into_iter().any(|edge| graph.source_of(edge) == source) {
                let (spout, stream) = (Arc::clone(&spout.name), Arc::clone(stream));
                return Err(BuildError::NoSubscriber { spout, stream });
            }
        }
        if let Some(asked) = spout.max_pending
            && !(1..=RootId::MAX_SLOTS).contains(&asked)
        {
            let limit = RootId::MAX_SLOTS;
            return Err(BuildError::MaxPending { spout: Arc::clone(&spout.name), asked, limit });
        }
    }
    let owners = graph.components.iter().filter(|one| one.opens_trees);
    let tasks = owners.fold(0_usize, |tasks, one| tasks.saturating_add(one.tasks));
    if spouts().next().is_none() {
        return Err(BuildError::NoSpout);
    }
    if tasks > RootId::MAX_TASKS {
        return Err(BuildError::TooManyTasks { tasks, limit: RootId::MAX_TASKS });
    }
    Ok(())
}

fn check_component(component: &Component) -> Result<(), BuildError> {
    let name = || Arc::clone(&component.name);
    if component.tasks == 0 {
        return Err(BuildError::ZeroTasks { component: name() });
    }
    if component.kind == ComponentKind::Bolt && component.inputs.is_empty() {
        return Err(BuildError::NoInput { bolt: name() });
    }
    if component.tick.is_some_and(|interval| interval.is_zero()) {
        return Err(BuildError::ZeroTick { bolt: name() });
    }
    Ok(())
}

fn check_loops(graph: &Graph) -> Result<(), BuildError> {
    for one in &graph.loops {
        if one.source.is_none() {
            return Err(BuildError::LoopOpen { name: Arc::clone(&one.name) });
        }
        let mut read = graph.components.iter().flat_map(|component| &component.inputs);
        if !read.any(|edge| edge.from == one.component) {
            return Err(BuildError::LoopUnread { name: Arc::clone(&one.name) });
        }
    }
    Ok(())
}

/// Whether `start` reads what came of its own output by ordinary streams alone: those wait for space, and a cycle of them
/// could wait for itself.
fn reads_itself(graph: &Graph, start: ComponentId) -> bool {
    let mut reached = vec![false; graph.components.len()];
    let mut to_visit = vec![start];
    while let Some(id) = to_visit.pop() {
        // A loop's entry is no component: feedback edges are not followed.
        let Some(component) = graph.components.get(id.0) else { continue };
        for edge in &component.inputs {
            if edge.from == start {
                return true;
            }
            if reached.get(edge.from.0) == Some(&false) {
                reached[edge.from.0] = true;
                to_visit.push(edge.from);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::topology::Feedback;
    use crate::{
        Bolt, BuildError, Emitter, Fail, Fault, Next, Spout, SpoutEmitter, SpoutHandle, Stream, Topology,
        ports,
    };

    struct Numbers;

    impl Spout for Numbers {
        type Out = u64;
        type Id = u64;
        fn next(&mut self, _out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
            Ok(Next::Finished)
        }
    }

    struct Pass;

    impl Bolt for Pass {
        type In = u64;
        type Out = u64;
        async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
            out.emit(number);
            Ok(())
        }
    }

    /// A topology of a spout `numbers` and a bolt `pass`, and what is done to it.
    fn refused(change: impl FnOnce(&Topology, SpoutHandle<u64>)) -> (BuildError, String) {
        let topology = Topology::new("wrong");
        let numbers = topology.spout("numbers", || Numbers);
        change(&topology, numbers);
        let error = topology.check().expect_err("it cannot run");
        let sentence = error.to_string();
        (error, sentence)
    }

    #[test]
    fn components_need_names_of_their_own() {
        let (error, sentence) = refused(|topology, numbers| {
            topology.bolt("", || Pass).shuffle(&numbers);
        });
        assert_eq!(error, BuildError::NoName);
        assert_eq!(sentence, "a component has no name; give every spout and bolt one");
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("numbers", || Pass).shuffle(&numbers);
        });
        assert_eq!(sentence, "two components are named `numbers`; give each a name of its own");
    }

    #[test]
    fn components_need_tasks() {
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("pass", || Pass).tasks(0).shuffle(&numbers);
        });
        assert_eq!(sentence, "`pass` has zero tasks; give it at least one with .tasks(n)");
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("pass", || Pass).shuffle(&numbers.tasks(0));
        });
        assert_eq!(sentence, "`numbers` has zero tasks; give it at least one with .tasks(n)");
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("pass", || Pass).shuffle(&numbers.tasks(usize::MAX));
        });
        let expected = format!(
            "{} tasks of spouts and operators are more than the 2048 that one topology can have; give them fewer",
            usize::MAX
        );
        assert_eq!(sentence, expected);
    }

    #[test]
    fn tuples_need_a_source_and_somewhere_to_go() {
        let error = Topology::new("empty").check().expect_err("it has no spout");
        assert_eq!(
            error.to_string(),
            "the topology has no spout; add one with topology.spout(name, factory)"
        );
        let (_, sentence) = refused(|_, _| {});
        assert_eq!(sentence, "nobody reads stream `default` of spout `numbers`; subscribe a bolt to it");
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("pass", || Pass).shuffle(&numbers);
            topology.bolt("deaf", || Pass);
        });
        let expected = "bolt `deaf` reads no stream; subscribe it to one, for example with .shuffle(&stream)";
        assert_eq!(sentence, expected);
    }

    ports! {
        /// Two streams.
        struct Two {
            even: u64,
            odd: u64,
        }
    }

    #[test]
    fn each_port_of_a_spout_needs_a_reader() {
        struct Ports;
        impl Spout for Ports {
            type Out = Two;
            type Id = u64;
            fn next(&mut self, _out: &mut SpoutEmitter<Two, u64>) -> Result<Next, Fault> {
                Ok(Next::Finished)
            }
        }
        let topology = Topology::new("ports");
        let ports = topology.spout("ports", || Ports);
        topology.bolt("pass", || Pass).shuffle(&ports.even);
        let error = topology.check().expect_err("nobody reads the odd ones");
        assert_eq!(error, BuildError::NoSubscriber { spout: "ports".into(), stream: "odd".into() });
    }

    #[test]
    fn loops_are_closed_by_a_stream_and_read() {
        let pass = |topology: &Topology, numbers: &Stream<u64>, again: &Feedback<u64>| {
            topology.bolt("pass", || Pass).shuffle(numbers).shuffle(again)
        };
        let (_, sentence) = refused(|topology, numbers| {
            pass(topology, &numbers, &topology.feedback("again"));
        });
        let expected = "feedback `again` is not connected; close the loop with feedback.connect(&stream)";
        assert_eq!(sentence, expected);
        let (_, sentence) = refused(|topology, numbers| {
            let passed = topology.bolt("pass", || Pass).shuffle(&numbers);
            topology.feedback("again").connect(&passed);
        });
        assert_eq!(sentence, "nobody reads feedback `again`; subscribe a bolt to it, or leave it out");
        let (_, sentence) = refused(|topology, numbers| {
            let (again, other) = (topology.feedback("again"), topology.feedback("other"));
            let passed = pass(topology, &numbers, &again);
            again.connect(&other);
            other.connect(&passed);
        });
        let expected = "feedback `again` is connected to a feedback; connect it to the stream of a bolt";
        assert_eq!(sentence, expected);
    }

    #[test]
    fn cycles_are_closed_by_feedback_alone() {
        let (_, sentence) = refused(|topology, numbers| {
            let pass = topology.bolt("pass", || Pass).shuffle(&numbers);
            let stream = (*pass).clone();
            pass.shuffle(&stream);
        });
        let expected = "`pass` reads its own output; close the cycle with topology.feedback(name), which cannot deadlock";
        assert_eq!(sentence, expected);
        let (error, _) = refused(|topology, numbers| {
            let first = topology.bolt("first", || Pass).shuffle(&numbers);
            let second = topology.bolt("second", || Pass).shuffle(&first);
            first.shuffle(&second);
            topology.bolt("after", || Pass).shuffle(&second);
        });
        assert_eq!(error, BuildError::Cycle { component: "first".into() });
    }

    #[test]
    fn streams_stay_in_their_topology() {
        let other = Topology::new("other");
        let foreign = other.spout("foreign", || Numbers);
        let (_, sentence) = refused(|topology, _| {
            topology.bolt("pass", || Pass).shuffle(&foreign);
        });
        let expected = "`pass` subscribes to a stream of another topology; use streams of its own";
        assert_eq!(sentence, expected);
        let (error, _) = refused(|topology, _| topology.feedback("again").connect(&foreign));
        assert_eq!(error, BuildError::ForeignStream { component: "again".into() });
    }

    #[test]
    fn settings_are_within_their_bounds() {
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("pass", || Pass).shuffle(&numbers.max_pending(0));
        });
        assert_eq!(sentence, "spout `numbers` has max_pending 0; it must lie between 1 and 1048576");
        let (_, sentence) = refused(|topology, numbers| {
            topology.bolt("pass", || Pass).shuffle(&numbers).tick_every(Duration::ZERO);
        });
        assert_eq!(sentence, "bolt `pass` ticks every 0 s; give .tick_every an interval above zero");
        let topology = Topology::new("named");
        topology.spout("numbers", || Numbers);
        let error = topology.set_tasks("count", 2).expect_err("there is no such component");
        assert_eq!(error.to_string(), "there is no component `count`; this topology has numbers");
    }

    #[test]
    fn the_first_of_several_faults_is_told() {
        let (error, _) = refused(|topology, _| {
            topology.bolt("numbers", || Pass);
            topology.bolt("deaf", || Pass).tasks(0);
        });
        assert_eq!(error, BuildError::NameTwice { name: "numbers".into() });
    }
}

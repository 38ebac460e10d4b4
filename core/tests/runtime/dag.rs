//! Random topologies whose every effect can be told beforehand.
//!
//! What a component emits for a tuple, and how often it breaks over it, depends on a hash of topology, component and
//! tuple alone. So the tuples that each component must see follow from a walk over the graph, whatever the schedule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use topo_core::{
    Bolt, BoltHandle, Emitter, Fail, Fault, Input, RichBolt, Stream, Targets, TaskContext, Topology,
};

use crate::part::Desk;

/// Bits of a tuple that hold its number; above them it counts its steps.
const STEP: u64 = 1 << 32;
/// Steps after which a tuple is not handed on, so that cycles end.
const LAST_STEP: u64 = 7;

/// A hash of all of `parts`.
fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |hash, &part| {
        let mixed = (hash ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb).rotate_left(31)
    })
}

/// How a bolt is written.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Basic,
    /// Answers at once.
    Rich,
    /// Holds inputs until it is idle.
    Holding,
    /// Emits one tuple for two inputs, where it has two.
    Joining,
}

/// One bolt of a plan.
#[derive(Debug, Clone)]
struct Node {
    kind: Kind,
    tasks: usize,
    /// What it reads, 0 being the spout, and by which grouping.
    inputs: Vec<(usize, u64)>,
}

/// A topology to be.
#[derive(Debug, Clone)]
pub(crate) struct Dag {
    seed: u64,
    spout_tasks: usize,
    nodes: Vec<Node>,
    /// A cycle from the stream of one bolt to an earlier one, or to itself.
    feedback: Option<(usize, usize)>,
}

/// Which bolt has executed which tuple, and how often.
type Visits = Arc<Mutex<BTreeMap<(usize, u64), u32>>>;

/// A plan on its way: its spout's desk, and what its bolts saw.
pub(crate) struct Trial {
    dag: Dag,
    pub(crate) desk: Desk,
    pub(crate) count: u64,
    visits: Visits,
}

impl Dag {
    pub(crate) fn new(seed: u64) -> Self {
        let draw = |what: u64, below: u64| hash(&[seed, 1_000 + what]) % below;
        let count = 1 + draw(0, 5);
        let nodes: Vec<Node> = (1..=count)
            .map(|at| {
                let draw = |what: u64, below: u64| hash(&[seed, at, what]) % below;
                let kind = match draw(0, 6) {
                    0 => Kind::Rich,
                    1 => Kind::Holding,
                    2 => Kind::Joining,
                    _ => Kind::Basic,
                };
                let inputs = 1 + draw(1, 2);
                let input = |which: u64| (draw(10 + which, at) as usize, draw(20 + which, 7));
                Node { kind, tasks: 1 + draw(2, 3) as usize, inputs: (0..inputs).map(input).collect() }
            })
            .collect();
        let from = 1 + draw(1, count);
        let feedback = (draw(2, 3) == 0).then(|| (from as usize, 1 + draw(3, from) as usize));
        Self { seed, spout_tasks: 1 + draw(4, 3) as usize, nodes, feedback }
    }

    /// How many tuples component `at` emits for `tuple`.
    fn emits(&self, at: usize, tuple: u64) -> u64 {
        let step = tuple / STEP;
        // A few go on as three, but not for long.
        let most = if step < 3 { [0, 1, 1, 1, 2, 1, 3, 1] } else { [0, 1, 0, 1, 0, 1, 0, 1] };
        if step >= LAST_STEP { 0 } else { most[(hash(&[self.seed, at as u64, tuple, 1]) % 8) as usize] }
    }

    /// How often component `at` breaks over `tuple` before it goes through.
    fn breaks(&self, at: usize, tuple: u64) -> u32 {
        [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][(hash(&[self.seed, at as u64, tuple, 2]) % 12) as usize]
    }

    /// Wires the topology, whose spout emits the numbers below `count`.
    pub(crate) fn trial(&self, count: u64) -> (Topology, Trial) {
        let trial =
            Trial { dag: self.clone(), desk: Desk::new(count, u32::MAX), count, visits: Visits::default() };
        let topology = Topology::new("random");
        let numbers = topology.spout("numbers", trial.desk.source()).tasks(self.spout_tasks);
        let mut streams: Vec<Stream<u64>> = vec![(*numbers).clone()];
        let mut feedback = self.feedback.map(|(_, into)| (into, topology.feedback::<u64>("feedback")));
        for (index, node) in self.nodes.iter().enumerate() {
            let at = index + 1;
            let mut handle = trial.bolt(&topology, at, node);
            for &(from, grouping) in &node.inputs {
                handle = subscribe(handle, &streams[from], grouping);
            }
            if let Some((into, stream)) = &feedback
                && *into == at
            {
                handle = subscribe(handle, stream, hash(&[self.seed, 3]) % 7);
            }
            streams.push((*handle).clone());
        }
        if let (Some((_, stream)), Some((from, _))) = (feedback.take(), self.feedback) {
            stream.connect(&streams[from]);
        }
        (topology, trial)
    }

    /// Every tuple that each component must see.
    fn expected(&self, count: u64) -> BTreeSet<(usize, u64)> {
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len() + 1];
        for (index, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&(from, _)| readers[from].push(index + 1));
        }
        if let Some((from, into)) = self.feedback {
            readers[from].push(into);
        }
        let mut seen = BTreeSet::new();
        let mut to_visit: Vec<(usize, u64)> = Vec::new();
        for number in 0..count {
            to_visit.extend(readers[0].iter().map(|&reader| (reader, number)));
        }
        while let Some((at, tuple)) = to_visit.pop() {
            if seen.insert((at, tuple)) && self.emits(at, tuple) > 0 {
                to_visit.extend(readers[at].iter().map(|&reader| (reader, tuple + STEP)));
            }
        }
        seen
    }
}

fn subscribe(handle: BoltHandle<u64, u64>, stream: &Stream<u64>, grouping: u64) -> BoltHandle<u64, u64> {
    match grouping {
        0 => handle.shuffle(stream),
        1 => handle.fields(stream, |tuple| tuple),
        2 => handle.partial_key(stream, |tuple| tuple),
        3 => handle.all(stream),
        4 => handle.global(stream),
        5 => handle.local_or_shuffle(stream),
        _ => handle.custom(stream, |tuple: &u64, tasks: usize| {
            let first = (*tuple % tasks as u64) as usize;
            Targets::Several(vec![first, tasks - 1])
        }),
    }
}

impl Trial {
    fn bolt(&self, topology: &Topology, at: usize, node: &Node) -> BoltHandle<u64, u64> {
        let (dag, visits) = (Arc::new(self.dag.clone()), Arc::clone(&self.visits));
        let part = move || Part { dag: Arc::clone(&dag), visits: Arc::clone(&visits), at, task: None };
        let name = format!("bolt-{at}");
        let handle = match node.kind {
            Kind::Basic => topology.bolt(&name, part),
            Kind::Rich => topology.rich_bolt(&name, move || RichPart { part: part(), held: None }),
            Kind::Holding => {
                topology.rich_bolt(&name, move || RichPart { part: part(), held: Some(Vec::new()) })
            }
            Kind::Joining => topology.rich_bolt(&name, move || Joining { part: part(), held: None }),
        };
        let handle = handle.tasks(node.tasks);
        // Ticks do nothing here but come in between.
        if at.is_multiple_of(2) { handle.tick_every(Duration::from_millis(2)) } else { handle }
    }

    /// Every tuple was seen wherever it had to be, and acked once.
    pub(crate) fn verify(&self) {
        self.desk.assert_all_acked(self.count);
        let visits = self.visits.lock().unwrap();
        let seen: BTreeSet<(usize, u64)> = visits.keys().copied().collect();
        assert_eq!(seen, self.dag.expected(self.count), "what was seen, of {:?}", self.dag);
        for (&(at, tuple), &times) in visits.iter() {
            assert!(times > self.dag.breaks(at, tuple), "{at} never went through with {tuple:x}");
        }
    }

    /// How often bolts broke.
    pub(crate) fn broke(&self) -> usize {
        let visits = self.visits.lock().unwrap();
        visits.keys().map(|&(at, tuple)| self.dag.breaks(at, tuple) as usize).sum()
    }
}

/// What each bolt of a plan does.
struct Part {
    dag: Arc<Dag>,
    visits: Visits,
    at: usize,
    task: Option<TaskContext>,
}

/// What becomes of one visit.
enum Fate {
    /// It goes through, and emits so many.
    Through(u64),
    Fails,
    Panics,
}

impl Part {
    fn visit(&self, tuple: u64) -> Fate {
        let visit = {
            let mut visits = self.visits.lock().unwrap();
            let times = visits.entry((self.at, tuple)).or_default();
            *times += 1;
            *times
        };
        if visit > self.dag.breaks(self.at, tuple) {
            Fate::Through(self.dag.emits(self.at, tuple))
        } else if hash(&[self.dag.seed, tuple, 4]).is_multiple_of(3) {
            Fate::Panics
        } else {
            Fate::Fails
        }
    }

    /// Lets a little time go by, now and then.
    async fn pause(&self, tuple: u64) {
        if let Some(task) = &self.task
            && hash(&[self.dag.seed, self.at as u64, tuple, 5]).is_multiple_of(16)
        {
            task.sleep(Duration::from_micros(700)).await;
        }
    }
}

impl Bolt for Part {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, tuple: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        // What is emitted before a fail is taken back.
        let first = hash(&[self.dag.seed, tuple, 6]).is_multiple_of(2);
        if first {
            (0..self.dag.emits(self.at, tuple)).for_each(|_| out.emit(tuple + STEP));
        }
        self.pause(tuple).await;
        match self.visit(tuple) {
            Fate::Through(emits) => {
                if !first {
                    (0..emits).for_each(|_| out.emit(tuple + STEP));
                }
                Ok(())
            }
            Fate::Fails => Err(Fail::retry("as planned")),
            Fate::Panics => panic!("as planned"),
        }
    }
}

/// A part that owns its inputs, and may hold them until it is idle.
struct RichPart {
    part: Part,
    held: Option<Vec<Input<u64>>>,
}

impl RichBolt for RichPart {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, input: Input<u64>, out: &mut Emitter<u64>) -> Result<(), Fault> {
        match self.part.visit(*input) {
            Fate::Through(emits) => (0..emits).for_each(|_| out.emit_anchored(&[&input], *input + STEP)),
            Fate::Fails if input.is_multiple_of(2) => {
                input.fail(Fail::retry("as planned"));
                return Ok(());
            }
            // Dropped, with whatever is held.
            Fate::Fails => return Err("as planned".into()),
            Fate::Panics => panic!("as planned"),
        }
        out.ready().await;
        match &mut self.held {
            Some(held) => held.push(input),
            None => input.ack(),
        }
        Ok(())
    }

    async fn idle(&mut self, _out: &mut Emitter<u64>) -> Result<(), Fault> {
        self.held.iter_mut().flat_map(|held| held.drain(..)).for_each(Input::ack);
        Ok(())
    }
}

/// A part that anchors what it emits to the input before as well, if it has one.
struct Joining {
    part: Part,
    held: Option<Input<u64>>,
}

impl RichBolt for Joining {
    type In = u64;
    type Out = u64;

    async fn execute(&mut self, input: Input<u64>, out: &mut Emitter<u64>) -> Result<(), Fault> {
        let Fate::Through(emits) = self.part.visit(*input) else {
            input.fail(Fail::retry("as planned"));
            return Ok(());
        };
        let held = self.held.take();
        for _ in 0..emits {
            match &held {
                Some(before) => out.emit_anchored(&[before, &input], *input + STEP),
                None => out.emit_anchored(&[&input], *input + STEP),
            }
        }
        if let Some(before) = held {
            before.ack();
        }
        self.held = Some(input);
        Ok(())
    }

    async fn idle(&mut self, _out: &mut Emitter<u64>) -> Result<(), Fault> {
        self.held.take().into_iter().for_each(Input::ack);
        Ok(())
    }
}

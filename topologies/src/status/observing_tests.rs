//! What is observed of topologies that run, on the seeded scheduler's clock as far as time matters.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json, to_value};
use topo_core::schedule::{Scheduler, Seeded, TokioScheduler};
use topo_core::{
    Bolt, Config, Emitter, Fail, Fault, Next, Running, Spout, SpoutEmitter, TaskContext, Topology, Tuple,
};

use super::fixture::MARKUP;
use super::graph::{Graph, Moving};
use super::observer::Observer;
use super::tap::{self, Tap};
use super::tests::{get, get_json};
use super::trees::{Trees, Waterfall};
use super::verdict::{Kind, Verdict};
use super::{Snapshots, StatusServer};
use crate::testing::given;

const SECOND: Duration = Duration::from_secs(1);
const SEED: u64 = 20_817;

/// Runs `check` beside a topology that was launched on the seeded scheduler.
fn on_a_manual_clock<F: Future>(
    topology: Topology,
    config: Config,
    check: impl FnOnce(Running, Arc<Seeded>) -> F,
) -> F::Output {
    println!("seed {SEED}");
    let scheduler = Seeded::new(SEED);
    scheduler.set_step_limit(u64::MAX);
    let on = Arc::clone(&scheduler);
    scheduler.block_on(async move {
        let config = Config { seed: SEED, execute_timeout: None, ..config };
        let running = topology.launch(Arc::clone(&on) as Arc<dyn Scheduler>, config).await.unwrap();
        check(running, on).await
    })
}

/// Emits numbers for ever.
struct Endless(u64);

impl Spout for Endless {
    type Out = u64;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<u64, u64>) -> Result<Next, Fault> {
        out.emit_with(self.0, self.0)?;
        self.0 += 1;
        Ok(Next::Emitted)
    }
}

/// Gives its input through after `takes`.
struct Slow {
    takes: Duration,
    task: Option<TaskContext>,
}

impl Bolt for Slow {
    type In = u64;
    type Out = u64;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
        if !self.takes.is_zero() {
            self.task.as_ref().unwrap().sleep(self.takes).await;
        }
        out.emit(number);
        Ok(())
    }
}

fn slow(micros: u64) -> impl Fn() -> Slow + Send + Sync + 'static {
    move || Slow { takes: Duration::from_micros(micros), task: None }
}

/// `numbers` → `quick` → `crawl` → `sink`, of which `crawl` takes 10 ms a tuple.
fn held_up() -> Topology {
    let topology = Topology::new("held-up");
    let numbers = topology.spout("numbers", || Endless(0));
    let quick = topology.bolt("quick", slow(10)).shuffle(&numbers);
    let crawl = topology.bolt("crawl", slow(10_000)).shuffle(&quick);
    topology.bolt("sink", slow(0)).shuffle(&crawl);
    topology
}

/// Looks once a second, and gives the first sentence that is of `kind`, and after how many seconds it came.
async fn first(
    kind: Kind,
    running: &Running,
    scheduler: &Arc<Seeded>,
    observer: &Observer,
) -> (u32, Verdict) {
    for seconds in 1..=60 {
        scheduler.sleep_until(running.now().after(SECOND)).await;
        observer.look(running);
        let verdict = observer.verdict(&running.snapshot(), 0);
        println!("after {seconds} s: {}", verdict.sentence);
        if verdict.kind == kind {
            return (seconds, verdict);
        }
    }
    panic!("none was {kind:?} within a minute");
}

#[test]
fn a_slow_bolt_is_named_within_ten_seconds_and_not_its_victims() {
    // The queues fill first, or the trees that may be open are open first.
    for (queue_tuples, max_pending, held) in
        [(64, 10_000, vec!["numbers", "quick"]), (8_192, 1_000, vec!["numbers"])]
    {
        let config = Config { queue_tuples, max_pending, batch_size: 16, ..Config::default() };
        on_a_manual_clock(held_up(), config, async |running, scheduler| {
            let observer = Observer::default();
            let (after, verdict) = first(Kind::Bottleneck, &running, &scheduler, &observer).await;
            assert!(after <= 10, "{after} s");
            assert_eq!(verdict.component.as_deref(), Some("crawl"), "{}", verdict.sentence);
            assert!(
                verdict.sentence.contains("`crawl` is busy")
                    && verdict.sentence.ends_with("give it 2 tasks.")
            );
            let snapshot = running.snapshot();
            let graph = to_value(Graph::of(&snapshot, &observer, 0)).unwrap();
            let from = |link: &usize| snapshot.edges[*link].from.to_string();
            let mut held_up: Vec<String> = verdict.held_up.iter().map(from).collect();
            held_up.sort();
            assert!(held.iter().all(|name| held_up.iter().any(|one| one == name)), "{held_up:?}");
            assert!(!held_up.iter().any(|name| name == "crawl" || name == "sink"), "{held_up:?}");
            for node in graph["nodes"].as_array().unwrap() {
                let share = |of: &str| node[of].as_f64().unwrap();
                match node["name"].as_str().unwrap() {
                    "crawl" => assert!(
                        share("busy") > 0.95 && share("rate") > 90.0 && share("rate") < 110.0,
                        "{node}"
                    ),
                    "numbers" => {
                        assert!(share("blocked") + share("full") > 0.9 && share("busy") < 0.1, "{node}")
                    }
                    "quick" => assert!(share("busy") < 0.5, "{node}"),
                    _ => assert!(share("busy") < 0.1, "{node}"),
                }
            }
        });
    }
}

#[test]
fn a_topology_that_keeps_up_is_well_and_one_without_input_says_so() {
    let topology = Topology::new("ends");
    let numbers = topology.spout("numbers", given((0..100).collect::<Vec<u64>>()));
    topology.bolt("sink", slow(100_000)).shuffle(&numbers);
    on_a_manual_clock(
        topology,
        Config { queue_tuples: 1_000, ..Config::default() },
        async |running, scheduler| {
            let observer = Observer::default();
            let (_, verdict) = first(Kind::Nothing, &running, &scheduler, &observer).await;
            assert_eq!(verdict.component.as_deref(), Some("numbers"));
            running.finished().await;
            scheduler.sleep_until(running.now().after(SECOND)).await;
            observer.look(&running);
            let verdict = observer.verdict(&running.snapshot(), 0);
            assert!(verdict.sentence.contains("All that came is done."), "{}", verdict.sentence);
        },
    );
}

/// Splits a text at spaces.
struct Split;

impl Bolt for Split {
    type In = String;
    type Out = String;

    async fn execute(&mut self, text: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        text.split(' ').for_each(|word| out.emit(word.to_owned()));
        Ok(())
    }
}

/// Fails `word` as often as `left` says.
struct Judge {
    word: &'static str,
    left: Arc<Mutex<u32>>,
}

impl Bolt for Judge {
    type In = String;
    type Out = ();

    async fn execute(&mut self, word: String, _: &mut Emitter<()>) -> Result<(), Fail> {
        let mut left = self.left.lock().unwrap();
        if word == self.word && *left > 0 {
            *left -= 1;
            return Err(Fail::retry("<b>no</b>"));
        }
        Ok(())
    }
}

fn judged(texts: &[&str], word: &'static str, failures: u32) -> Topology {
    let topology = Topology::new("judged");
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    let lines = topology.spout("lines", given(texts));
    let words = topology.bolt("split", || Split).shuffle(&lines);
    let left = Arc::new(Mutex::new(failures));
    topology.bolt("judge", move || Judge { word, left: Arc::clone(&left) }).shuffle(&words);
    topology
}

fn tree(running: &Running, ended: &Value) -> Value {
    to_value(Waterfall::of(running, ended["root"].as_str().unwrap())).unwrap()
}

#[test]
fn a_failed_trees_waterfall_has_the_right_hops_and_says_what_it_does_not_know() {
    // The first tree of a spout is traced, so the one that fails is not the first.
    let topology = judged(&["first of all", "to be or not"], "or", 2);
    on_a_manual_clock(topology, Config::default(), async |running, _| {
        running.finished().await;
        let trees = to_value(Trees::of(&running)).unwrap();
        let ended: Vec<&Value> = trees["ended"].as_array().unwrap().iter().collect();
        let told: Vec<_> = ended
            .iter()
            .map(|one| {
                (
                    one["id"].as_str().unwrap(),
                    one["attempt"].as_u64(),
                    one["outcome"].as_str().unwrap(),
                    one["traced"].as_bool(),
                )
            })
            .collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(
            told,
            [
                ("tuple 1", Some(3), "acked", yes),
                ("tuple 1", Some(2), "failed", yes),
                ("tuple 1", Some(1), "failed", no),
                ("tuple 0", Some(1), "acked", yes),
            ]
        );
        let hops = |tree: &Value| -> Vec<Value> {
            let hop = |hop: &Value| json!([hop["component"], hop["value"], hop["outcome"]]);
            tree["hops"].as_array().unwrap().iter().map(hop).collect()
        };
        let second = tree(&running, ended[1]);
        assert_eq!(
            hops(&second),
            [
                json!(["split", "to be or not", "done"]),
                json!(["judge", "to", "done"]),
                json!(["judge", "be", "done"]),
                json!(["judge", "or", "failed"]),
                json!(["judge", "not", "done"]),
            ]
        );
        assert_eq!(second["hops"][3]["reason"], "<b>no</b>");
        assert_eq!(
            (&second["reason"], &second["failedIn"], &second["notes"]),
            (&json!("<b>no</b>"), &json!("judge"), &json!([]))
        );
        assert_eq!(second["hops"][0]["emitted"], 4);
        assert_eq!(second["attempts"].as_array().unwrap().len(), 2);
        let third = tree(&running, ended[0]);
        assert_eq!(
            (&third["outcome"], hops(&third).len(), &third["attempt"]),
            (&json!("acked"), 5, &json!(3))
        );
        let first = tree(&running, ended[2]);
        assert_eq!(hops(&first), [] as [Value; 0]);
        let note = first["notes"][0].as_str().unwrap();
        assert!(note.contains("not traced") && note.contains("failed in `judge`"), "{note}");
        assert!(
            Waterfall::of(&running, "00000000deadbeef").is_none() && Waterfall::of(&running, "<b>").is_none()
        );
    });
}

#[test]
fn open_trees_are_told_by_age_and_a_hop_that_is_under_way_by_a_note() {
    let config = Config { max_pending: 100, ..Config::default() };
    on_a_manual_clock(held_up(), config, async |running, scheduler| {
        // Who asks is told what was found when the task was asked before.
        for _ in 0..2 {
            Trees::of(&running);
            scheduler.sleep_until(running.now().after(SECOND)).await;
        }
        let trees = to_value(Trees::of(&running)).unwrap();
        let open = &trees["open"][0];
        assert_eq!((&open["component"], &open["count"]), (&json!("numbers"), &json!(100)));
        let counted: u64 =
            open["byAge"].as_array().unwrap().iter().map(|age| age["count"].as_u64().unwrap()).sum();
        assert_eq!((counted, open["oldest"].as_array().unwrap().len()), (100, 50));
        assert!(open["asOfMs"].as_f64().unwrap() > 0.0);
        let traced = to_value(Trees::of(&running)).unwrap();
        let traced = traced["ended"].as_array().unwrap().iter().find(|tree| tree["traced"] == true).cloned();
        let traced = tree(&running, &traced.expect("the first tree is traced"));
        assert_eq!(traced["outcome"], "acked");
    });
}

/// Waits, on tokio, until `is_so`.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn launch(topology: Topology) -> Running {
    topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await.unwrap()
}

fn serve(running: &Running) -> StatusServer {
    StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(running.clone())).unwrap()
}

/// Emits what it is handed.
struct Handed<T>(Arc<Mutex<Vec<T>>>);

impl<T: Tuple> Spout for Handed<T> {
    type Out = T;
    type Id = ();

    fn next(&mut self, out: &mut SpoutEmitter<T, ()>) -> Result<Next, Fault> {
        let Some(tuple) = self.0.lock().unwrap().pop() else { return Ok(Next::Idle) };
        out.emit_with((), tuple)?;
        Ok(Next::Emitted)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tap_shows_a_tuple_just_sent_and_only_what_its_filter_lets_through() {
    let desk = Arc::new(Mutex::new(vec!["before".to_owned()]));
    let topology = Topology::new("tapped");
    let at_spout = Arc::clone(&desk);
    let lines = topology.spout("lines", move || Handed(Arc::clone(&at_spout)));
    let words = topology.bolt("split", || Split).shuffle(&lines);
    let left = Arc::default();
    topology.bolt("judge", move || Judge { word: "", left: Arc::clone(&left) }).shuffle(&words);
    let running = launch(topology).await;
    let server = serve(&running);
    let path = format!("/api/v1/topology/{}/taps/1", running.id());
    let executed = |count: u64| running.snapshot().components[2].total(|task| task.executed) >= count;
    until("the first word", || executed(1)).await;
    let off = get_json(server.local_addr(), &path);
    assert_eq!((&off["on"], &off["seen"], &off["tuples"]), (&json!(false), &json!(0), &json!([])));
    let wish = |filter: &str| serde_json::from_value(json!({ "edge": 1, "filter": filter })).unwrap();
    assert_eq!(tap::switch_on(&running, &wish("SCRIPT")).status(), 200);
    desk.lock().unwrap().push(format!("to be {}", MARKUP.replace(' ', "_")));
    until("the words", || executed(4)).await;
    let on = get_json(server.local_addr(), &path);
    assert_eq!(
        (&on["on"], &on["seen"], &on["looked"], &on["matched"]),
        (&json!(true), &json!(3), &json!(3), &json!(1))
    );
    assert_eq!(on["tuples"][0]["value"], MARKUP.replace(' ', "_"), "markup stays text");
    assert_eq!(tap::switch_off(&running, 1).status(), 200);
    assert_eq!(get_json(server.local_addr(), &path)["on"], false);
    assert!(Tap::of(&running, 9).is_none());
    assert_eq!(tap::switch_off(&running, 9).status(), 404);
    let long = serde_json::from_value(json!({ "edge": 1, "filter": "x".repeat(300) })).unwrap();
    assert_eq!(tap::switch_on(&running, &long).status(), 400);
    server.shutdown().await;
    running.kill(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_numbers_are_those_of_the_json_and_of_the_ledger() {
    let texts: Vec<String> = (0..2_000).map(|number| format!("a b{} c", number % 7)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let running = launch(judged(&texts, "b3", 5)).await;
    running.finished().await;
    let server = serve(&running);
    let (at, id) = (server.local_addr(), running.id());
    let graph = get_json(at, &format!("/api/v1/topology/{id}/graph"));
    let page = get_json(at, &format!("/api/v1/topology/{id}"));
    assert_eq!(
        [&graph["totals"]["acked"], &graph["totals"]["failed"], &graph["totals"]["pending"]],
        [2_000, 5, 0]
    );
    assert_eq!([&page["topologyStats"][0]["acked"], &page["topologyStats"][0]["failed"]], [2_000, 5]);
    let edges = graph["edges"].as_array().unwrap();
    assert_eq!([&edges[0]["tuples"], &edges[1]["tuples"]], [2_005, 3 * 2_005]);
    assert_eq!([&page["bolts"][0]["executed"], &page["bolts"][1]["executed"]], [2_005, 3 * 2_005]);
    for (edge, told) in edges.iter().zip(page["edges"].as_array().unwrap()) {
        assert_eq!((&edge["tuples"], &edge["queue"]["tuples"]), (&told["tuples"], &json!(0)));
        assert_eq!(edge["waitMicros"]["count"], edge["tuples"], "every tuple waited");
    }
    let judge = get_json(at, &format!("/api/v1/topology/{id}/component/judge"));
    assert_eq!([&judge["stats"]["executed"], &judge["stats"]["failed"]], [3 * 2_005, 5]);
    assert_eq!(judge["moving"]["micros"]["all"]["execute"]["count"], 3 * 2_005);
    assert_eq!((&judge["inputs"], &judge["outputs"]), (&json!([1]), &json!([])));
    assert_eq!(judge["errors"][0]["error"], "<b>no</b>");
    let settings: Vec<&Value> =
        judge["settings"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert!(
        settings.contains(&&json!("queue_tuples")) && settings.contains(&&json!("execute_timeout")),
        "{settings:?}"
    );
    let trees = get_json(at, &format!("/api/v1/topology/{id}/trees"));
    let root = trees["ended"][0]["root"].as_str().unwrap();
    assert_eq!(get_json(at, &format!("/api/v1/topology/{id}/trees/{root}"))["root"], root);
    let layout = get_json(at, &format!("/api/v1/topology/{id}/layout"));
    assert_eq!(layout["wide"]["nodes"].as_array().unwrap().len(), 3);
    for path in ["component/none", "trees/0", "taps/7", "component/%3Cb%3E"] {
        let answer = get(at, &format!("/api/v1/topology/{id}/{path}"));
        assert_eq!(answer.status, 404, "{path}: {}", answer.body);
    }
    assert_eq!(get(at, "/api/v1/topology/none/graph").status, 404);
    server.shutdown().await;
    running.kill(Duration::from_secs(10)).await.unwrap();
}

#[test]
fn rates_and_sparklines_move_with_the_clock() {
    on_a_manual_clock(held_up(), Config::default(), async |running, scheduler| {
        let observer = Observer::default();
        for _ in 0..45 {
            scheduler.sleep_until(running.now().after(SECOND)).await;
            observer.look(&running);
        }
        let snapshot = running.snapshot();
        let moving =
            observer.with(&snapshot, |history| to_value(Moving::of_all(&snapshot, history)).unwrap());
        let crawl = &moving["crawl"];
        let alone = observer.with(&snapshot, |history| Moving::of_one(&snapshot, history, "crawl"));
        assert_eq!(&to_value(alone).unwrap(), crawl);
        for window in ["10s", "1m", "10m", "all"] {
            let rate = crawl["rates"][window]["executed"].as_f64().unwrap();
            assert!((80.0..=110.0).contains(&rate), "{rate} in {window}");
        }
        let p50 = crawl["micros"]["10s"]["execute"]["p50"].as_f64().unwrap();
        assert!((9_800.0..=10_200.0).contains(&p50), "{p50}");
        let points: Vec<f64> =
            crawl["series"]["rate"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert_eq!(points.len(), 5);
        assert!(points.iter().all(|rate| (70.0..=110.0).contains(rate)), "{points:?}");
    });
}

/// However many components there are, a view is made quickly: its work is bounded by what there is to see.
#[test]
fn two_hundred_components_are_told_whole() {
    struct Large(Vec<topo_core::metrics::TopologySnapshot>);
    impl Snapshots for Large {
        fn snapshots(&self) -> Vec<topo_core::metrics::TopologySnapshot> {
            self.0.clone()
        }
    }
    let mut large = super::fixture::topology();
    let (bolt, edge) = (large.components[1].clone(), large.edges[0].clone());
    for at in 2..200 {
        let mut component = bolt.clone();
        component.name = format!("bolt-{at}").into();
        let mut edge = edge.clone();
        (edge.from, edge.to) = (large.components[at / 2].name.clone(), component.name.clone());
        large.components.push(component);
        large.edges.push(edge);
    }
    let server = StatusServer::bind("127.0.0.1:0".parse().unwrap(), Arc::new(Large(vec![large]))).unwrap();
    let graph = get_json(server.local_addr(), "/api/v1/topology/words-1/graph");
    assert_eq!(
        (graph["nodes"].as_array().unwrap().len(), graph["edges"].as_array().unwrap().len()),
        (200, 199)
    );
    let layout = get_json(server.local_addr(), "/api/v1/topology/words-1/layout");
    assert_eq!(layout["narrow"]["edges"].as_array().unwrap().len(), 199);
}

//! Applications that are run as a process would: to their end, on a data directory of their own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo::launcher::{
    Application, Environment, EventTimeConfig, RunError, RunOptions, Summary, record_time, run, timed,
};
use topo_core::log::{Consumed, FetchLimit, Log, Record, TopicPartition};
use topo_core::schedule::TokioScheduler;
use topo_core::{
    Bolt, Emitter, Fail, Fault, Next, Operator, Spout, SpoutEmitter, Timed, Topology, Trees, Watermark,
};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: RunOptions,
}

fn options(data_dir: &Path, arguments: &[&str]) -> RunOptions {
    let fixed = ["run", "--status", "off", "--listen", "off", "--until-idle", "--data-dir"];
    let data_dir = [data_dir.to_str().expect("a path of text")];
    Line::parse_from([&fixed, &data_dir[..], arguments].concat()).options
}

/// Copies lines; fails at `poison` for ever, and refuses `garbage`.
struct Copy;

impl Bolt for Copy {
    type In = String;
    type Out = String;

    async fn execute(&mut self, line: String, out: &mut Emitter<String>) -> Result<(), Fail> {
        match line.as_str() {
            "poison" => Err(Fail::retry("it does not go down")),
            "garbage" => Err(Fail::reject("it is none")),
            _ => {
                out.emit(line);
                Ok(())
            }
        }
    }
}

fn text(record: &Consumed) -> Result<String, Fail> {
    Ok(String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned())
}

fn copy(environment: &Environment) -> Topology {
    let topology = Topology::new("copy");
    let lines = topology.spout("lines", environment.log_spout("lines", text));
    let copies = topology.bolt("copy", || Copy).shuffle(&lines);
    let record = |line: &String| Record { value: Some(line.clone().into()), ..Record::default() };
    topology.rich_bolt("copies", environment.log_sink("copies", record)).shuffle(&copies);
    topology
}

fn application() -> Application {
    Application::new("copy", copy).reads("lines").writes("copies")
}

async fn run_on(data_dir: &Path, input: &str, arguments: &[&str]) -> Result<Summary, RunError> {
    let file = data_dir.with_extension("input");
    std::fs::write(&file, input).expect("room for a test");
    let file = file.to_str().expect("a path of text");
    run(application(), options(data_dir, &[&["--input", file], arguments].concat())).await
}

async fn records(data_dir: &Path, topic: &str) -> Vec<Consumed> {
    let clock = Arc::new(TokioScheduler::current());
    let log = EmbeddedLog::open(data_dir, EmbeddedConfig::default(), clock).expect("it was closed");
    let fetched = log.fetch(&TopicPartition::new(topic, 0), 0, FetchLimit::default()).await;
    log.close().await.expect("it closes");
    fetched.expect("the topic is there").records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_runs_out_of_attempts_is_told_and_kept() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let summary = run_on(&data_dir, "a\npoison\ngarbage\nb\n", &[]).await.expect("it runs");
    assert!(summary.idle && !summary.is_good());
    assert_eq!((summary.emitted, summary.acked, summary.failed), (8, 2, 6));
    assert_eq!((summary.rejected, summary.exhausted), (1, 1));
    let copies = records(&data_dir, "copies").await;
    assert_eq!(copies.iter().map(|one| text(one).expect("text")).collect::<Vec<_>>(), ["a", "b"]);
    let dead = records(&data_dir, "lines.dead-letter").await;
    let dead: BTreeMap<String, String> = dead
        .iter()
        .map(|one| {
            let kind = one.headers.iter().find(|header| &*header.key == "topo.kind").expect("a kind");
            let kind = String::from_utf8_lossy(kind.value.as_deref().unwrap_or_default()).into_owned();
            (text(one).expect("text"), kind)
        })
        .collect();
    let expected = [("garbage", "rejected"), ("poison", "exhausted")];
    assert!(dead.iter().map(|(value, kind)| (value.as_str(), kind.as_str())).eq(expected), "{dead:?}");

    // They are done with: another run has nothing to do, and is good.
    let summary = run_on(&data_dir, "", &[]).await.expect("it runs");
    assert!(summary.idle && summary.is_good());
    assert_eq!(summary.emitted, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_refused_does_not_make_a_run_bad() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let summary = run_on(&data_dir, "garbage\na\n", &["--tasks", "copy=3"]).await.expect("it runs");
    assert!(summary.idle && summary.is_good());
    assert_eq!((summary.acked, summary.rejected), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_go_where_the_application_says() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let input = dir.path().join("input");
    std::fs::write(&input, "a\ngarbage\nb\n").expect("room for a test");
    let arguments = ["--input", input.to_str().expect("a path of text")];
    let refused =
        run(application().dead_letters_of("copi", "given-up"), options(&data_dir, &arguments)).await;
    let refused = refused.expect_err("there is no such component").to_string();
    assert_eq!(refused, "there is no component `copi`; this topology has lines, copy, copies");
    assert!(!data_dir.exists(), "nothing was created");

    let decode = |record: &Consumed| match text(record)?.as_str() {
        "b" => Err(Fail::reject("no b")),
        other => Ok(other.to_owned()),
    };
    let build = move |environment: &Environment| {
        let topology = Topology::new("copy");
        let lines = topology.spout("lines", environment.log_spout("lines", decode));
        topology.bolt("copy", || Copy).shuffle(&lines);
        topology
    };
    let application = Application::new("copy", build).reads("lines");
    let application = application.dead_letters("dead").dead_letters_of("copy", "uncopied");
    let summary = run(application, options(&data_dir, &arguments)).await.expect("it runs");
    assert_eq!((summary.acked, summary.rejected), (1, 2));
    for (topic, value) in [("dead", "b"), ("uncopied", "garbage")] {
        let dead = records(&data_dir, topic).await;
        assert_eq!(dead.iter().map(|one| text(one).expect("text")).collect::<Vec<_>>(), [value]);
    }
}

/// Counts to a thousand, in no topic.
struct Thousand(u64);

impl Spout for Thousand {
    type Out = String;
    type Id = u64;

    fn next(&mut self, out: &mut SpoutEmitter<String, u64>) -> Result<Next, Fault> {
        if self.0 == 1_000 {
            return Ok(Next::Idle);
        }
        self.0 += 1;
        out.emit_with(self.0, self.0.to_string())?;
        Ok(Next::Emitted)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_input_topic_idle_means_that_the_spouts_are() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let application = Application::new("thousand", |environment| {
        let topology = Topology::new("thousand");
        let numbers = topology.spout("numbers", || Thousand(0));
        let record = |line: &String| Record { value: Some(line.clone().into()), ..Record::default() };
        topology.rich_bolt("numbers-out", environment.log_sink("numbers", record)).shuffle(&numbers);
        topology
    });
    let summary = run(application.writes("numbers"), options(dir.path(), &[])).await.expect("it runs");
    assert!(summary.idle);
    assert_eq!((summary.acked, records(dir.path(), "numbers").await.len()), (1_000, 1_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_topic_that_nobody_reads_is_told_instead_of_waited_for() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let application = Application::new("deaf", |_| {
        let topology = Topology::new("deaf");
        let numbers = topology.spout("numbers", || Thousand(0));
        topology.bolt("copy", || Copy).shuffle(&numbers);
        topology
    });
    let ran = run(application.reads("lines"), options(dir.path(), &[])).await;
    let refused = ran.expect_err("it would wait for ever").to_string();
    assert!(refused.starts_with("no log spout reads `lines`"), "{refused}");
}

/// Where the whole workspace is built, the command has switched the client on.
#[cfg(not(feature = "kafka"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_refused_without_the_client() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let refused =
        run_on(&data_dir, "a\n", &["--broker", "kafka://there:1"]).await.expect_err("there is no client");
    assert_eq!(
        refused.to_string(),
        "this program is built without the Kafka client, so it cannot reach the broker at there:1; switch on feature \
         `kafka` of crate `topo`, as in `topo = { …, features = [\"kafka\"] }`"
    );
    assert!(!data_dir.exists(), "nothing was created");
}

/// Counts lines, and emits how many there were at the end of time.
#[derive(Default)]
struct Tally(u64);

impl Operator for Tally {
    type In = Timed<String>;
    type Out = String;
    type Tree = u64;

    async fn execute(
        &mut self,
        _line: Timed<String>,
        _out: &mut Emitter<String>,
        _trees: &mut Trees<u64>,
    ) -> Result<(), Fail> {
        self.0 += 1;
        Ok(())
    }

    async fn on_watermark(
        &mut self,
        at: Watermark,
        _out: &mut Emitter<String>,
        trees: &mut Trees<u64>,
    ) -> Result<(), Fault> {
        if at == Watermark::MAX {
            trees.open(0, self.0);
        }
        Ok(())
    }

    fn emit(tally: &u64, out: &mut Emitter<String>) {
        out.emit(if *tally == 3 { "poison".to_owned() } else { tally.to_string() });
    }
}

fn tally(environment: &Environment) -> Topology {
    let topology = Topology::new("tally");
    let spout = environment.log_spout("lines", timed(text, record_time));
    let config = EventTimeConfig::new(std::time::Duration::ZERO);
    let lines = topology.spout("lines", move || spout().event_time(config));
    let tally = topology.operator("tally", Tally::default).global(&lines);
    let copies = topology.bolt("copy", || Copy).shuffle(&tally);
    let record = |line: &String| Record { value: Some(line.clone().into()), ..Record::default() };
    topology.rich_bolt("copies", environment.log_sink("copies", record)).shuffle(&copies);
    topology
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_until_idle_sees_the_end_of_time_and_what_it_brings_is_durable() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data_dir = dir.path().join("data");
    let run_on = async |input: &str| {
        let file = dir.path().join("input");
        std::fs::write(&file, input).expect("room for a test");
        let options = options(&data_dir, &["--input", file.to_str().expect("a path of text")]);
        let application = Application::new("tally", tally).reads("lines").writes("copies");
        run(application, options).await.expect("it runs")
    };
    let summary = run_on("a\nb\n").await;
    assert!(summary.idle && summary.is_good());
    let copies = records(&data_dir, "copies").await;
    assert_eq!(copies.iter().map(|one| text(one).expect("text")).collect::<Vec<_>>(), ["2"]);
    // Three more, and a result that runs out of attempts.
    let summary = run_on("a\nb\nc\nd\ne\n").await;
    assert!(summary.idle && !summary.is_good());
    assert_eq!((summary.exhausted, summary.given_up), (0, 1));
    assert!(summary.to_string().contains(", results given up 1\n"), "{summary}");
}

/// Lines with the names that topic `names` has for them.
fn named() -> Application {
    use topo::prelude::{Lookup, To};

    Application::streams("named", |log| {
        let names = log.table::<String, String>("names");
        let lines = log.lines("lines").lookup(&names, Clone::clone);
        lines.map(|(line, name)| name.unwrap_or(line)).to("named");
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_has_a_compacted_topic_of_its_own_and_its_rows_are_found() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let (data_dir, file) = (dir.path().join("data"), dir.path().join("input"));
    std::fs::write(&file, "a\nb\n").expect("room for a test");
    let file = file.to_str().expect("a path of text");
    let summary = run(named(), options(&data_dir, &["--input", file])).await.expect("it runs");
    assert!(summary.is_good(), "{summary:?}");

    let log = EmbeddedLog::open(&data_dir, EmbeddedConfig::default(), Arc::new(TokioScheduler::current()));
    let log = log.expect("it was closed");
    let names = log.topic("names").await.expect("the log answers").expect("it was created");
    assert_eq!(names.config.get("cleanup.policy").map(String::as_str), Some("compact"));
    let row = Record { key: Some("b".into()), value: Some("Beatrice".into()), ..Record::default() };
    log.append(&TopicPartition::new("names", 0), vec![row]).await.expect("it takes it");
    log.close().await.expect("it closes");

    let summary = run(named(), options(&data_dir, &["--input", file])).await.expect("it runs");
    assert!(summary.is_good(), "{summary:?}");
    let named = records(&data_dir, "named").await;
    let named: Vec<String> = named.iter().map(|one| text(one).expect("text")).collect();
    assert_eq!(named, ["a", "b", "a", "Beatrice"]);
}

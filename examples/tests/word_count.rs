//! The lecture's programs as their user runs them: processes between topics, and between a socket and the terminal, each
//! against the plain count.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo_core::log::{Consumed, FetchLimit, Log, TopicPartition};
use topo_core::schedule::TokioScheduler;

/// How long a test waits for what comes within moments.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the programs look for a server, as `nc -lk 9999` is one.
const SERVER: &str = "127.0.0.1:9999";

const TEXT: [&str; 4] =
    ["to be or not to be", "that is the question", "", "whether 'tis nobler in the mind to be"];

/// How often each word occurs.
type Counts = BTreeMap<String, u64>;
/// The last count of each word and window: by word and the window's start.
type WindowCounts = BTreeMap<(String, i64), u64>;

#[derive(Debug, Deserialize)]
struct Fired {
    key: String,
    window: Window,
    value: u64,
    revision: u32,
}

#[derive(Debug, Deserialize)]
struct Window {
    start: i64,
    end: i64,
}

fn counts<'a>(lines: impl IntoIterator<Item = &'a str>) -> Counts {
    let mut counts = Counts::new();
    for word in lines.into_iter().flat_map(str::split_whitespace) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

/// Counts the words of five seconds, every second.
fn window_counts(lines: &[Consumed]) -> WindowCounts {
    let mut counts = WindowCounts::new();
    for line in lines {
        let second = line.timestamp_ms.div_euclid(1_000);
        for word in text(line.value.as_deref()).split_whitespace() {
            for start in second - 4..=second {
                *counts.entry((word.to_owned(), 1_000 * start)).or_default() += 1;
            }
        }
    }
    counts
}

/// The last of what was given for each word and window.
fn last(fired: impl IntoIterator<Item = Fired>) -> WindowCounts {
    let mut last = BTreeMap::new();
    for Fired { key, window, value, revision } in fired {
        assert_eq!(window.end, window.start + 5_000);
        let newest = last.entry((key, window.start)).or_insert((revision, value));
        *newest = (*newest).max((revision, value));
    }
    last.into_iter().map(|(window, (_, value))| (window, value)).collect()
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.unwrap_or_default()).unwrap()
}

/// Runs a program on the data directory `dir` until its input is done, and gives the lines of its output that are values.
fn run(program: &str, dir: &Path, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(program);
    command.args(["--until-idle", "--status", "off", "--listen", "off"]).args(arguments);
    let Output { status, stdout, stderr } = command.arg("--data-dir").arg(dir).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let stdout = String::from_utf8(stdout).unwrap();
    stdout.lines().filter(|line| line.starts_with(['[', '{'])).map(str::to_owned).collect()
}

/// All that a topic of the data directory holds.
fn read(dir: &Path, topic: &str) -> Vec<Consumed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(dir, EmbeddedConfig::default(), clock).unwrap();
        let mut records = Vec::new();
        for partition in 0..log.topic(topic).await.unwrap().expect("the topic is there").partitions {
            let at = TopicPartition::new(topic, partition);
            let (mut next, end) = (0, log.offsets(&at).await.unwrap().high_watermark);
            while next < end {
                let fetched = log.fetch(&at, next, FetchLimit::default()).await.unwrap();
                next = fetched.next_offset;
                records.extend(fetched.records);
            }
        }
        log.close().await.unwrap();
        records
    })
}

/// Serves lines to whoever connects first, a part of them every so often, and closes.
fn serve(parts: usize, pause: Duration) -> thread::JoinHandle<()> {
    let begun = Instant::now();
    let listener = loop {
        match TcpListener::bind(SERVER) {
            Ok(listener) => break listener,
            // Another test serves there, and will be done.
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(error) => panic!("nobody can serve at {SERVER}: {error}"),
        }
    };
    thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        for part in 0..parts {
            if part > 0 {
                // Event time is to go on: windows are seen to come one after the other.
                thread::sleep(pause);
            }
            connection.write_all((TEXT.join("\n") + "\n").as_bytes()).unwrap();
        }
    })
}

#[test]
fn words_roll_from_topic_to_topic_and_the_next_run_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let (data, input) = (dir.path().join("data"), dir.path().join("input.txt"));
    std::fs::write(&input, TEXT.join("\n")).unwrap();
    for times in 1..=2 {
        run(env!("CARGO_BIN_EXE_rolling_word_count"), &data, &["--input", input.to_str().unwrap()]);
        let records = read(&data, "counts");
        let count = |record: &Consumed| {
            (text(record.key.as_deref()).to_owned(), text(record.value.as_deref()).parse().unwrap())
        };
        let last: Counts = records.iter().map(count).collect();
        let plain = counts(TEXT.repeat(times));
        assert_eq!(last, plain);
        assert_eq!(records.len() as u64, plain.values().sum::<u64>(), "each word gives a count");
    }
}

/// What the windowed word count wrote to topic `counts`.
fn windowed(dir: &Path) -> WindowCounts {
    last(read(dir, "counts").into_iter().map(|record| {
        let fired: Fired = rmp_serde::from_slice(record.value.as_deref().unwrap()).unwrap();
        assert_eq!(text(record.key.as_deref()), fired.key);
        assert_eq!(record.timestamp_ms, fired.window.end - 1);
        fired
    }))
}

#[test]
fn words_are_counted_in_windows_from_topic_to_topic_and_the_next_run_goes_on_with_those_left_open() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut records = 0;
    for (run_number, lines) in [&TEXT[..2], &[], &TEXT[2..]].into_iter().enumerate() {
        let input = dir.path().join(format!("{run_number}.txt"));
        std::fs::write(&input, lines.join("\n")).unwrap();
        run(env!("CARGO_BIN_EXE_windowed_word_count"), &data, &["--input", input.to_str().unwrap()]);
        assert_eq!(windowed(&data), window_counts(&read(&data, "lines")), "run {run_number}");
        assert_eq!(read(&data, "lines").len(), [2, 2, 4][run_number]);
        let now = read(&data, "counts").len();
        // Nothing new, nothing to tell, though windows are open.
        assert_eq!(now == records, lines.is_empty(), "run {run_number}");
        records = now;
    }
}

#[test]
fn words_roll_from_a_socket_to_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(2, Duration::ZERO);
    let printed = run(env!("CARGO_BIN_EXE_rolling_word_count_socket"), dir.path(), &[]);
    server.join().unwrap();
    let last: Counts =
        printed.iter().map(|line| serde_json::from_str::<(String, u64)>(line).unwrap()).collect();
    assert_eq!(last, counts(TEXT.repeat(2)));
    assert_eq!(printed.len() as u64, last.values().sum::<u64>());
}

#[test]
fn words_are_counted_in_windows_from_a_socket_to_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(4, Duration::from_millis(700));
    let printed = run(env!("CARGO_BIN_EXE_windowed_word_count_socket"), dir.path(), &[]);
    server.join().unwrap();
    let lines = read(dir.path(), "lines");
    assert_eq!(lines.len(), 4 * TEXT.len());
    assert_eq!(last(printed.iter().map(|line| serde_json::from_str(line).unwrap())), window_counts(&lines));
}

#[test]
fn each_program_is_of_seven_lines_or_less() {
    let programs = ["rolling_word_count", "windowed_word_count"];
    for program in programs.into_iter().flat_map(|name| [name.to_owned(), format!("{name}_socket")]) {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin").join(&program).with_extension("rs");
        let source = std::fs::read_to_string(file).unwrap();
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
        assert!(source.lines().filter(is_code).count() <= 7, "{program}: {source}");
    }
}

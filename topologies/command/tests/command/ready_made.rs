//! The ready-made streams, each against a plain computation of what its topic holds.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo::ready_made::access_log::Request;
use topo::ready_made::sessions::Session;
use topo::ready_made::trending::Trending;
use topo_core::log::{Consumed, FetchLimit, Log, Record, TopicPartition, TopicSpec};
use topo_core::schedule::TokioScheduler;

use crate::topo::{Run, command, refused, said, topo};
use crate::words::{assert_same, count, last_counts, seed, text};

/// When the tests' lines begin, in milliseconds since 1970.
pub(crate) const BEGIN_MS: i64 = 1_760_000_000_000;

/// Does something with the log in a data directory that nobody else has open.
fn on_log<T>(data_dir: &Path, work: impl AsyncFnOnce(&EmbeddedLog) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let clock = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(data_dir, EmbeddedConfig::default(), clock).expect("nobody has it open");
        let done = work(&log).await;
        log.close().await.expect("it closes");
        done
    })
}

/// All that a topic holds; nothing where it is not there.
pub(crate) fn read(data_dir: &Path, topic: &str) -> Vec<Consumed> {
    on_log(data_dir, async |log| {
        let mut records = Vec::new();
        for partition in 0..log.topic(topic).await.expect("it is asked").map_or(0, |info| info.partitions) {
            let at = TopicPartition::new(topic, partition);
            let (mut next, end) = (0, log.offsets(&at).await.expect("it is there").high_watermark);
            while next < end {
                let fetched = log.fetch(&at, next, FetchLimit::default()).await.expect("it is read");
                next = fetched.next_offset;
                records.extend(fetched.records);
            }
        }
        records
    })
}

/// Puts lines with their times into a new topic `lines`, and gives them back.
pub(crate) fn lines_in_time(data_dir: &Path, lines: Vec<(i64, String)>) -> Vec<(i64, String)> {
    on_log(data_dir, async |log| {
        log.create_topic("lines", &TopicSpec::default()).await.expect("it is new");
        let record = |(at, line): &(i64, String)| Record {
            value: Some(line.clone().into()),
            timestamp_ms: Some(*at),
            ..Record::default()
        };
        let records = lines.iter().map(record).collect();
        log.append(&TopicPartition::new("lines", 0), records).await.expect("it is written");
    });
    lines
}

/// Lines of a text, some tenths of a second apart.
fn lines(random: &mut Xoshiro256PlusPlus, words: usize) -> Vec<(i64, String)> {
    let (text, mut at) = (text(random.random(), words), BEGIN_MS);
    let mut line = |line: &str| {
        at += random.random_range(0..900);
        (at, line.to_owned())
    };
    text.lines().map(&mut line).collect()
}

/// Words of the lines in windows of `size` seconds, one beginning every `every`: by the window's start.
fn windows(lines: &[(i64, String)], size: i64, every: i64) -> BTreeMap<i64, BTreeMap<String, u64>> {
    let mut windows = BTreeMap::<i64, BTreeMap<String, u64>>::new();
    for (at, line) in lines {
        let last = at.div_euclid(1_000 * every) * every;
        for start in (0..size / every).map(|n| 1_000 * (last - n * every)) {
            for word in line.split_whitespace() {
                *windows.entry(start).or_default().entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    // A line without words is in no window.
    windows
}

/// Runs a topology until its input is done.
fn run(data_dir: &Path, topology: &str, arguments: &[&str]) -> String {
    let output = topo(data_dir, &[&["run", topology, "--status", "off", "--until-idle"], arguments].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout).expect("summaries are text")
}

#[test]
fn rolling_counts_are_the_plain_ones_and_can_be_asked_for_while_it_runs() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let (data, input) = (dir.path().join("data"), dir.path().join("input.txt"));
    let text = text(seed(), 20_000);
    fs::write(&input, &text).expect("room for a test");
    let input = input.to_str().expect("a path of text");
    run(&data, "rolling-word-count", &["--input", input]);
    let counts = count(&text);
    assert_same(&last_counts(&data).0, &counts);

    // Another process counts on from there, and tells what it counts.
    let arguments = ["run", "rolling-word-count", "--status", "127.0.0.1:0", "--input", input];
    let run = Run::start_with(&mut command(&data, &arguments));
    run.wait_for_acked(text.lines().count() as u64);
    let page = run.page().to_string();
    let query = |arguments: &[&str]| {
        let query = [&["query", "rolling-word-count"], arguments, &["--status", &page]].concat();
        said(dir.path(), &query)
    };
    for word in ["word100", "don't", "東京", "0"] {
        assert_eq!(query(&["count", "--key", word]), format!("{}\n", 2 * counts[word]), "{word}");
    }
    let states = query(&[]);
    assert!(states.contains(&format!("count/count: {} values, ", counts.len())), "{states}");
    let value = run.json("/api/state/count/count?key=word100");
    assert_eq!(value["value"], 2 * counts["word100"]);
    let missing = ["query", "rolling-word-count", "count", "--key", "no such word", "--status", &page];
    assert_eq!(refused(dir.path(), &missing), "error: state `count` has no value for key no such word");
    run.terminate();
    assert_eq!(run.end().code, Some(0));
}

#[test]
fn windowed_counts_are_the_plain_ones_and_read_as_json() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let lines = lines_in_time(dir.path(), lines(&mut random, 500));
    run(dir.path(), "windowed-word-count", &[]);
    let printed =
        said(dir.path(), &["consume", "windowed-counts", "--from-beginning", "-e", "-f", r"%k\t%T\t%v\n"]);
    let mut given = BTreeMap::<i64, BTreeMap<String, u64>>::new();
    for line in printed.split_terminator('\n') {
        let [word, at, value] = *line.split('\t').collect::<Vec<_>>() else { panic!("{line}") };
        let value: Value = serde_json::from_str(value).expect("JSON");
        let of = |field: &str| value["window"][field].as_i64().expect("a time");
        assert_eq!((of("end") - of("start"), at.parse()), (5_000, Ok(of("end") - 1)));
        assert_eq!(value["key"], word);
        assert!(value["kind"] == "OnTime" || value["kind"] == "Early", "{value}");
        let counted = value["value"].as_u64().expect("a count");
        assert_eq!(given.entry(of("start")).or_default().insert(word.to_owned(), counted), None, "{line}");
    }
    assert_eq!(given, windows(&lines, 5, 1));
}

#[test]
fn what_trends_is_what_is_most_frequent() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let lines = lines_in_time(dir.path(), lines(&mut random, 3_000));
    // Twice: what is open at the end of the first run stays open for what comes later.
    for times in 1..=2 {
        run(dir.path(), "trending", &[]);
        let mut told = BTreeMap::new();
        for record in read(dir.path(), "trending") {
            let trending: Trending =
                rmp_serde::from_slice(record.value.as_deref().expect("a value")).expect("it");
            assert_eq!(record.timestamp_ms, trending.window.end - 1);
            told.insert(trending.window.start, trending.top);
        }
        let ranked = |counts: BTreeMap<String, u64>| {
            let mut ranked: Vec<_> = counts.into_iter().map(|(word, count)| (Reverse(count), word)).collect();
            ranked.sort();
            ranked.truncate(10);
            ranked
        };
        let expected: BTreeMap<_, _> =
            windows(&lines, 60, 10).into_iter().map(|(start, counts)| (start, ranked(counts))).collect();
        let told: BTreeMap<_, Vec<_>> = told
            .into_iter()
            .map(|(start, top)| {
                (start, top.iter().map(|one| (Reverse(one.count), one.word.to_string())).collect())
            })
            .collect();
        assert_eq!(told, expected, "run {times}");
    }
}

/// A line of a web server's log.
pub(crate) fn hit(client: usize, at_ms: i64, bytes: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(at_ms).expect("a time").strftime("%d/%b/%Y:%H:%M:%S +0000");
    format!(r#"10.0.0.{client} - - [{time}] "GET / HTTP/1.1" 200 {bytes}"#)
}

/// Visits by client and begin: hits and bytes.
type Visits = BTreeMap<(String, i64, i64), (u64, u64)>;

fn visits(requests: &[Request]) -> Visits {
    let mut requests: Vec<_> = requests.iter().collect();
    requests.sort_by_key(|request| (&request.client, request.time_ms));
    let mut visits = Visits::new();
    let mut open: Option<(&str, i64, i64, u64, u64)> = None;
    let gap = 30 * 60 * 1_000;
    for request in requests {
        let bytes = request.bytes.unwrap_or(0);
        open = match open {
            Some((client, begin, last, hits, sum))
                if client == request.client && request.time_ms < last + gap =>
            {
                Some((client, begin, request.time_ms, hits + 1, sum + bytes))
            }
            over => {
                visits.extend(over.map(|(client, begin, last, hits, sum)| {
                    ((client.to_owned(), begin, last + gap), (hits, sum))
                }));
                Some((&request.client, request.time_ms, request.time_ms, 1, bytes))
            }
        };
    }
    visits.extend(
        open.map(|(client, begin, last, hits, sum)| ((client.to_owned(), begin, last + gap), (hits, sum))),
    );
    visits
}

#[test]
fn requests_are_joined_to_visits_late_ones_told_apart_and_bad_lines_given_up() {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let data = dir.path().join("data");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let (mut at, mut all, mut bad) = (BEGIN_MS, Vec::new(), 0);
    for part in 0..3 {
        let mut lines = Vec::new();
        if part > 0 {
            // Whatever it might have joined was over long before the last run ended.
            lines.extend((0..5).map(|client| hit(client, BEGIN_MS - 24 * 3_600_000, 7)));
        }
        for _ in 0..400 {
            at += random.random_range(0..120_000);
            if random.random_range(0..20) == 0 {
                (bad, lines) = (bad + 1, [lines, vec![format!("no request {at}")]].concat());
                continue;
            }
            let disorder = random.random_range(0..9_000);
            let line = hit(random.random_range(0..40), at - disorder, random.random_range(0..5_000));
            all.push(Request::parse(&line).expect("a request"));
            lines.push(line);
        }
        let input = dir.path().join(format!("access.log.{part}"));
        fs::write(&input, lines.join("\n")).expect("room for a test");
        let told = run(&data, "sessions", &["--input", input.to_str().expect("a path of text")]);
        assert!(told.contains("exhausted 0"), "{told}");

        let mut given = Visits::new();
        for record in read(&data, "sessions") {
            let session: Session =
                rmp_serde::from_slice(record.value.as_deref().expect("a value")).expect("a visit");
            assert_eq!(record.key.as_deref(), Some(session.client.as_bytes()));
            assert_eq!(session.bounce, session.hits == 1);
            for before in &session.replaces {
                given.remove(&(session.client.clone(), before.start, before.end));
            }
            given.insert(
                (session.client, session.window.start, session.window.end),
                (session.hits, session.bytes),
            );
        }
        let expected = visits(&all);
        let differ: Vec<_> =
            expected.iter().filter(|(visit, sums)| given.get(*visit) != Some(*sums)).take(5).collect();
        assert!(
            differ.is_empty() && given.len() == expected.len(),
            "part {part}: {differ:?} of {}",
            given.len()
        );
        assert_eq!(read(&data, "access.dead-letter").len(), bad);
        let late = read(&data, "sessions.late");
        assert_eq!(late.len(), 5 * part);
        for record in late {
            let request: Request =
                rmp_serde::from_slice(record.value.as_deref().expect("a value")).expect("a request");
            assert_eq!(request.time_ms, BEGIN_MS - 24 * 3_600_000);
        }
    }
}

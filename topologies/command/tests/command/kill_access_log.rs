//! Kills in the middle of `access-log`, each between the first and the last ack of that start: of the command itself, and
//! of a program whose lines fail at first, so that replay is at work when it is killed.
//!
//! What is demanded: after every kill, each offset below the committed one has its output; in the end, topic `access` is
//! the input, once and in order, and every line is in `requests` or in the dead letters.
//!
//! A kill counts where it is seen to be one: the page said that a line was acknowledged since the start, and in what the
//! kill left some line has no output, which every line has before it is acknowledged. `TOPO_KILLS` sets how many there
//! are, 50 unless it is given; at a broker there are fewer.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use topo::ready_made::access_log::Request;
use topo_core::log::{Consumed, FetchLimit, Log, TopicPartition};

use crate::first_attempt;
use crate::place::Place;
use crate::topo::{PATIENCE, Run, built_example, command, on};
use crate::words::seed;

/// Lines of an input: so many that hardly a start comes to their end before it is killed.
const LINES: usize = 20_000;
/// Lines that a start acknowledges before it is killed, at the most.
const ACKED: u64 = LINES as u64 / 8;

fn kills() -> usize {
    let given = env::var("TOPO_KILLS").ok();
    given.map_or(50, |kills| kills.parse().expect("TOPO_KILLS is a number"))
}

/// Fewer of them: a member that was killed keeps its partitions until its session is over, which takes ten seconds.
fn kills_at_a_broker() -> usize {
    (kills() / 16).max(1)
}

/// Lines of a web server's log, each of another item; one in a hundred cannot be parsed.
fn lines(random: &mut Xoshiro256PlusPlus) -> Vec<String> {
    let line = |number| {
        if random.random_range(0..100) == 0 {
            return format!("line {number} is no request");
        }
        let client = format!("10.0.{}.{}", random.random_range(0..250), random.random_range(0..250));
        let time = format!("10/Oct/2025:13:{:02}:{:02} +0000", number / 60 % 60, number % 60);
        let bytes = random.random_range(0..9_999);
        format!(r#"{client} - - [{time}] "GET /item/{number} HTTP/1.1" 200 {bytes}"#)
    };
    (0..LINES).map(line).collect()
}

/// The number of the line that a request, or a dead letter, came from.
fn number(topic: &str, record: &Consumed) -> usize {
    let value = record.value.as_deref().expect("every output has a value");
    let number = if topic == "requests" {
        let request: Request = rmp_serde::from_slice(value).expect("a request");
        request.path.strip_prefix("/item/").expect("an item").parse()
    } else {
        let text = std::str::from_utf8(value).expect("the input is text");
        text.split(' ').nth(1).expect("a number").parse()
    };
    number.expect("a number")
}

/// One input, the log that it is worked on in, and what was found there so far.
struct Pass {
    place: Place,
    input: PathBuf,
    lines: Vec<String>,
    /// How much of `access` was found to be the input.
    gathered: usize,
    /// Whether a line has its output.
    done: Vec<bool>,
    /// Outputs of topic `requests` and of the dead letters that were looked at.
    looked_at: [i64; 2],
    committed: usize,
}

impl Pass {
    fn begin(place: Place, random: &mut Xoshiro256PlusPlus) -> Self {
        let lines = lines(random);
        let input = place.file("access.log", &lines.join("\n"));
        Self { place, input, lines, gathered: 0, done: vec![false; LINES], looked_at: [0; 2], committed: 0 }
    }

    /// Starts `program` on the input.
    fn start(&self, program: &Program, arguments: &[&str]) -> Run {
        let mut command = program.command(&self.place.log());
        command.args(["--status", "127.0.0.1:0", "--input"]).arg(&self.input).args(arguments);
        Run::start_with(&mut command)
    }

    /// How many lines of the input are acknowledged at most before this start is killed.
    fn target(&self, random: &mut Xoshiro256PlusPlus) -> u64 {
        let remain = (LINES - self.committed) as u64;
        random.random_range(1..=ACKED.min(remain / 2).max(1))
    }

    /// Looks at what a kill left.
    async fn look(&mut self) {
        let look = self.place.look().await;
        let log = &*look.log;
        for record in read(log, "access", self.gathered as i64).await {
            let value = record.value.as_deref().expect("lines are values");
            assert_eq!(record.offset as usize, self.gathered);
            assert_eq!(value, self.lines[self.gathered].as_bytes(), "access is the input, once and in order");
            self.gathered += 1;
        }
        for (topic, looked_at) in ["requests", "access.dead-letter"].into_iter().zip(&mut self.looked_at) {
            for record in read(log, topic, *looked_at).await {
                self.done[number(topic, &record)] = true;
                *looked_at = record.offset + 1;
            }
        }
        let at = TopicPartition::new("access", 0);
        let committed = log.committed("access-log", &at).await.expect("it is read").unwrap_or(0) as usize;
        look.end().await;
        assert!(committed >= self.committed, "{committed} after {}", self.committed);
        self.committed = committed;
        let missing = (0..committed).find(|&line| !self.done[line]);
        assert_eq!(missing, None, "it lies below {committed}, which was committed, and has no output");
    }

    fn is_done(&self) -> bool {
        self.done.iter().all(|done| *done)
    }

    /// Whether a line that fails at first had no output when a later one had.
    fn had_fails_in_flight(&self) -> bool {
        let newest = self.done.iter().rposition(|done| *done).unwrap_or(0);
        (0..newest).any(|line| !self.done[line] && first_attempt::fails(&self.lines[line]))
    }

    /// Lets `program` come to the end, and looks at all of it.
    async fn finish(mut self, program: &Program) {
        let ended = self.start(program, &["--until-idle"]).end();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        self.look().await;
        assert_eq!((self.gathered, self.committed), (LINES, LINES));
        let missing: Vec<&String> =
            self.lines.iter().zip(&self.done).filter(|(_, done)| !**done).map(|(line, _)| line).collect();
        assert!(missing.is_empty(), "{} lines have no output, such as {}", missing.len(), missing[0]);
        self.place.end();
    }
}

async fn read(log: &dyn Log, topic: &str, from: i64) -> Vec<Consumed> {
    let at = TopicPartition::new(topic, 0);
    let mut records = Vec::new();
    // A topic that was not written yet is not there.
    let Ok(held) = log.offsets(&at).await else { return records };
    let mut next = from;
    while next < held.high_watermark {
        let fetched = log.fetch(&at, next, FetchLimit::default()).await.expect("it is read");
        assert!(fetched.next_offset > next, "{topic} ends at {next}");
        next = fetched.next_offset;
        records.extend(fetched.records);
    }
    records
}

/// What is killed.
enum Program {
    /// `topo run access-log`.
    Command,
    /// The program whose lines fail at first.
    Failing(PathBuf),
}

impl Program {
    /// Builds the failing one, as cargo built the command for this test.
    fn failing() -> Self {
        Self::Failing(built_example("failing-access-log"))
    }

    fn command(&self, log: &Path) -> Command {
        match self {
            Self::Command => command(log, &["run", "access-log"]),
            Self::Failing(program) => on(log, Command::new(program)),
        }
    }
}

/// Waits until `lines` are acknowledged, and where lines fail, until one has; gives what was acknowledged.
pub(crate) fn wait_for_acks(run: &Run, lines: u64, fails: bool) -> u64 {
    let begun = Instant::now();
    loop {
        let topology = run.topology();
        let stats = &topology["topologyStats"][0];
        let of = |name: &str| stats[name].as_u64().expect("a number");
        if of("acked") >= lines && (!fails || of("failed") > 0) {
            return of("acked");
        }
        assert!(begun.elapsed() < PATIENCE, "{lines} lines are not acknowledged: {stats}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills `program` until so many kills counted; the broker that has the log, where there is one, every other time with it.
fn kill_again_and_again(program: &Program, place: fn() -> Place, kills: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let fails = matches!(program, Program::Failing(_));
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed());
    let (begun, mut counted, mut all, mut passes, mut acked) = (Instant::now(), 0, 0, 0, 0);
    while counted < kills {
        let mut pass = Pass::begin(place(), &mut random);
        while counted < kills && !pass.is_done() {
            let target = pass.target(&mut random);
            let run = pass.start(program, &[]);
            acked += wait_for_acks(&run, target, fails);
            run.kill();
            if all % 2 == 0 {
                pass.place.replace_broker();
            }
            runtime.block_on(pass.look());
            all += 1;
            counted += usize::from(!pass.is_done() && (!fails || pass.had_fails_in_flight()));
            assert!(all < 10 * kills + 10, "of {all} kills only {counted} were in the middle");
        }
        runtime.block_on(pass.finish(program));
        passes += 1;
    }
    eprintln!(
        "{counted} kills between the first and the last ack{} ({all} in all), {passes} inputs of {LINES} lines, {acked} \
         lines acknowledged before kills, {:.0?}: nothing lost, nothing gathered twice",
        if fails { ", with fails in flight" } else { "" },
        begun.elapsed()
    );
}

#[test]
fn the_command_killed_between_acks_loses_no_line_and_gathers_none_twice() {
    kill_again_and_again(&Program::Command, Place::embedded, kills() / 2);
}

#[test]
fn a_program_killed_while_replay_is_at_work_loses_no_line_and_gathers_none_twice() {
    kill_again_and_again(&Program::failing(), Place::embedded, kills().div_ceil(2));
}

#[test]
fn the_command_killed_beside_a_broker_loses_no_line_and_gathers_none_twice() {
    kill_again_and_again(&Program::Command, Place::served, kills_at_a_broker());
}

#[test]
fn a_program_killed_beside_a_broker_while_replay_is_at_work_loses_no_line_and_gathers_none_twice() {
    kill_again_and_again(&Program::failing(), Place::served, kills_at_a_broker());
}

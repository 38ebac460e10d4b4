//! The client programs under `tests/clients/`, and kcat: how each is called, and what each cannot say.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{scope, spawn};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::record::{Record, Without, text};

/// How long a test waits for what comes within seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A client of another language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Confluent,
    KafkaPython,
    Kafkajs,
    Kcat,
}

pub(crate) const ALL: [Client; 4] = [Client::Confluent, Client::KafkaPython, Client::Kafkajs, Client::Kcat];

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Client::Confluent => "confluent-kafka",
            Client::KafkaPython => "kafka-python",
            Client::Kafkajs => "kafkajs",
            Client::Kcat => "kcat",
        })
    }
}

fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// The Python that has what `tests/clients/install.sh` installed.
pub(crate) fn python() -> PathBuf {
    programs().join(".venv/bin/python")
}

/// Whether the outside clients are here. Where they are not, that is said loudly; in CI they must be.
pub(crate) fn are_installed() -> bool {
    let kcat = Command::new("kcat").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let installed = python().exists() && programs().join("node_modules/kafkajs").exists() && kcat;
    if !installed {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "run tests/clients/install.sh first");
        eprintln!("NOT RUN: the outside clients are missing; tests/clients/install.sh installs them");
    }
    installed
}

impl Client {
    /// The codecs that it writes and reads.
    pub(crate) fn codecs(self) -> &'static [&'static str] {
        match self {
            Client::Confluent | Client::KafkaPython => &["none", "gzip", "snappy", "lz4", "zstd"],
            Client::Kafkajs => &["none", "gzip"],
            // Debian builds it with all of them.
            Client::Kcat => &["none", "gzip", "snappy", "lz4", "zstd"],
        }
    }

    /// What it cannot write, or cannot show.
    pub(crate) fn without(self) -> Without {
        match self {
            Client::Confluent => Without::default(),
            // It insists on a key or a value, and on values of headers.
            Client::KafkaPython => Without { neither: true, null_headers: true, ..Without::default() },
            // Headers are a map of names.
            Client::Kafkajs => Without { null_headers: true, scattered_headers: true, ..Without::default() },
            // Its input is lines of text.
            Client::Kcat => {
                Without { binary: true, neither: true, null_headers: true, scattered_headers: true }
            }
        }
    }

    fn program(self) -> Command {
        match self {
            Client::Confluent | Client::KafkaPython => {
                let mut command = Command::new(python());
                command.arg(programs().join(if self == Client::Confluent {
                    "confluent.py"
                } else {
                    "kafka_python.py"
                }));
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command
            }
            Client::Kafkajs => {
                let mut command = Command::new("node");
                command.arg(programs().join("kafkajs.mjs")).env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
                command
            }
            Client::Kcat => Command::new("kcat"),
        }
    }

    /// Writes `records` and waits until all are acknowledged.
    pub(crate) fn produce(self, broker: SocketAddr, topic: &str, codec: &str, records: &[Record]) {
        if self == Client::Kcat {
            return kcat_produce(broker, topic, codec, records);
        }
        let mut command = self.program();
        command.args(["produce", "--broker", &broker.to_string(), "--topic", topic, "--codec", codec]);
        // Half of the codecs idempotently.
        if codec.len().is_multiple_of(2) {
            command.arg("--idempotent");
        }
        let lines: String =
            records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
        let output = fed(&mut command, lines.as_bytes());
        assert!(output.status.success(), "{self}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Reads the first `count` records of a topic, by partition and offset.
    pub(crate) fn consume(self, broker: SocketAddr, topic: &str, count: usize) -> Vec<Record> {
        self.consume_at("read_committed", broker, topic, count)
    }

    /// The same at an isolation level.
    pub(crate) fn consume_at(
        self,
        isolation: &str,
        broker: SocketAddr,
        topic: &str,
        count: usize,
    ) -> Vec<Record> {
        let count = count.to_string();
        let until = if self == Client::Kcat { ["-c", &count] } else { ["--count", &count] };
        self.consume_until(&until, isolation, broker, topic)
    }

    /// Reads what is committed up to the end that a topic has now; kafka-python and kcat can.
    pub(crate) fn consume_to_end(self, broker: SocketAddr, topic: &str) -> Vec<Record> {
        let until = if self == Client::Kcat { "-e" } else { "--to-end" };
        self.consume_until(&[until], "read_committed", broker, topic)
    }

    fn consume_until(self, until: &[&str], isolation: &str, broker: SocketAddr, topic: &str) -> Vec<Record> {
        if self == Client::Kcat {
            return kcat_consume(until, isolation, broker, topic);
        }
        let mut command = self.program();
        command.args(["consume", "--broker", &broker.to_string(), "--topic", topic]);
        command.args(["--isolation", isolation]).args(until);
        let output = fed(&mut command, b"");
        assert!(output.status.success(), "{self}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        sorted(lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
    }

    /// Joins a group and reads on.
    pub(crate) fn member(self, broker: SocketAddr, topic: &str, group: &str, further: &[&str]) -> Member {
        self.join("member", broker, topic, group, further)
    }

    /// Joins the group of its transactional id, and writes what it makes of the records to another topic.
    pub(crate) fn process(self, broker: SocketAddr, from: &str, to: &str, id: &str) -> Member {
        let assignor = if self == Client::Kafkajs { "roundrobin" } else { "range" };
        let further = ["--to", to, "--transactional-id", id, "--name", id, "--assignor", assignor];
        self.join("process", broker, from, id, &further)
    }

    fn join(self, verb: &str, broker: SocketAddr, topic: &str, group: &str, further: &[&str]) -> Member {
        let mut command = self.program();
        command
            .args([verb, "--broker", &broker.to_string(), "--topic", topic, "--group", group])
            .args(further);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = channel();
        spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap();
                let told = match event["event"].as_str() {
                    Some("record") => Event::Record(serde_json::from_value(event).unwrap()),
                    Some("assigned" | "revoked") => {
                        Event::Partitions(serde_json::from_value(event["partitions"].clone()).unwrap())
                    }
                    Some("transaction") => {
                        let records = event["records"].as_u64().unwrap() as usize;
                        Event::Transaction(event["committed"].as_bool().unwrap(), records)
                    }
                    Some("fenced") => Event::Fenced,
                    _ => panic!("no event: {line}"),
                };
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Member {
            child,
            events,
            partitions: Vec::new(),
            records: Vec::new(),
            committed: 0,
            aborted: 0,
            is_fenced: false,
        }
    }
}

/// Runs a program with `input` on its standard input.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    scope(|scope| {
        // One that fails before it has read all says why on its standard error.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| (record.partition, record.offset));
    records
}

/// kcat takes one partition, and one set of headers, at a time; timestamps it sets itself.
fn kcat_produce(broker: SocketAddr, topic: &str, codec: &str, records: &[Record]) {
    for record in records {
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", &broker.to_string(), "-t", topic, "-p", &record.partition.to_string()]);
        command.args(["-z", codec, "-K", "\t", "-X", "message.max.bytes=2000000"]);
        for (name, value) in &record.headers {
            let value = crate::record::bytes(value.as_ref().unwrap());
            command.args(["-H", &format!("{name}={}", String::from_utf8(value).unwrap())]);
        }
        let bytes = |text: &Option<String>| crate::record::bytes(text.as_ref().unwrap());
        let line = [&bytes(&record.key)[..], b"\t", &bytes(&record.value), b"\n"].concat();
        let output = fed(&mut command, &line);
        assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What kcat prints of a record: lengths first, so that keys and values may be anything.
const KCAT_FORMAT: &str = "%p %o %T %K %S %h\n%k%s\n";

fn kcat_consume(until: &[&str], isolation: &str, broker: SocketAddr, topic: &str) -> Vec<Record> {
    let mut command = Command::new("kcat");
    command.args(["-C", "-q", "-b", &broker.to_string(), "-t", topic, "-o", "beginning", "-f", KCAT_FORMAT]);
    command.args(["-X", &format!("isolation.level={isolation}")]);
    let output = fed(command.args(until), b"");
    assert!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    let mut rest = &output.stdout[..];
    let mut records = Vec::new();
    while !rest.is_empty() {
        let head = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let fields = std::str::from_utf8(&rest[..head]).unwrap();
        rest = &rest[head + 1..];
        let mut fields = fields.splitn(6, ' ');
        let mut number = || fields.next().unwrap().parse::<i64>().unwrap();
        let (partition, offset, timestamp, key, value) = (number(), number(), number(), number(), number());
        let mut take = |length: i64| {
            let (taken, left) = rest.split_at(usize::try_from(length).unwrap_or(0));
            rest = left;
            (length >= 0).then(|| text(taken))
        };
        let (key, value) = (take(key), take(value));
        rest = &rest[1..];
        let headers = fields.next().unwrap_or_default().split(',').filter(|header| !header.is_empty());
        let headers = headers.map(|header| {
            let (name, value) = header.split_once('=').unwrap();
            (name.to_owned(), Some(text(value.as_bytes())))
        });
        let headers = headers.collect();
        records.push(Record {
            partition: partition as i32,
            offset: Some(offset),
            timestamp,
            key,
            value,
            headers,
        });
    }
    sorted(records)
}

enum Event {
    Record(Record),
    Partitions(Vec<i32>),
    /// Whether it was committed, and how many records it has.
    Transaction(bool, usize),
    Fenced,
}

/// A member of a group, in a process of its own; killed when dropped.
pub(crate) struct Member {
    child: Child,
    events: Receiver<Event>,
    /// What it was assigned last.
    pub(crate) partitions: Vec<i32>,
    /// All that it has read.
    pub(crate) records: Vec<Record>,
    /// How many records it has committed, and aborted.
    pub(crate) committed: usize,
    pub(crate) aborted: usize,
    /// Whether another instance has taken over its transactional id.
    pub(crate) is_fenced: bool,
}

impl Member {
    /// Takes what the member has told since.
    pub(crate) fn look(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Record(record) => self.records.push(record),
            Event::Partitions(partitions) => self.partitions = partitions,
            Event::Transaction(true, records) => self.committed += records,
            Event::Transaction(false, records) => self.aborted += records,
            Event::Fenced => self.is_fenced = true,
        }
    }

    /// Sends SIGKILL: the group learns of it by its silence.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM, at which it leaves its group, and waits for its end.
    pub(crate) fn leave(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.end();
    }

    /// Waits for its end, which it comes to by itself, and takes all that it told.
    pub(crate) fn end(&mut self) {
        while let Ok(event) = self.events.recv() {
            self.take(event);
        }
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks at the members until `done` says so.
pub(crate) fn wait_until(members: &mut [&mut Member], what: &str, done: impl Fn(&[&mut Member]) -> bool) {
    let begun = Instant::now();
    loop {
        members.iter_mut().for_each(|member| member.look());
        if done(members) {
            return;
        }
        let state: Vec<_> = members.iter().map(|one| (&one.partitions, one.records.len())).collect();
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}; (partitions, records read): {state:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

//! Thousands of connections that are slow, half open or silent cost little and starve nobody.
//!
//! The broker runs in a process of its own, this same binary started again, so that its memory can be looked at. How long
//! the requests of others took, in rounds with and without such connections, is printed; `TOPO_SLOW_ROUNDS` sets how many
//! there are, 1 unless it is given.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig};
use topo_protocol::{BatchBuilder, Compression, NewRecord, Room};
use topo_tests::wire_client::{WireClient, frame};

/// Set for the process that is the broker.
const BROKER_DIR: &str = "TOPO_TEST_BROKER_DIR";
/// What is aimed at.
const CONNECTIONS: usize = 10_000;
/// Descriptors that are needed for other things than connections.
const OTHERS: u64 = 500;
/// What the connections may cost, all together.
const MOST_BYTES: u64 = 256 << 20;
/// Kinds of connections that are slow or half open, and which of them sends something now and then.
const SLOW: usize = 5;
const TRICKLES: usize = 3;
/// These kinds, and who does not take what it asked for: that is work as well, of which the others get less.
const ALL: usize = 6;
/// Requests of each kind, of those who are to be served meanwhile, in a round.
const REQUESTS: usize = 500;

/// Raises the limit of descriptors as far as it goes, and says how far that is.
fn descriptors() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // Where it cannot be raised, it is what it is.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    getrlimit(Resource::RLIMIT_NOFILE).expect("a limit").0
}

/// The broker's part: serves until standard input ends.
fn be_the_broker(dir: &str) {
    descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let broker = Broker::open(dir, BrokerConfig::default()).expect("a data directory");
        for topic in ["lines", "much"] {
            broker.create_topic(topic, 1, [].into()).await.expect("a new topic");
        }
        let listen = vec![ListenAddress::localhost(0)];
        let server = Server::bind(broker.clone(), ServerConfig { listen, ..ServerConfig::default() });
        let server = server.expect("a free port");
        println!("listening {}", server.local_addrs()[0]);
        let wait = || std::io::stdin().read_line(&mut String::new());
        let ended = tokio::task::spawn_blocking(wait).await.expect("a thread");
        ended.expect("standard input ends");
        server.shutdown().await;
        broker.close().await.expect("it closes");
    });
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(dir: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .args(["--nocapture", "--exact", "slow_connections_cost_little_and_starve_nobody"])
            .env(BROKER_DIR, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let address = lines.find_map(|line| {
            let line = line.expect("text");
            line.split_once("listening ").map(|(_, address)| address.parse().expect("an address"))
        });
        // What else is printed has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { address: address.expect("it says where it listens"), child }
    }

    /// Bytes that it keeps in memory.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
    }

    /// Waits until it has closed the connections that are gone.
    fn wait_for_few_descriptors(&self) {
        let open = format!("/proc/{}/fd", self.child.id());
        let begun = Instant::now();
        while std::fs::read_dir(&open).expect("it runs").count() > OTHERS as usize {
            assert!(begun.elapsed() < Duration::from_secs(60), "connections are not closed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn produce(topic: &'static str, value: &[u8]) -> ProduceRequest {
    let mut builder = BatchBuilder::new(1 << 20);
    let record = NewRecord { value: Some(value), ..NewRecord::default() };
    assert_eq!(builder.append(&record).expect("a small record"), Room::Taken);
    let records: Bytes = builder.finish(Compression::None).expect("a batch").freeze();
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str(topic)))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// A request for records that are there.
fn fetch(topic: &'static str, max_bytes: i32) -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(max_bytes);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(topic)))
        .with_partitions(vec![partition]);
    FetchRequest::default().with_max_bytes(max_bytes).with_topics(vec![topic])
}

/// How long requests took: what syncs, what reads, and what does neither.
#[derive(Default)]
struct Took([Vec<Duration>; 3]);

impl Took {
    /// Serves a well-behaved client.
    async fn serve(&mut self, address: SocketAddr) {
        let mut client = WireClient::connect(address).await;
        let (produce, fetch, versions) =
            (produce("lines", b"a line"), fetch("lines", 1 << 10), ApiVersionsRequest::default());
        for _ in 0..REQUESTS {
            let begun = Instant::now();
            let response = client.ask(9, &produce).await;
            assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
            self.0[0].push(begun.elapsed());
            let begun = Instant::now();
            let response = client.ask(11, &fetch).await;
            assert!(response.responses[0].partitions[0].records.as_ref().is_some_and(|it| !it.is_empty()));
            self.0[1].push(begun.elapsed());
            let begun = Instant::now();
            assert_eq!(client.ask(0, &versions).await.error_code, 0);
            self.0[2].push(begun.elapsed());
        }
    }

    /// The median and the 99th of a hundred, in the order of the kinds.
    fn told(&mut self) -> [[Duration; 2]; 3] {
        self.0.each_mut().map(|took| {
            took.sort();
            [took[took.len() / 2], took[took.len() * 99 / 100]]
        })
    }
}

/// Opens a connection of one of several bad kinds.
async fn misbehave(kind: usize, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    // What is not read is to be the broker's burden, not the system's.
    socket.set_recv_buffer_size(4 << 10).expect("it is a socket");
    let mut stream = socket.connect(address).await.expect("it listens");
    let begun: &[u8] = match kind {
        // Nothing at all.
        0 => b"",
        // Half of a length.
        1 => b"\x00\x00",
        // A request of 100 MiB that has just begun.
        2 => b"\x06\x40\x00\x00\x00\x00\x00\x09",
        // As much of one as is charged at first, and more by and by.
        TRICKLES => &[&b"\x06\x40\x00\x00"[..], &[0; 2000]].concat(),
        // One request, then nothing.
        4 => &frame(1, 0, &ApiVersionsRequest::default()),
        // A request for much that is not taken.
        _ => &frame(1, 11, &fetch("much", 1 << 20)),
    };
    stream.write_all(begun).await.expect("it reads");
    stream
}

/// Connections that misbehave, on a thread of their own, for as long as this is there.
struct Bad {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Bad {
    /// Opens them, and goes on once all are open.
    fn open(connections: usize, kinds: usize, address: SocketAddr) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (opened, open) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut bad = Vec::new();
                for number in 0..connections {
                    bad.push(misbehave(number % kinds, address).await);
                }
                opened.send(()).expect("the test waits for it");
                let trickle = async {
                    loop {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        for stream in bad.iter_mut().skip(TRICKLES).step_by(kinds) {
                            // The broker may have had enough of it.
                            let _ = stream.write_all(b"\x00").await;
                        }
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    () = trickle => {}
                }
            });
        });
        open.recv().expect("all are opened");
        Self { stop, thread }
    }

    /// Closes them.
    fn close(self) {
        self.stop.send(()).expect("it waits for that");
        self.thread.join().expect("it ends");
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn rounds() -> usize {
    let given = std::env::var("TOPO_SLOW_ROUNDS").ok();
    given.map_or(1, |rounds| rounds.parse().expect("TOPO_SLOW_ROUNDS is a number"))
}

#[test]
fn slow_connections_cost_little_and_starve_nobody() {
    if let Ok(dir) = std::env::var(BROKER_DIR) {
        return be_the_broker(&dir);
    }
    let descriptors = descriptors();
    // Of the broker's descriptors, three quarters may be connections.
    let possible = (descriptors / 4 * 3).saturating_sub(OTHERS) as usize;
    let connections = CONNECTIONS.min(possible);
    if connections < CONNECTIONS {
        println!(
            "ONLY {connections} CONNECTIONS INSTEAD OF {CONNECTIONS}: THE SYSTEM GRANTS {descriptors} DESCRIPTORS"
        );
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut broker = Process::start(dir.path().to_str().expect("a path of text"));
    let runtime = runtime();
    runtime.block_on(async {
        let mut client = WireClient::connect(broker.address).await;
        for _ in 0..4 {
            client.ask(9, &produce("much", &[b'x'; 300 << 10])).await;
        }
        // Whatever the first requests have to bring along.
        Took::default().serve(broker.address).await;
    });
    let (mut without, mut with) = (Took::default(), [(SLOW, Took::default()), (ALL, Took::default())]);
    let before = broker.memory();
    for _ in 0..rounds() {
        runtime.block_on(without.serve(broker.address));
        for (kinds, took) in &mut with {
            let bad = Bad::open(connections, *kinds, broker.address);
            // The last of them is served as well: all were accepted.
            runtime.block_on(took.serve(broker.address));
            let cost = broker.memory().saturating_sub(before);
            println!("{connections} bad connections of {kinds} kinds cost {} KiB at most", cost >> 10);
            assert!(cost < MOST_BYTES, "{connections} connections cost {cost} bytes");
            bad.close();
            broker.wait_for_few_descriptors();
        }
    }
    let without = without.told();
    for (kinds, took) in &mut with {
        for ((name, without), with) in
            ["produce", "fetch", "versions"].into_iter().zip(without).zip(took.told())
        {
            let times = [0, 1].map(|at| with[at].as_secs_f64() / without[at].as_secs_f64());
            println!(
                "{name} beside {kinds} kinds: p50 {:.2?} without and {:.2?} with them, {:.2} times; p99 {:.2?} and {:.2?}, \
                 {:.2} times",
                without[0], with[0], times[0], without[1], with[1], times[1]
            );
        }
    }
    drop(broker.child.stdin.take());
    assert!(broker.child.wait().expect("it ends").success());
}

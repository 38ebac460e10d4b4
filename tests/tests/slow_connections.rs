//! Thousands of connections that are slow, half open or silent cost little and starve nobody.
//!
//! The broker runs in a process of its own, this same binary started again, so that its memory can be looked at.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
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
/// Requests of those who are to be served meanwhile.
const REQUESTS: usize = 300;

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
        broker.create_topic("lines", 1, [].into()).await.expect("a new topic");
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
}

fn produce() -> ProduceRequest {
    let mut builder = BatchBuilder::new(1 << 10);
    let record = NewRecord { value: Some(b"a line"), ..NewRecord::default() };
    assert_eq!(builder.append(&record).expect("a small record"), Room::Taken);
    let records: Bytes = builder.finish(Compression::None).expect("a batch").freeze();
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("lines")))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// Serves a well-behaved client, and says how long its slowest request but three in a hundred took.
async fn serve(address: SocketAddr) -> Duration {
    let mut client = WireClient::connect(address).await;
    let mut took = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        let response = client.ask(9, &produce()).await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
        took.push(begun.elapsed());
    }
    took.sort();
    took[REQUESTS * 97 / 100]
}

/// Opens a connection of one of several bad kinds.
async fn misbehave(kind: usize, address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let begun: &[u8] = match kind % 5 {
        // Nothing at all.
        0 => b"",
        // Half of a length.
        1 => b"\x00\x00",
        // A request of 100 MiB that has just begun.
        2 => b"\x06\x40\x00\x00\x00\x00\x00\x09",
        // As much of one as is charged at first.
        3 => &[0; 2000],
        // One request, then nothing.
        _ => &frame(1, 0, &ApiVersionsRequest::default()),
    };
    if kind % 5 == 3 {
        stream.write_all(b"\x06\x40\x00\x00").await.expect("it reads");
    }
    stream.write_all(begun).await.expect("it reads");
    stream
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let dir = tempfile::tempdir().expect("a directory");
        let mut broker = Process::start(dir.path().to_str().expect("a path of text"));
        let alone = serve(broker.address).await;
        let before = broker.memory();
        let mut bad = Vec::new();
        for kind in 0..connections {
            bad.push(misbehave(kind, broker.address).await);
        }
        // The last of them is served as well: all were accepted.
        let beside = serve(broker.address).await;
        let cost = broker.memory().saturating_sub(before);
        println!(
            "{connections} bad connections cost {} KiB; requests took {alone:?} without and {beside:?} with them",
            cost >> 10
        );
        assert!(cost < MOST_BYTES, "{connections} connections cost {cost} bytes");
        drop(bad);
        drop(broker.child.stdin.take());
        assert!(broker.child.wait().expect("it ends").success());
    });
}

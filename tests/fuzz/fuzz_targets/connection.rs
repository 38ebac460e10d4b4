//! A whole server on a storage in memory, and one connection to it. A first byte of 0 says that the rest is sent as it is;
//! otherwise it is parts, each of which goes out as a frame with its length in front. Whatever comes, the connection ends,
//! and the next one is answered.

#![no_main]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use topo_broker::{Broker, BrokerConfig, Limits, ListenAddress, Server, ServerConfig};
use topo_fuzz::part;
use topo_log::storage::MemoryStorage;

/// How long an end is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// ApiVersions, version 0, without a client's name.
const API_VERSIONS: &[u8] = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff";

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut data)) = data.split_first() else { return };
    let mut sent = Vec::new();
    if *choice == 0 {
        sent.extend(data);
    }
    while *choice != 0 && !data.is_empty() {
        let frame = part(&mut data);
        sent.extend((frame.len() as u32).to_be_bytes());
        sent.extend(frame);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let broker_config = BrokerConfig { preallocate_bytes: 0, ..BrokerConfig::default() };
        let storage = Arc::new(MemoryStorage::new());
        let broker = Broker::open_on(storage, Path::new("/data"), broker_config).expect("memory");
        let limits = Limits { fetch_wait: Duration::ZERO, request_bytes: 1 << 20, ..Limits::default() };
        let listen = vec![ListenAddress::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))];
        let config = ServerConfig { listen, limits, ..ServerConfig::default() };
        let server = Server::bind(broker.clone(), config).expect("a free port");
        let address = server.local_addrs()[0];
        timeout(PATIENCE, exchange(address, &sent)).await.expect("the connection ends");
        let answer = timeout(PATIENCE, exchange(address, API_VERSIONS)).await.expect("the next one ends");
        assert!(answer.len() > 10 && answer[4..10] == *b"\x00\x00\x00\x07\x00\x00", "{answer:02x?}");
        server.shutdown().await;
        broker.close().await.expect("memory");
    });
});

/// Sends, says that this was all, and takes whatever comes until the end.
async fn exchange(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    let mut answers = Vec::new();
    let (mut input, mut output) = stream.split();
    // The server may close it at any time: then both fail.
    let send = async {
        let _ = output.write_all(sent).await;
        let _ = output.shutdown().await;
    };
    let receive = async {
        let _ = input.read_to_end(&mut answers).await;
    };
    tokio::join!(send, receive);
    answers
}

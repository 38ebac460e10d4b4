//! The broker over TCP, as any client sees it.

mod admin;
mod changes;
mod cluster;
mod coordinator;
mod every;
mod groups;
mod limits;
mod records;
mod refusal;
mod requests;
mod transactions;

use std::net::SocketAddr;

use tempfile::TempDir;
use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig};
use topo_tests::wire_client::WireClient;

/// A broker in a directory of its own, and its port.
struct Served {
    broker: Broker,
    server: Server,
    dir: TempDir,
}

impl Served {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), change).await
    }

    async fn start_in(dir: TempDir, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let broker = Broker::open(dir.path(), BrokerConfig::default()).expect("a data directory");
        let mut config =
            ServerConfig { listen: vec![ListenAddress::localhost(0)], ..ServerConfig::default() };
        change(&mut config);
        let server = Server::bind(broker.clone(), config).expect("a free port");
        Self { broker, server, dir }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addrs()[0]
    }

    async fn client(&self) -> WireClient {
        WireClient::connect(self.address()).await
    }

    /// Stops, and gives back the directory.
    async fn stop(self) -> TempDir {
        self.server.shutdown().await;
        self.broker.close().await.expect("it closes");
        self.dir
    }
}

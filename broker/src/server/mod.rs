//! A broker's port: listeners, connections, requests in and responses out.
//!
//! ```text
//! listener ──▶ connection: frames ──▶ dispatch ──▶ handlers/… ──▶ answers, in the order of requests
//!                 │                      │
//!                 └─ memory: charged     └─ guard: walked before it is decoded
//! ```
//!
//! Invariants: nothing from the network is decoded before the guard has walked it; memory is charged before it is taken; a
//! connection's answers leave in the order of its requests; whatever one connection does, the others are served.

mod address;
mod connection;
mod dispatch;
mod frame;
mod listener;
mod memory;
mod parts;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

pub use address::{ListenAddress, NodeAddress, NotAnAddress};
pub(crate) use dispatch::{APIS, Call, Order, Reply, advertised};
use listener::Seats;
pub use listener::{BindError, Sockets};
pub(crate) use memory::{Charge, Memory, SMALL};
pub(crate) use parts::Parts;

use crate::broker::Broker;
use crate::config::ServerConfig;

/// Serves a broker in Kafka's protocol, from when it is bound until it is shut down or dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig};
///
/// let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path(), BrokerConfig::default())?;
/// let config = ServerConfig { listen: vec![ListenAddress::localhost(0)], ..ServerConfig::default() };
/// let server = Server::bind(broker.clone(), config)?;
/// println!("bootstrap.servers={}", server.local_addrs()[0]);
/// server.shutdown().await;
/// broker.close().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Server {
    local_addrs: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
}

/// How many may read what is not charged yet: it is dropped again where there is no memory for it.
const UNPAID: usize = 8;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) broker: Broker,
    pub(crate) config: ServerConfig,
    /// What requests under way take.
    pub(crate) requests: Memory,
    /// What responses take until they are sent.
    pub(crate) responses: Memory,
    /// For reading what may turn out to be larger than what is charged for it: so many may at once.
    pub(crate) unpaid: Semaphore,
    seats: Arc<Seats>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    /// What the connections of one server share, and what stops it.
    fn new(broker: Broker, config: ServerConfig) -> (Arc<Self>, watch::Sender<bool>) {
        let (sender, stop) = watch::channel(false);
        let limits = &config.limits;
        let (requests, responses) = (Memory::new(limits.request_memory), Memory::new(limits.response_memory));
        let seats = Seats::new(limits);
        (
            Arc::new(Self {
                broker,
                config,
                requests,
                responses,
                unpaid: Semaphore::new(UNPAID),
                seats,
                stop,
            }),
            sender,
        )
    }

    /// Completes when the server is to stop. A handler awaits [`Call::ending`].
    pub(crate) async fn stopping(&self) {
        // Where the sender is gone, so is the server.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }
}

impl Server {
    /// Listens at every address of `config`, and serves from then on.
    ///
    /// # Errors
    /// [`BindError`]: nothing is served.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and timers.
    pub fn bind(broker: Broker, config: ServerConfig) -> Result<Self, BindError> {
        Ok(Self::start(broker, Sockets::bind(&config.listen)?, config))
    }

    /// Serves at sockets that listen already; `config.listen` is not looked at.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and timers.
    pub fn start(broker: Broker, sockets: Sockets, config: ServerConfig) -> Self {
        // Where the broker was opened outside of a runtime, time passes for transactions from here on.
        drop(broker.transactions());
        let local_addrs = sockets.local_addrs();
        let (shared, stop) = Shared::new(broker, config);
        let listen = |(listener, _)| tokio::spawn(listener::accept(listener, shared.clone()));
        Self { local_addrs, stop, listeners: sockets.0.into_iter().map(listen).collect() }
    }

    /// Where it listens, in the order of the configuration; `localhost` may be two.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.local_addrs
    }

    /// Stops listening, answers the requests under way within `limits.shutdown`, and closes all connections. The broker
    /// stays open.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        for listener in self.listeners {
            if let Err(error) = listener.await {
                tracing::error!(%error, "a listener ended early");
            }
        }
    }
}

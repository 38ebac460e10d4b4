//! `topo broker`: the log and its Kafka port, until it is told to stop.

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use topo::launcher::{self, Signals};
use topo_broker::{Broker as Log, BrokerConfig, ListenAddress, NodeAddress, Server, ServerConfig};
use topo_core::schedule::{Clock, TokioScheduler};

use crate::data_dir::DataDir;
use crate::failure::Failure;

/// `topo broker`.
#[derive(Debug, Args)]
pub(crate) struct Broker {
    #[command(flatten)]
    data: DataDir,
    /// Where clients reach it: an IP address or localhost, and a port; port 0 takes a free one
    #[arg(
        long,
        env = "TOPO_LISTEN",
        value_delimiter = ',',
        default_value = "localhost:9092",
        value_name = "ADDR"
    )]
    listen: Vec<ListenAddress>,
    /// What clients are told to connect to, where that is not the address at which they came
    #[arg(long, env = "TOPO_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<NodeAddress>,
    /// Listen on addresses that other machines reach, though nobody is asked who they are
    #[arg(long)]
    insecure_bind: bool,
    /// How often it looks for topics to compact, in milliseconds
    #[arg(
        long,
        env = "TOPO_LOG_CLEANER_BACKOFF_MS",
        default_value_t = 15_000,
        value_name = "MS",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    log_cleaner_backoff_ms: u64,
}

impl Broker {
    /// Serves until the process is told to stop; then what is under way is answered, and everything synced. Told again, it
    /// does not wait for clients.
    ///
    /// # Errors
    /// [`Failure`]; an address or a data directory in use starts nothing.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let mut signals = Signals::listen().map_err(Failure::System)?;
        let sockets = launcher::bind_port(&self.listen, self.insecure_bind)?;
        let compaction_check_interval = Duration::from_millis(self.log_cleaner_backoff_ms);
        let config = BrokerConfig { compaction_check_interval, ..BrokerConfig::default() };
        let log = Log::open(self.data.path(), config)?;
        let clock = Arc::new(TokioScheduler::current());
        let wall = clock.clone();
        log.keep_compaction(move || wall.wall_ms());
        log.keep_retention(move || clock.wall_ms());
        let config = ServerConfig { advertise: self.advertise, ..ServerConfig::default() };
        let server = Server::start(log.clone(), sockets, config);
        let banner = Banner {
            addresses: server.local_addrs(),
            data_dir: self.data.path(),
            is_open: self.listen.iter().any(|address| !address.is_loopback()),
        };
        // Where standard error is closed, nobody wants to know.
        let _ = write!(io::stderr(), "{banner}");
        signals.told_to_stop().await;
        tokio::select! {
            () = server.shutdown() => {}
            () = signals.told_to_stop() => {}
        }
        Ok(log.close().await?)
    }
}

/// What is said as it starts.
struct Banner<'a> {
    addresses: &'a [SocketAddr],
    data_dir: &'a Path,
    /// Whether other machines reach it.
    is_open: bool,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        writeln!(f, "  kafka     {}", addresses.join(", "))?;
        if self.is_open {
            writeln!(f, "  insecure  whoever reaches it may read and write every topic")?;
        }
        writeln!(f, "  data      {}", self.data_dir.display())?;
        writeln!(
            f,
            "  durable   records are synced to disk before they are acknowledged to acks=all, unless a topic's flush.ms says otherwise"
        )
    }
}

//! Binding, serving and stopping.
//!
//! Invariant: once `bind` returns, the port is held and answered; once `shutdown` returns, it is free again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use super::access::{Access, Local};
use super::hosts::Hosts;
use super::observer::Observer;
use super::secret::Secret;
use super::tls::{self, Listening, TlsFiles};
use super::{Snapshots, routes};

/// How long a stopping server lets answers under way finish.
const GRACE: Duration = Duration::from_secs(1);

/// Why the status server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// The address can be reached from other machines.
    #[error(
        "{0} can be reached from other machines, and whoever reaches it may stop the topology; listen on one such as \
         127.0.0.1:{port}, or give the page a token and a certificate (TOPO_STATUS_TOKEN, --status-cert, --status-key), or add \
         --insecure-bind if that is meant",
        port = .0.port()
    )]
    NotLoopback(SocketAddr),
    /// A certificate or its key is of no use.
    #[error("{} is of no use to the status page: {reason}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This program speaks no TLS.
    #[error(
        "this program is built without TLS, so its page cannot show a certificate; switch on feature `tls` of crate `topo`, as \
         in `topo = {{ …, features = [\"tls\"] }}`"
    )]
    NoTls,
    /// Somebody listens there already.
    #[error("{0} is in use; choose another with --status ADDR or switch it off with --status off")]
    InUse(SocketAddr),
    /// The system refused the address for another reason.
    #[error("the status page cannot listen on {addr} ({source}); choose another with --status ADDR")]
    Refused {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread or event queue.
    #[error("the status page cannot start ({0}); switch it off with --status off")]
    NoThread(io::Error),
}

/// Where a status server listens, and whom it lets in.
#[derive(Debug, Clone)]
pub struct StatusConfig {
    /// Where it listens; port 0 takes any free port.
    pub addr: SocketAddr,
    /// Names under which it may be addressed, beside its address.
    pub names: Vec<String>,
    /// What everybody who asks must show.
    pub token: Option<Secret>,
    /// The certificate that it shows, and its key: with them it speaks HTTPS only.
    pub tls: Option<TlsFiles>,
    /// Whether it may listen where other machines reach it without both of them.
    pub insecure: bool,
}

impl StatusConfig {
    /// For whoever is on this machine.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, names: Vec::new(), token: None, tls: None, insecure: false }
    }
}

/// A running status server. Dropping it stops it too, without waiting.
///
/// ```
/// use std::sync::Arc;
/// use topo::status::{Snapshots, StatusServer};
///
/// struct Nothing;
///
/// impl Snapshots for Nothing {
///     fn snapshots(&self) -> Vec<topo_core::metrics::TopologySnapshot> {
///         Vec::new()
///     }
/// }
///
/// let server = StatusServer::bind("127.0.0.1:0".parse()?, Arc::new(Nothing))?;
/// println!("http://{}/", server.local_addr());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StatusServer {
    local_addr: SocketAddr,
    is_tls: bool,
    name: Option<String>,
    page_token: Secret,
    /// Dropped to ask the server to stop.
    running: oneshot::Sender<()>,
    /// Resolves when the server's thread has let go of the port.
    stopped: oneshot::Receiver<()>,
}

impl StatusServer {
    /// Listens on `addr`, a loopback address, and answers from `snapshots`.
    ///
    /// # Errors
    /// As [`bind_with`](Self::bind_with).
    pub fn bind(addr: SocketAddr, snapshots: Arc<dyn Snapshots>) -> Result<Self, StatusError> {
        Self::bind_with(&StatusConfig::new(addr), snapshots)
    }

    /// Listens as `config` says, and answers from `snapshots`.
    ///
    /// # Errors
    /// [`StatusError::NotLoopback`] for an address that other machines can reach, without a token and a certificate,
    /// [`StatusError::InUse`] for a port that is taken, and the others where files are wrong or the system refuses.
    pub fn bind_with(config: &StatusConfig, snapshots: Arc<dyn Snapshots>) -> Result<Self, StatusError> {
        let addr = config.addr;
        let is_safe = config.token.is_some() && config.tls.is_some();
        if !addr.ip().to_canonical().is_loopback() && !is_safe && !config.insecure {
            return Err(StatusError::NotLoopback(addr));
        }
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let listener = TcpListener::bind(addr).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => StatusError::InUse(addr),
            _ => StatusError::Refused { addr, source },
        })?;
        listener.set_nonblocking(true).map_err(StatusError::NoThread)?;
        let local_addr = listener.local_addr().map_err(StatusError::NoThread)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(StatusError::NoThread)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(StatusError::NoThread)?
        };

        let (running, stop) = oneshot::channel();
        let (done, stopped) = oneshot::channel();
        let (streaming, streams_end) = watch::channel(());
        let observer = Arc::<Observer>::default();
        let watch = Arc::clone(&observer).watch(Arc::clone(&snapshots));
        let hosts = Hosts::new(local_addr, tls.is_some(), &config.names);
        let access = Access::new(hosts, tls.is_some(), config.token.clone());
        let (page_token, is_tls) = (access.page_token().clone(), tls.is_some());
        let router = routes::router(snapshots, observer, access, streams_end);
        // Ends with the runtime.
        drop(runtime.spawn(watch));
        thread::Builder::new()
            .name("topo-status".into())
            .spawn(move || {
                serve(runtime, (listener, tls), router, stop, streaming);
                // Nobody waits where the server was dropped.
                let _ = done.send(());
            })
            .map_err(StatusError::NoThread)?;
        let name = config.names.first().cloned();
        Ok(Self { local_addr, is_tls, name, page_token, running, stopped })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where a browser finds it: by its first name, where it has one. Where it listens on every address, on this machine.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        match &self.name {
            Some(name) => format!("{scheme}://{name}:{}", self.local_addr.port()),
            None => format!("{scheme}://{}", reached_at(self.local_addr)),
        }
    }

    /// What a request that changes something must show, as its page does: for who may read the page.
    pub(crate) fn page_token(&self) -> &Secret {
        &self.page_token
    }

    /// Stops: lets answers under way finish for at most a second, then frees the port.
    pub async fn shutdown(self) {
        drop(self.running);
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.stopped.await;
    }
}

/// Where on this machine one is reached that listens at `addr`: no request may name the address of every network.
pub(super) fn reached_at(addr: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.to_canonical().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, addr.port())
}

fn serve(
    runtime: Runtime,
    (listener, tls): (tokio::net::TcpListener, Option<tls::Acceptor>),
    router: axum::Router,
    stop: oneshot::Receiver<()>,
    streaming: watch::Sender<()>,
) {
    runtime.block_on(async move {
        let (stopping, grace_begins) = oneshot::channel();
        let listening = Listening::new(listener, tls);
        let router = router.into_make_service_with_connect_info::<Local>();
        let serving = axum::serve(listening, router).with_graceful_shutdown(async move {
            // The sender is dropped, never used: the error is the signal.
            let _ = stop.await;
            drop(streaming);
            let _ = stopping.send(());
        });
        let grace_over = async move {
            let _ = grace_begins.await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::error!(%error, "the status page stopped");
            },
            () = grace_over => {}
        }
    });
    // Connections that outlived the grace are cut here, with the runtime they live on. Nobody waits for a layout.
    runtime.shutdown_background();
}

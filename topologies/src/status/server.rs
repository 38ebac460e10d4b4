//! Binding, serving and stopping.
//!
//! Invariant: once `bind` returns, the port is held and answered; once `shutdown` returns, it is free again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use super::guard::AllowedHosts;
use super::observer::Observer;
use super::{Snapshots, routes};

/// How long a stopping server lets answers under way finish.
const GRACE: Duration = Duration::from_secs(1);

/// Why the status server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// The address can be reached from other machines.
    #[error(
        "the status page listens on loopback addresses only, not on {0}; choose one such as 127.0.0.1:{port}",
        port = .0.port()
    )]
    NotLoopback(SocketAddr),
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
    /// Dropped to ask the server to stop.
    running: oneshot::Sender<()>,
    /// Resolves when the server's thread has let go of the port.
    stopped: oneshot::Receiver<()>,
}

impl StatusServer {
    /// Listens on `addr` (port 0 takes any free port) and answers from `snapshots`.
    ///
    /// # Errors
    /// [`StatusError::NotLoopback`] for an address that other machines can reach, [`StatusError::InUse`] for a port
    /// that is taken, and the others where the system refuses.
    pub fn bind(addr: SocketAddr, snapshots: Arc<dyn Snapshots>) -> Result<Self, StatusError> {
        if !addr.ip().to_canonical().is_loopback() {
            return Err(StatusError::NotLoopback(addr));
        }
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
        let router = routes::router(snapshots, observer, AllowedHosts::of(local_addr), streams_end);
        // Ends with the runtime.
        drop(runtime.spawn(watch));
        thread::Builder::new()
            .name("topo-status".into())
            .spawn(move || {
                serve(runtime, listener, router, stop, streaming);
                // Nobody waits where the server was dropped.
                let _ = done.send(());
            })
            .map_err(StatusError::NoThread)?;
        Ok(Self { local_addr, running, stopped })
    }

    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops: lets answers under way finish for at most a second, then frees the port.
    pub async fn shutdown(self) {
        drop(self.running);
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.stopped.await;
    }
}

fn serve(
    runtime: Runtime,
    listener: tokio::net::TcpListener,
    router: axum::Router,
    stop: oneshot::Receiver<()>,
    streaming: watch::Sender<()>,
) {
    runtime.block_on(async move {
        let (stopping, grace_begins) = oneshot::channel();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
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
    // Connections that outlived the grace are cut here, with the runtime they live on.
    drop(runtime);
}

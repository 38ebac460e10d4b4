//! One connection: requests in, answers out in the same order.
//!
//! Invariant: at most `requests_per_connection` requests are under way; the next one is started while earlier ones wait for
//! the disk, or for records to come, where their APIs allow that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Buf;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::dispatch::{self, Answer, Order, Response};
use super::frame::{Frame, FrameError, Frames, Pace};
use super::listener::Seat;
use super::{NodeAddress, Shared};

/// A connection as handlers see it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who is at the other end.
    pub(crate) address: SocketAddr,
    /// How the broker is called towards it.
    pub(crate) node: NodeAddress,
    /// Whether no more requests are read from it.
    is_done: watch::Sender<bool>,
}

impl Peer {
    /// Completes once no more requests are read: the peer went away, or sent what is none.
    pub(super) async fn done(&self) {
        // The sender is a field of `self`: it cannot be gone.
        let _ = self.is_done.subscribe().wait_for(|done| *done).await;
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>, _seat: Seat) {
    // Answers are whole: holding them back gains nothing.
    let local = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    let Ok(local) = local else { return };
    let node = shared.config.advertise.clone().unwrap_or_else(|| local.into());
    let peer = Arc::new(Peer { address, node, is_done: watch::Sender::new(false) });
    let (input, output) = stream.into_split();
    let (answers, pending) = mpsc::channel(shared.config.limits.requests_per_connection.max(1));
    let under_way = AtomicUsize::new(0);
    let frames = Frames::new(input, shared.requests.clone());
    let reading = async {
        let reader = Reader { frames, shared: &shared, peer: &peer, answers, under_way: &under_way };
        if let Err(error) = reader.run().await {
            tracing::debug!(peer = %address, %error, "closing the connection");
        }
        // `answers` is gone: what is under way is written, then writing ends as well. Who waits for what may never come does
        // not any more.
        peer.is_done.send_replace(true);
    };
    let writing = async {
        if let Err(error) = write(output, pending, &shared, &under_way).await {
            tracing::debug!(peer = %address, %error, "the connection failed");
        }
    };
    let mut reading = std::pin::pin!(reading);
    let mut writing = std::pin::pin!(writing);
    tokio::select! {
        () = &mut writing => {}
        () = &mut reading => writing.await,
    }
}

/// Why a connection is closed by us.
#[derive(Debug, thiserror::Error)]
enum CloseReason {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Refused(#[from] dispatch::Refused),
    #[error("no request came in time")]
    Idle,
}

/// The part that reads.
struct Reader<'a> {
    frames: Frames<OwnedReadHalf>,
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    answers: mpsc::Sender<Pending>,
    under_way: &'a AtomicUsize,
}

/// An answer to come.
enum Pending {
    /// It is there; `None` for a request that wants none.
    Ready(Result<Option<Response>, dispatch::Refused>),
    /// It is being worked on.
    Task(Task),
}

/// A task that ends with the connection.
struct Task(JoinHandle<Result<Option<Response>, dispatch::Refused>>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reader<'_> {
    async fn run(mut self) -> Result<(), CloseReason> {
        let mut is_first = true;
        while self.begins(is_first).await? {
            is_first = false;
            // The writer, gone, takes the reader with it.
            let Ok(slot) = self.answers.reserve().await else { return Ok(()) };
            let frame = tokio::select! {
                biased;
                () = self.shared.stopping() => return Ok(()),
                frame = self.frames.next(&self.shared.config.limits) => frame?,
            };
            let Some(frame) = frame else { return Ok(()) };
            let (order, answer) = start(self.shared, self.peer, frame).await?;
            self.under_way.fetch_add(1, Ordering::Relaxed);
            slot.send(match order {
                Order::Pipelined => Pending::Task(Task(tokio::spawn(answer))),
                Order::Alone => Pending::Ready(answer.await),
            });
        }
        Ok(())
    }

    /// Waits for a request; `false` where the peer is done, or the server stops.
    async fn begins(&mut self, is_first: bool) -> Result<bool, CloseReason> {
        let limits = &self.shared.config.limits;
        let wait = if is_first { limits.first_request } else { limits.idle };
        loop {
            let begins = tokio::select! {
                biased;
                () = self.shared.stopping() => return Ok(false),
                begins = timeout(wait, self.frames.begins()) => begins,
            };
            match begins {
                Ok(begins) => return Ok(begins?),
                Err(_) if self.under_way.load(Ordering::Relaxed) > 0 => continue,
                Err(_) => return Err(CloseReason::Idle),
            }
        }
    }
}

/// Starts a request; what it was charged is given back with its answer.
async fn start(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    frame: Frame,
) -> Result<(Order, Answer), dispatch::Refused> {
    let Frame { bytes, mut charge } = frame;
    let (order, answer) = dispatch::start(shared, peer, bytes, &mut charge).await?;
    let charged = async move {
        tokio::select! {
            biased;
            answer = answer => answer,
            never = charge.settle() => match never {},
        }
    };
    Ok((order, Box::pin(charged)))
}

/// Writes answers as they become ready, in order.
async fn write(
    mut output: OwnedWriteHalf,
    mut pending: mpsc::Receiver<Pending>,
    shared: &Shared,
    under_way: &AtomicUsize,
) -> Result<(), CloseReason> {
    while let Some(next) = pending.recv().await {
        let response = match next {
            Pending::Ready(response) => response?,
            Pending::Task(mut task) => (&mut task.0).await.map_err(std::io::Error::other)??,
        };
        if let Some(mut response) = response {
            let mut pace = Pace::begin(&shared.config.limits);
            let mut written = 0;
            while response.parts.has_remaining() {
                let step = output.write_buf(&mut response.parts);
                written += pace.keep(&shared.responses, written, step).await?;
            }
        }
        under_way.fetch_sub(1, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;
    use topo_log::storage::MemoryStorage;

    use super::*;
    use crate::broker::Broker;
    use crate::config::{BrokerConfig, ServerConfig};

    #[tokio::test]
    async fn a_panic_under_way_ends_its_connection_and_no_more() {
        let storage = Arc::new(MemoryStorage::new());
        let broker = Broker::open_on(storage, Path::new("/data"), BrokerConfig::default()).unwrap();
        let (shared, _stop) = Shared::new(broker, ServerConfig::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, output) = listener.accept().await.unwrap().0.into_split();
        let (answers, pending) = mpsc::channel(2);
        let panics = tokio::spawn(async { panic!("planted") });
        assert!(answers.send(Pending::Task(Task(panics))).await.is_ok());
        let ended = write(output, pending, &shared, &AtomicUsize::new(1)).await;
        assert!(matches!(ended, Err(CloseReason::Io(_))), "{ended:?}");
        drop(client);
    }
}

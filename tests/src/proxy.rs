//! A proxy between clients of Kafka's protocol and a broker, which delays and drops what passes, and cuts connections, as a
//! test says.
//!
//! The broker has to advertise the proxy's address; else clients go around it. Invariant: what passes is whole requests and
//! whole answers, in their order, so that each fate is that of one request.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The longest request or answer that passes.
const FRAME_BYTES: usize = 128 << 20;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It is passed on, and its answer so long after it came.
    Answered(Duration),
    /// It is passed on; instead of its answer the connection is cut.
    Unanswered,
    /// The connection is cut before it is passed on.
    Unheard,
}

/// Decides what becomes of each request.
type Judge = Box<dyn FnMut(ApiKey) -> Passage + Send>;

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// An address that a proxy is going to have.
#[derive(Debug)]
pub struct ProxyAddress(TcpListener);

impl ProxyAddress {
    /// A free one on the loopback.
    ///
    /// # Panics
    /// Where there is none.
    pub async fn free() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    /// What the broker is to advertise.
    ///
    /// # Panics
    /// Where the system does not know it.
    pub fn get(&self) -> SocketAddr {
        self.0.local_addr().expect("it is bound")
    }

    /// Passes on what comes to the broker at `broker`, as `judge` decides. Whoever comes while there is none is cut off.
    pub fn pass_to(self, broker: SocketAddr, judge: impl FnMut(ApiKey) -> Passage + Send + 'static) -> Proxy {
        let address = self.get();
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(judge)));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = self.0.accept().await {
                tokio::spawn(connection(client, broker, Arc::clone(&judge)));
            }
        });
        Proxy { address, task }
    }
}

impl Proxy {
    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes a connection's requests and answers on, until either side ends it or it is to be cut.
async fn connection(client: TcpStream, broker: SocketAddr, judge: Arc<Mutex<Judge>>) {
    let Ok(broker) = TcpStream::connect(broker).await else { return };
    // Nothing is worth more than being passed on at once.
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
    let (passed, passages) = mpsc::unbounded_channel();
    // What fails is the connection, which ends with this.
    tokio::select! {
        _ = requests(from_client, to_broker, &judge, passed) => {}
        _ = answers(from_broker, to_client, passages) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    judge: &Mutex<Judge>,
    passed: mpsc::UnboundedSender<Passage>,
) -> io::Result<()> {
    loop {
        let request = frame(&mut from).await?;
        let key = request.get(4..6).map(|key| i16::from_be_bytes([key[0], key[1]]));
        let Some(key) = key.and_then(|key| ApiKey::try_from(key).ok()) else { return Ok(()) };
        let passage = (*judge.lock().unwrap_or_else(PoisonError::into_inner))(key);
        if passage == Passage::Unheard || passed.send(passage).is_err() {
            return Ok(());
        }
        to.write_all(&request).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passages: mpsc::UnboundedReceiver<Passage>,
) -> io::Result<()> {
    loop {
        let answer = frame(&mut from).await?;
        match passages.recv().await {
            Some(Passage::Answered(wait)) => tokio::time::sleep(wait).await,
            _ => return Ok(()),
        }
        to.write_all(&answer).await?;
    }
}

/// The next request or answer with its length.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_i32().await?;
    let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= FRAME_BYTES);
    let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let mut frame = vec![0; 4 + bytes];
    frame[..4].copy_from_slice(&length.to_be_bytes());
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

//! The lines that a server sends to whoever connects, such as `nc -lk 9999`.
//!
//! A socket cannot give a line twice, so its lines go into the log first; whatever arrives while nobody is connected is the
//! server's to keep or to lose.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use async_trait::async_trait;
use topo_core::log::{Log, LogError};

use super::{Gather, GatherError, gather_lines};

/// How long to wait before connecting again: at first, and at the most.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The lines of a TCP server.
///
/// It connects until the server is there, and again whenever the connection ends, unless only one is wanted.
#[derive(Debug)]
pub struct SocketLines {
    address: String,
    is_once: bool,
}

impl SocketLines {
    /// The lines that the server at `address`, a host and a port, ever sends.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), is_once: false }
    }

    /// The lines of one connection, whose end is the end of the input.
    #[must_use]
    pub fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    async fn connect(&self) -> TcpStream {
        let mut wait = WAITS.0;
        loop {
            let address = self.address.clone();
            let connected = tokio::task::spawn_blocking(move || TcpStream::connect(address)).await;
            let error = match connected.map_err(io::Error::other).flatten() {
                Ok(stream) => return stream,
                Err(error) => error,
            };
            if wait == WAITS.0 {
                tracing::warn!(address = %self.address, %error, "nobody serves lines there; trying again until somebody does");
            }
            tokio::time::sleep(wait).await;
            wait = (2 * wait).min(WAITS.1);
        }
    }
}

#[async_trait]
impl Gather for SocketLines {
    async fn gather(&mut self, log: &dyn Log, topic: &str) -> Result<u64, GatherError> {
        let mut gathered = 0;
        loop {
            let stream = self.connect().await;
            match gather_lines(log, topic, stream).await {
                Ok(lines) => gathered += lines,
                Err(GatherError::Read { lines, source }) if !self.is_once => {
                    gathered += lines;
                    tracing::warn!(address = %self.address, error = %source, "the connection broke");
                }
                Err(error) => return Err(error),
            }
            if self.is_once {
                return Ok(gathered);
            }
        }
    }

    async fn ended(&mut self, _log: &dyn Log, _topic: &str) -> Result<(), LogError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;

    use topo_core::log::{TopicPartition, TopicSpec};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::MemoryLog;

    use super::*;

    async fn log() -> Arc<MemoryLog> {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        log.create_topic("lines", &TopicSpec::default()).await.unwrap();
        Arc::new(log)
    }

    #[tokio::test]
    async fn one_connection_is_gathered_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"to be\nor not\nto be").unwrap();
        });
        let log = log().await;
        let lines = SocketLines::new(&address).once().gather(&*log, "lines").await.unwrap();
        server.join().unwrap();
        assert_eq!((lines, log.records("lines", 0).len()), (3, 3));
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_made_again_and_lines_are_passed_on_as_they_come() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (held, holds) = std::sync::mpsc::channel::<()>();
        let server = std::thread::spawn(move || {
            listener.accept().unwrap().0.write_all(b"one\n").unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"two\n").unwrap();
            // Open until the test has seen the line.
            holds.recv().unwrap();
        });
        let log = log().await;
        let gathering = Arc::clone(&log);
        let task = tokio::spawn(async move {
            SocketLines::new(&address).gather(&*gathering, "lines").await.map(drop).unwrap();
        });
        let at = TopicPartition::new("lines", 0);
        while log.offsets(&at).await.unwrap().high_watermark < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        task.abort();
        held.send(()).unwrap();
        server.join().unwrap();
    }
}

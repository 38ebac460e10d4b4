//! A bolt that awaits I/O: each word is looked up over TCP.
//!
//! ```text
//! cargo run -p topo-examples --bin async_bolt
//! ```
//!
//! For a reader who knows Storm: `execute` is an `async fn`. While one task awaits its answer the thread runs others, so
//! hundreds of tasks that wait cost no hundreds of threads. A task handles one tuple at a time; more lookups at once are
//! more tasks. Connections are made in `prepare`, which every fresh instance goes through, so a bolt that is replaced
//! connects anew.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use topo_core::schedule::TokioScheduler;
use topo_core::{
    Bolt, Config, Emitter, Fail, FailKind, Failure, Fault, Next, Spout, SpoutEmitter, TaskContext, Topology,
};

const WORDS: [&str; 6] = ["spout", "bolt", "stream", "tuple", "task", "offset"];

/// Emits words to look up, and again those whose lookup failed.
struct Words {
    to_emit: Vec<(usize, u32)>,
    pending: usize,
}

impl Words {
    fn new() -> Self {
        Self { to_emit: (0..60).map(|number| (number, 1)).collect(), pending: 0 }
    }
}

impl Spout for Words {
    type Out = String;
    type Id = usize;

    fn next(&mut self, out: &mut SpoutEmitter<String, usize>) -> Result<Next, Fault> {
        let Some((number, attempt)) = self.to_emit.pop() else {
            return Ok(if self.pending == 0 { Next::Finished } else { Next::Idle });
        };
        self.pending += 1;
        out.replay(number, attempt, WORDS[number % WORDS.len()].to_owned())?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, _number: usize) {
        self.pending -= 1;
    }

    fn fail(&mut self, number: usize, failure: &Failure) {
        self.pending -= 1;
        if failure.kind == FailKind::Retry {
            self.to_emit.push((number, failure.attempt + 1));
        }
    }
}

/// Asks a dictionary server: a word and a newline out, its length and a newline back.
struct LookUp {
    server: SocketAddr,
    /// None after an error: what came of the last request is unknown, so the connection is of no use any more.
    connection: Option<BufStream<TcpStream>>,
}

impl LookUp {
    async fn ask(&mut self, word: &str) -> io::Result<String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufStream::new(TcpStream::connect(self.server).await?),
        };
        connection.write_all(format!("{word}\n").as_bytes()).await?;
        connection.flush().await?;
        let mut answer = String::new();
        if connection.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.connection = Some(connection);
        Ok(answer.trim_end().to_owned())
    }
}

impl Bolt for LookUp {
    type In = String;
    type Out = (String, usize);

    /// A server that cannot be reached stops the launch, with this sentence.
    async fn prepare(&mut self, _task: &TaskContext) -> Result<(), Fault> {
        let connected = TcpStream::connect(self.server).await;
        let connection = connected.map_err(|error| format!("no dictionary at {}: {error}", self.server))?;
        self.connection = Some(BufStream::new(connection));
        Ok(())
    }

    async fn execute(&mut self, word: String, out: &mut Emitter<(String, usize)>) -> Result<(), Fail> {
        // An I/O error becomes `Fail::Retry` through `?`: the spout emits the word again.
        let answer = self.ask(&word).await?;
        // An answer that makes no sense will not make sense the next time.
        let letters = answer.parse().map_err(Fail::reject)?;
        out.emit((word, letters));
        Ok(())
    }
}

/// How often each word was looked up, and what the server said.
type Answers = BTreeMap<String, (usize, u64)>;

/// Keeps the answers where others can see them.
struct Keep(Arc<Mutex<Answers>>);

impl Bolt for Keep {
    type In = (String, usize);
    type Out = ();

    async fn execute(&mut self, answer: (String, usize), _out: &mut Emitter<()>) -> Result<(), Fail> {
        let (word, letters) = answer;
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, times) = answers.entry(word).or_default();
        (*known, *times) = (letters, *times + 1);
        Ok(())
    }
}

/// The topology, and where its results appear.
fn app(server: SocketAddr) -> (Topology, Arc<Mutex<Answers>>) {
    let answers = Arc::new(Mutex::new(Answers::new()));
    let topology = Topology::new("dictionary");
    let words = topology.spout("words", Words::new);
    let found =
        topology.bolt("look-up", move || LookUp { server, connection: None }).tasks(8).shuffle(&words);
    let shared = Arc::clone(&answers);
    topology.bolt("keep", move || Keep(Arc::clone(&shared))).shuffle(&found);
    (topology, answers)
}

/// Stands for somebody else's server. It hangs up after every fifth answer, as servers do.
async fn dictionary(listener: TcpListener) {
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut connection = BufStream::new(connection);
            for _ in 0..5 {
                let mut word = String::new();
                if connection.read_line(&mut word).await? == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
                let answer = format!("{}\n", word.trim_end().len());
                connection.write_all(answer.as_bytes()).await?;
                connection.flush().await?;
            }
            Ok::<(), io::Error>(())
        });
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    tokio::spawn(dictionary(listener));

    let (topology, answers) = app(server);
    let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await?;
    running.finished().await;
    running.kill(Duration::from_secs(5)).await?;
    for (word, (letters, times)) in &*answers.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("{word} has {letters} letters, looked up {times} times");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Sockets need tokio: the seeded scheduler is for topologies whose time and I/O are their own.
    #[tokio::test]
    async fn every_word_is_answered_although_the_server_hangs_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(dictionary(listener));
        let (topology, answers) = app(server);
        let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await.unwrap();
        running.finished().await;
        running.kill(Duration::from_secs(5)).await.unwrap();

        let numbers = running.snapshot();
        let spout = &numbers.components[0];
        assert_eq!(spout.total(|task| task.acked), 60);
        assert!(spout.total(|task| task.failed) > 0, "the server never hung up");
        // Every failed lookup came back, none was kept twice.
        let expected = WORDS.map(|word| (word.to_owned(), (word.len(), 10)));
        assert_eq!(*answers.lock().unwrap(), expected.into());
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_stops_the_launch() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        drop(listener);
        let (topology, _) = app(server);
        let launched = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await;
        let sentence = launched.expect_err("nobody listens").to_string();
        assert!(sentence.starts_with(&format!("`look-up` could not start: no dictionary at {server}: ")));
    }
}

//! Where the log of a test is: what is demanded of a topology on a data directory is demanded of it on a broker as well.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use topo::embedded::{EmbeddedConfig, EmbeddedLog};
use topo_connectors::kafka::{KafkaConfig, KafkaLog};
use topo_core::log::{Log, TopicPartition};
use topo_core::schedule::TokioScheduler;

use crate::broker::Broker;
use crate::topo::BROKER_FILE;

/// A directory with a log, and with room for what a test has beside it.
pub(crate) struct Place {
    dir: TempDir,
    /// The broker that has the log open, and its address; without one, the command opens it.
    broker: Option<(Broker, SocketAddr)>,
}

impl Place {
    /// A data directory that the command opens by itself.
    pub(crate) fn embedded() -> Self {
        Self { dir: tempfile::tempdir().expect("a directory for temporary files"), broker: None }
    }

    /// A broker in a process of its own.
    pub(crate) fn served() -> Self {
        let mut place = Self::embedded();
        place.serve("127.0.0.1:0");
        place
    }

    fn serve(&mut self, listen: &str) {
        let broker = Broker::start(&self.data_dir(), &["--listen", listen]);
        let address = broker.addresses()[0];
        fs::write(self.dir.path().join(BROKER_FILE), address.to_string()).expect("room for a test");
        self.broker = Some((broker, address));
    }

    /// What the command is told: the data directory, or the directory that names the broker.
    pub(crate) fn log(&self) -> PathBuf {
        if self.broker.is_some() { self.dir.path().to_owned() } else { self.data_dir() }
    }

    /// Where the log's files are, whoever has them open.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes a file beside the log.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        fs::write(&file, text).expect("room for a test");
        file
    }

    /// Kills the broker, if there is one, and starts another one on its data and its port.
    pub(crate) fn replace_broker(&mut self) {
        if let Some((broker, address)) = self.broker.take() {
            broker.kill();
            self.serve(&address.to_string());
        }
    }

    /// The log, to be looked at while no command runs. Of a data directory, a copy: the next command finds it as it is.
    pub(crate) async fn look(&self) -> Look {
        let Some((_, address)) = &self.broker else {
            let copy = self.dir.path().join("copy");
            let _ = fs::remove_dir_all(&copy);
            copy_dir(&self.data_dir(), &copy);
            let clock = Arc::new(TokioScheduler::current());
            let log = EmbeddedLog::open(&copy, EmbeddedConfig::default(), clock).expect("it recovers");
            return Look { log: Arc::new(log.clone()), embedded: Some(log) };
        };
        let brokers = format!("kafka://{address}").parse().expect("an address");
        let log = KafkaLog::connect(&brokers, KafkaConfig::default()).await.expect("the broker answers");
        Look { log: Arc::new(log), embedded: None }
    }

    /// What `group` has committed of partition 0 of `topic`; 0 for nothing.
    pub(crate) async fn committed(&self, group: &str, topic: &str) -> usize {
        let look = self.look().await;
        let committed = look.log.committed(group, &TopicPartition::new(topic, 0)).await;
        look.end().await;
        committed.expect("it is read").unwrap_or(0) as usize
    }

    /// Ends the broker, if there is one, as Ctrl-C does.
    pub(crate) fn end(self) {
        if let Some((broker, _)) = self.broker {
            let (code, rest) = broker.end();
            assert_eq!((code, &*rest), (Some(0), ""));
        }
    }
}

/// A log that is looked at.
pub(crate) struct Look {
    pub(crate) log: Arc<dyn Log>,
    embedded: Option<EmbeddedLog>,
}

impl Look {
    pub(crate) async fn end(self) {
        if let Some(log) = self.embedded {
            log.close().await.expect("it closes");
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("room for a test");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("it has a type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("room for a test");
        }
    }
}

//! The contract of a log, over the memory log, the embedded log, and a broker behind the Kafka client.

mod memory {
    use std::sync::Arc;

    use topo_core::schedule::TokioScheduler;
    use topo_tests::log_contract::Tried;
    use topo_tests::memory_log::MemoryLog;

    async fn open() -> (Tried, ()) {
        (Arc::new(MemoryLog::new(Arc::new(TokioScheduler::current()))), ())
    }

    topo_tests::log_contract!(open);
}

mod embedded {
    use std::sync::Arc;

    use topo::embedded::{EmbeddedConfig, EmbeddedLog};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::log_contract::Tried;

    async fn open() -> (Tried, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let clock = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default(), clock).expect("it is new");
        (Arc::new(log), dir)
    }

    topo_tests::log_contract!(open, brokers);
}

mod kafka {
    use std::sync::Arc;

    use topo_broker::{Broker, BrokerConfig, ListenAddress, Server, ServerConfig};
    use topo_connectors::kafka::{KafkaConfig, KafkaLog};
    use topo_tests::log_contract::Tried;

    async fn open() -> (Tried, (Server, tempfile::TempDir)) {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let broker = Broker::open(dir.path(), BrokerConfig::default()).expect("it is new");
        let config = ServerConfig { listen: vec![ListenAddress::localhost(0)], ..ServerConfig::default() };
        let server = Server::bind(broker, config).expect("a free port");
        let brokers = server.local_addrs()[0].to_string().parse().expect("an address");
        let log = KafkaLog::connect(&brokers, KafkaConfig::default()).await.expect("it listens");
        (Arc::new(log), (server, dir))
    }

    topo_tests::log_contract!(open, brokers);
}

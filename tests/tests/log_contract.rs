//! The contract of a log, over the memory log and the embedded log. The command's tests run it over a broker of its own.

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

//! The log of a run: in this process, or at a broker.

use std::sync::Arc;

use topo_broker::Broker;
#[cfg(feature = "kafka")]
use topo_connectors::kafka::{KafkaConfig, KafkaLog};
use topo_core::log::{Log, LogError};
use topo_core::schedule::TokioScheduler;

use super::RunError;
use super::options::{LogPlace, RunOptions};
use crate::embedded::EmbeddedLog;
use crate::status::LogGroups;

/// A log that is open.
pub(super) enum OpenLog {
    Embedded(Box<EmbeddedLog>),
    #[cfg(feature = "kafka")]
    Kafka(KafkaLog),
}

impl OpenLog {
    pub(super) async fn open(
        options: &RunOptions,
        scheduler: &Arc<TokioScheduler>,
    ) -> Result<Self, RunError> {
        match &options.broker {
            LogPlace::Embedded => {
                let clock = Arc::clone(scheduler) as _;
                let log = EmbeddedLog::open(&options.data_dir, options.embedded(), clock)?;
                Ok(Self::Embedded(Box::new(log)))
            }
            #[cfg(feature = "kafka")]
            LogPlace::Kafka(brokers) => {
                Ok(Self::Kafka(KafkaLog::connect(brokers, KafkaConfig::default()).await?))
            }
            #[cfg(not(feature = "kafka"))]
            LogPlace::Kafka(brokers) => Err(RunError::NoKafka(brokers.clone())),
        }
    }

    pub(super) fn log(&self) -> Arc<dyn Log> {
        match self {
            Self::Embedded(log) => Arc::new((**log).clone()),
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => Arc::new(log.clone()),
        }
    }

    pub(super) fn groups(&self) -> Arc<dyn LogGroups> {
        match self {
            Self::Embedded(log) => Arc::new((**log).clone()),
            #[cfg(feature = "kafka")]
            Self::Kafka(log) => Arc::new(log.clone()),
        }
    }

    /// The broker in this process.
    pub(super) fn broker(&self) -> Option<&Broker> {
        match self {
            Self::Embedded(log) => Some(log.broker()),
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => None,
        }
    }

    pub(super) async fn close(self) -> Result<(), LogError> {
        match self {
            Self::Embedded(log) => log.close().await,
            #[cfg(feature = "kafka")]
            Self::Kafka(_) => Ok(()),
        }
    }
}

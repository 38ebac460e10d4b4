//! Compacts partitions whose topics want it: one at a time, the one with the most to do first, and not too fast.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use topo_log::Compacted;

use super::{Broker, Shared};
use crate::error::BrokerError;
use crate::partition::Partition;
use crate::topic::TopicPartition;

/// How long compaction sleeps at most before it asks again whether it is still wanted.
const NAP: Duration = Duration::from_millis(50);

impl Broker {
    /// Compacts every partition where that is due by `now_ms`, in milliseconds since 1970, those first of which the most is
    /// new, and says what was done. What fails in one partition is logged, and keeps none of the others from theirs.
    ///
    /// # Errors
    /// The first partition's: every record that should be there is, and the next attempt may succeed.
    pub async fn compact(&self, now_ms: i64) -> Result<Vec<(TopicPartition, Compacted)>, BrokerError> {
        self.blocking(move |shared| {
            let (mut done, mut failed) = (Vec::new(), Ok(()));
            for partition in shared.compaction_due(now_ms) {
                match partition.compact(now_ms, &shared.pace()) {
                    Ok(Some(compacted)) => {
                        told(&partition, &compacted);
                        done.push((partition.at().clone(), compacted));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(partition = %partition.at(), %error, "compaction failed");
                        failed = failed.and(Err(error));
                    }
                }
            }
            failed.map(|()| done)
        })
        .await
    }

    /// Starts to call [`Broker::compact`] every `compaction_check_interval`, with what `wall_ms` says, until the broker is
    /// closed or dropped. Only the first call starts anything.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn keep_compaction(&self, wall_ms: impl Fn() -> i64 + Send + 'static) {
        if self.shared.compacted.swap(true, Ordering::Relaxed) {
            return;
        }
        let (weak, interval) = (Arc::downgrade(&self.shared), self.shared.config.compaction_check_interval);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(broker) = weak.upgrade().map(|shared| Self { shared }) else { return };
                if broker.is_closed() {
                    return;
                }
                // Logged where it failed.
                let _ = broker.compact(wall_ms()).await;
            }
        });
    }
}

impl Shared {
    /// The partitions to compact, those first of which the most is new.
    fn compaction_due(&self, now_ms: i64) -> Vec<Arc<Partition>> {
        let mut due = Vec::new();
        let compacted = self.registry.all().into_iter().filter(|topic| topic.config().cleanup.compacts());
        for partition in compacted.flat_map(|topic| topic.partitions().to_vec()) {
            match partition.compaction_due(now_ms) {
                Ok(Some(ratio)) => due.push((ratio, partition)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(partition = %partition.at(), %error, "compaction failed");
                }
            }
        }
        due.sort_by_key(|(ratio, _)| std::cmp::Reverse(*ratio));
        due.into_iter().map(|(_, partition)| partition).collect()
    }

    /// Waits where more than `compaction_bytes_per_second` were read so far.
    fn pace(&self) -> impl Fn(usize) -> bool {
        let rate = self.config.compaction_bytes_per_second.max(1) as f64;
        let (began, read) = (Instant::now(), Cell::new(0.0));
        move |bytes| {
            read.set(read.get() + bytes as f64);
            let due = Duration::try_from_secs_f64(read.get() / rate).unwrap_or(Duration::MAX);
            if let Some(early) = due.checked_sub(began.elapsed()).filter(|early| *early >= NAP / 10) {
                std::thread::sleep(early.min(NAP));
            }
            true
        }
    }
}

/// Says what was done.
fn told(partition: &Partition, compacted: &Compacted) {
    let Compacted { first_dirty, is_complete, segments_before, segments_after, .. } = *compacted;
    let Compacted { bytes_before, bytes_after, removed_records, opaque_batches, .. } = *compacted;
    tracing::info!(
        partition = %partition.at(),
        first_dirty,
        is_complete,
        segments_before,
        segments_after,
        bytes_before,
        bytes_after,
        removed_records,
        "compacted"
    );
    if opaque_batches > 0 {
        tracing::warn!(
            partition = %partition.at(),
            opaque_batches,
            "batches that cannot be decoded stay as they are, and with them every deletion behind them"
        );
    }
}

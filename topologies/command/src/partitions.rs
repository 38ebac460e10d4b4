//! Which partitions of a topic a verb works on.

use topo_core::log::{Log, LogError, Offsets, TopicPartition};

use crate::failure::Failure;
use crate::start_at::StartAt;

/// The partitions of `topic`, or the one that is asked for, with what each holds now. All are asked before anything is
/// done with one: what is appended meanwhile is not met.
///
/// # Errors
/// [`Failure::NoPartition`]; [`Failure::WhichPartition`] where `start` is an offset, which belongs to one partition, and
/// there are several; those of the log.
pub(crate) async fn partitions(
    log: &dyn Log,
    topic: &str,
    partition: Option<u32>,
    start: Option<StartAt>,
) -> Result<Vec<(TopicPartition, Offsets)>, Failure> {
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
    let (topic, partitions) = (topic.to_owned(), info.partitions);
    let numbers = match partition {
        Some(partition) if partition < partitions => partition..partition + 1,
        Some(partition) => return Err(Failure::NoPartition { topic, partition, partitions }),
        None if partitions > 1 && matches!(start, Some(StartAt::Offset(_))) => {
            return Err(Failure::WhichPartition { topic, partitions });
        }
        None => 0..partitions,
    };
    let mut held = Vec::new();
    for number in numbers {
        let at = TopicPartition::new(info.name.clone(), number);
        let offsets = log.offsets(&at).await?;
        held.push((at, offsets));
    }
    Ok(held)
}

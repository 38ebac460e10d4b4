//! Where a group goes on: its committed offsets moved, while nobody reads for it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use topo_core::log::{LogError, TopicPartition};

use super::super::Snapshots;

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Reset {
    topic: String,
    /// This partition only.
    partition: Option<u32>,
    /// `start`, `end`, `offset:N` or `time:MILLISECONDS`.
    to: String,
    /// Says what would be done, and does nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moved {
    partitions: Vec<PartitionMoved>,
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct PartitionMoved {
    partition: u32,
    from: Option<i64>,
    to: i64,
}

/// Why nothing was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResetError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("there is no group `{0}`")]
    NoGroup(String),
    #[error(
        "group `{0}` has members, which go on from where they are; stop the topology that reads for it first"
    )]
    HasMembers(String),
    #[error("`to` is start, end, offset:N or time:MILLISECONDS")]
    NoPlace,
}

/// Moves what `group` has committed.
pub(crate) async fn reset(source: &dyn Snapshots, group: &str, asked: &Reset) -> Result<Moved, ResetError> {
    let log = source.log().ok_or(LogError::Closed)?;
    let beyond = source.log_groups().ok_or(LogError::Closed)?;
    match beyond.has_members(group).await? {
        None => return Err(ResetError::NoGroup(group.to_owned())),
        Some(true) => return Err(ResetError::HasMembers(group.to_owned())),
        Some(false) => {}
    }
    let topic: Arc<str> = asked.topic.as_str().into();
    let info = log.topic(&topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.clone()))?;
    let numbers = match asked.partition {
        Some(number) if number >= info.partitions => {
            return Err(LogError::UnknownPartition(TopicPartition::new(topic, number)).into());
        }
        Some(number) => number..number + 1,
        None => 0..info.partitions,
    };
    let (mut moves, mut partitions) = (Vec::new(), Vec::new());
    for number in numbers {
        let at = TopicPartition::new(topic.clone(), number);
        let held = log.offsets(&at).await?;
        let to = match asked.to.split_once(':') {
            None if asked.to == "start" => held.log_start,
            None if asked.to == "end" => held.high_watermark,
            Some(("offset", offset)) => offset.parse().map_err(|_| ResetError::NoPlace)?,
            Some(("time", time)) => {
                let time = time.parse().map_err(|_| ResetError::NoPlace)?;
                log.offset_for_time(&at, time).await?.unwrap_or(held.high_watermark)
            }
            _ => return Err(ResetError::NoPlace),
        };
        let to = to.clamp(held.log_start, held.high_watermark);
        partitions.push(PartitionMoved { partition: number, from: log.committed(group, &at).await?, to });
        moves.push((at, to));
    }
    if !asked.dry_run {
        log.commit(group, &moves).await?;
    }
    Ok(Moved { partitions, dry_run: asked.dry_run })
}

//! DescribeLogDirs: how much partitions take in the data directory, and how much room there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{ApiKey, DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use nix::sys::statvfs::statvfs;

use super::{Handler, text, topic_partition};
use crate::server::{Call, Reply, Shared};
use crate::topic::Topic;

/// The API.
pub(crate) struct DescribeLogDirs;

/// Where the sizes of a file system belong that does not tell them.
const UNKNOWN_BYTES: i64 = -1;

impl Handler for DescribeLogDirs {
    type Request = DescribeLogDirsRequest;
    type Response = DescribeLogDirsResponse;
    const KEY: ApiKey = ApiKey::DescribeLogDirs;

    async fn handle(call: Call, request: DescribeLogDirsRequest) -> Reply<DescribeLogDirsResponse> {
        let server = &call.server;
        let asked = match request.topics {
            None => all(server),
            Some(topics) => {
                let mut asked = Asked::new();
                for topic in topics {
                    asked.entry(topic.topic).or_default().extend(topic.partitions);
                }
                asked
            }
        };
        let topics = asked.into_iter().filter_map(|(name, partitions)| {
            let partitions: Vec<_> =
                partitions.into_iter().filter_map(|index| describe(server, &name, index)).collect();
            let topic = DescribeLogDirsTopic::default().with_name(name);
            (!partitions.is_empty()).then(|| topic.with_partitions(partitions))
        });
        let (total, usable) = file_system(server).await.unwrap_or((UNKNOWN_BYTES, UNKNOWN_BYTES));
        let directory = DescribeLogDirsResult::default()
            .with_log_dir(text(server.broker.data_dir().display().to_string()))
            .with_topics(topics.collect())
            .with_total_bytes(total)
            .with_usable_bytes(usable);
        DescribeLogDirsResponse::default().with_results(vec![directory]).into()
    }
}

/// Bytes of the file system that the data directory is on: all, and those that may still be written.
async fn file_system(server: &Shared) -> Option<(i64, i64)> {
    let path = server.broker.data_dir().to_owned();
    // Of a network's file system, it may take its time.
    let asked = tokio::task::spawn_blocking(move || statvfs(&path)).await.ok()?.ok()?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(asked.fragment_size())).unwrap_or(i64::MAX);
    Some((bytes(asked.blocks()), bytes(asked.blocks_available())))
}

/// Partitions by their topics, each once.
type Asked = BTreeMap<TopicName, BTreeSet<i32>>;

fn all(server: &Shared) -> Asked {
    let topics = server.broker.topics();
    let named = |topic: &Arc<Topic>| {
        (TopicName(text(&**topic.name())), (0..topic.partition_count() as i32).collect())
    };
    topics.iter().map(named).collect()
}

/// What a partition takes; `None` for one that is not there, which is left out.
fn describe(server: &Shared, topic: &str, index: i32) -> Option<DescribeLogDirsPartition> {
    let bytes = server.broker.log_bytes(&topic_partition(topic, index)?).ok()?;
    let described = DescribeLogDirsPartition::default().with_partition_index(index);
    Some(described.with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

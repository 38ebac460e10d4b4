//! TxnOffsetCommit: what a group goes on from once the producer's transaction is committed.

use kafka_protocol::messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::Handler;
use super::join_group::arc;
use super::offset_commit::{Asked, offset};
use super::transaction_code::{instance, result_code};
use crate::clock::wall_ms;
use crate::groups::Claim;
use crate::server::{Call, Reply};

/// The API.
pub(crate) struct TxnOffsetCommit;

/// The first version that says which member commits.
const MEMBERS_FROM: i16 = 3;

impl Handler for TxnOffsetCommit {
    type Request = TxnOffsetCommitRequest;
    type Response = TxnOffsetCommitResponse;
    const KEY: ApiKey = ApiKey::TxnOffsetCommit;

    async fn handle(call: Call, request: TxnOffsetCommitRequest) -> Reply<TxnOffsetCommitResponse> {
        let broker = &call.server.broker;
        let now_ms = wall_ms();
        let mut offsets = Vec::new();
        // What cannot be committed keeps nothing else from it.
        let mut refused = Vec::new();
        for topic in &request.topics {
            for partition in &topic.partitions {
                let asked = Asked {
                    topic: &topic.name,
                    index: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_deref(),
                };
                match offset(broker, &asked, now_ms) {
                    Ok(offset) => {
                        offsets.push(offset);
                        refused.push(None);
                    }
                    Err(error) => refused.push(Some(error)),
                }
            }
        }
        let claim = match call.version {
            ..MEMBERS_FROM => Claim::nobody(),
            _ => Claim {
                member_id: arc(&request.member_id),
                instance_id: request.group_instance_id.as_ref().map(arc),
                generation: request.generation_id,
            },
        };
        let producer = instance(request.producer_id, request.producer_epoch);
        let (id, group) = (&request.transactional_id, &request.group_id);
        let committed = broker.transactions().commit_offsets(id, producer, group, &claim, &offsets).await;
        // In all versions clients take the older number for a producer that was fenced.
        let committed = result_code(&committed, false);
        let mut codes = refused.into_iter().map(|refused| refused.map_or(committed, |error| error.code()));
        let topics = request.topics.into_iter().map(|topic| answer(topic, &mut codes));
        TxnOffsetCommitResponse::default().with_topics(topics.collect()).into()
    }
}

fn answer(
    topic: TxnOffsetCommitRequestTopic,
    codes: &mut impl Iterator<Item = i16>,
) -> TxnOffsetCommitResponseTopic {
    let partitions = topic.partitions.into_iter().zip(codes).map(|(partition, code)| {
        TxnOffsetCommitResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(code)
    });
    TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
}

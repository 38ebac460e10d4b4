//! DescribeTransactions: where transactional ids stand, and what is part of their transactions.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    ApiKey, DescribeTransactionsRequest, DescribeTransactionsResponse, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::Handler;
use super::join_group::text;
use super::transaction_code::transaction_code;
use crate::server::{Call, Reply};
use crate::transactions::{TransactionDescription, Transactions};

/// The API.
pub(crate) struct DescribeTransactions;

impl Handler for DescribeTransactions {
    type Request = DescribeTransactionsRequest;
    type Response = DescribeTransactionsResponse;
    const KEY: ApiKey = ApiKey::DescribeTransactions;

    fn handle(
        call: Call,
        request: DescribeTransactionsRequest,
    ) -> impl Future<Output = Reply<DescribeTransactionsResponse>> + Send + 'static {
        let transactions = call.server.broker.transactions();
        let mut seen = HashSet::new();
        let asked = request.transactional_ids.into_iter().filter(|id| seen.insert(id.clone()));
        let described = asked.map(|id| describe(&transactions, id)).collect();
        std::future::ready(DescribeTransactionsResponse::default().with_transaction_states(described).into())
    }
}

fn describe(transactions: &Transactions, id: TransactionalId) -> TransactionState {
    let described = transactions.describe(&id);
    let response = TransactionState::default().with_transactional_id(id);
    let TransactionDescription { state, producer, timeout, started_ms, partitions } = match described {
        Ok(description) => description,
        Err(error) => return response.with_error_code(transaction_code(&error, true).code()),
    };
    let mut topics: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(partition.topic).or_default().push(partition.partition as i32);
    }
    let topic = |(topic, partitions): (Arc<str>, Vec<i32>)| {
        TopicData::default().with_topic(TopicName(text(&topic))).with_partitions(partitions)
    };
    response
        .with_transaction_state(StrBytes::from_static_str(state.name()))
        .with_transaction_timeout_ms(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX))
        .with_transaction_start_time_ms(started_ms.unwrap_or(-1))
        .with_producer_id(ProducerId(producer.producer_id))
        .with_producer_epoch(producer.epoch)
        .with_topics(topics.into_iter().map(topic).collect())
}

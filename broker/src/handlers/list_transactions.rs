//! ListTransactions: which transactional ids there are, of the states, producers and durations asked for.

use kafka_protocol::messages::list_transactions_response::TransactionState as Listed;
use kafka_protocol::messages::{
    ApiKey, ListTransactionsRequest, ListTransactionsResponse, ProducerId, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::join_group::text;
use super::{Handler, wall_ms};
use crate::server::{Call, Reply};
use crate::transactions::{TransactionListing, TransactionState};

/// The API.
pub(crate) struct ListTransactions;

impl Handler for ListTransactions {
    type Request = ListTransactionsRequest;
    type Response = ListTransactionsResponse;
    const KEY: ApiKey = ApiKey::ListTransactions;

    fn handle(
        call: Call,
        request: ListTransactionsRequest,
    ) -> impl Future<Output = Reply<ListTransactionsResponse>> + Send + 'static {
        let now_ms = wall_ms();
        let is_state = |name: &StrBytes| TransactionState::from_name(name).is_some();
        let wanted = |listing: &TransactionListing| {
            let states = &request.state_filters;
            let producers = &request.producer_id_filters;
            (states.is_empty() || states.iter().any(|state| **state == *listing.state.name()))
                && (producers.is_empty() || producers.contains(&ProducerId(listing.producer_id)))
                && (request.duration_filter < 0
                    || listing
                        .started_ms
                        .is_some_and(|started| now_ms.saturating_sub(started) > request.duration_filter))
        };
        let listed = |listing: TransactionListing| {
            Listed::default()
                .with_transactional_id(TransactionalId(text(&listing.transactional_id)))
                .with_producer_id(ProducerId(listing.producer_id))
                .with_transaction_state(StrBytes::from_static_str(listing.state.name()))
        };
        let all = call.server.broker.transactions().list();
        let response = ListTransactionsResponse::default()
            .with_transaction_states(all.into_iter().filter(wanted).map(listed).collect())
            .with_unknown_state_filters(
                request.state_filters.iter().filter(|name| !is_state(name)).cloned().collect(),
            );
        std::future::ready(response.into())
    }
}

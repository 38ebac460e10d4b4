//! The settings of a component that may be shown to whoever sees the page: a list of those that are known to hold no secret.

use std::time::Duration;

use crate::config::{Config, Delivery, StateBackend};
use crate::ledger::RootId;
use crate::metrics::ComponentKind;
use crate::topology::Component;

/// A setting and its value, both as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// What it is called in [`Config`] or on the component's handle.
    pub name: &'static str,
    /// Its value, with its unit.
    pub value: String,
}

/// What applies to `component`. Only what is named here is ever shown.
pub(crate) fn of(component: &Component, config: &Config) -> Vec<Setting> {
    let span = |time: Duration| format!("{time:?}");
    let timeout = |own: Option<Option<Duration>>, all: Option<Duration>| {
        own.unwrap_or(all).map_or_else(|| "never".to_owned(), span)
    };
    let mut settings = Vec::new();
    let mut add = |name, value| settings.push(Setting { name, value });
    add("tasks", component.tasks.to_string());
    add("delivery", delivery(config.delivery).to_owned());
    add("batch_size", format!("{} tuples", config.batch_size));
    add("max_batch_delay", span(config.max_batch_delay));
    if component.opens_trees {
        let max_pending = component.max_pending.unwrap_or(config.max_pending).clamp(1, RootId::MAX_SLOTS);
        add("max_pending", format!("{max_pending} trees"));
    }
    if component.kind == ComponentKind::Bolt {
        add("queue_tuples", format!("{} tuples", config.queue_tuples));
        add("queue_bytes", format!("{} bytes", config.queue_bytes));
        add("execute_timeout", timeout(component.execute_timeout, config.execute_timeout));
        add("hold_timeout", timeout(component.hold_timeout, config.hold_timeout));
        add("tick_every", component.tick.map_or_else(|| "never".to_owned(), span));
        add("tree_attempts", config.tree_attempts.to_string());
    }
    add("restart_delay", span(config.restart_delay));
    let backend = match config.state.backend {
        StateBackend::Memory => "memory",
        StateBackend::Disk { .. } => "disk",
    };
    add("state_backend", backend.to_owned());
    if config.delivery == Delivery::ExactlyOnce {
        add("transactions.interval", span(config.transactions.interval));
        add("transactions.batch_records", format!("{} trees", config.transactions.batch_records));
        add("transactions.batch_bytes", format!("{} bytes", config.transactions.batch_bytes));
        add("transactions.held_wait", span(config.transactions.held_wait));
        add("transactions.attempts", config.transactions.attempts.to_string());
    }
    settings
}

fn delivery(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::AtMostOnce => "at most once",
        Delivery::AtLeastOnce => "at least once",
        Delivery::ExactlyOnce => "exactly once",
    }
}

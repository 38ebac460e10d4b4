//! What a key's windows hold, for people who ask.

use serde::Serialize;

use super::aggregate::Aggregate;
use super::entry::Entry;
use super::fired::Outcome;
use super::plan::Plan;

/// More windows of a key are not shown: of those that overlap by the thousand, the next to end tell enough.
pub(super) const MOST: usize = 1_000;

/// What a key's windows hold: of each that is open the result that it would give now, and the results that were given and
/// are not done.
///
/// Made by what [`Engine::shows`](super::Engine::shows) gives, for [`State::show_as`](crate::state::State::show_as). Results
/// are as [`Fired`](super::Fired) has them, but for the key.
#[derive(Debug, Clone, Serialize)]
pub struct Shown<V> {
    /// Of each window that takes records, in the order of their ends; the first thousand.
    pub(super) windows: Vec<Outcome<V>>,
    /// In the order in which they were given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) undone: Vec<Outcome<V>>,
}

impl<S: Clone, V: Clone> Entry<S, V> {
    /// What there is to be shown of it.
    pub(super) fn show<A: Aggregate<Acc = S, Out = V>>(&self, plan: &Plan, aggregate: &A) -> Shown<V> {
        let mut windows = Vec::new();
        self.clone().look(plan, aggregate, &mut windows);
        let undone = self.awaiting.iter().map(|awaiting| awaiting.outcome.clone()).collect();
        Shown { windows, undone }
    }
}

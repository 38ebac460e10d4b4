//! What a window gives.

use serde::{Deserialize, Serialize};

use super::span::Window;

/// The result of one window of one key.
///
/// A window may give several, each in the place of the one before: `revision` counts them from 0. The last is the one that
/// counts; a sink that keeps one value per key and window, and drops those of `replaces`, has the right ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fired<K, V> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// The aggregate's result over the window's records.
    pub value: V,
    /// How the result stands to the watermark.
    pub kind: Kind,
    /// How many results of this window came before it.
    pub revision: u32,
    /// Windows that gave results before they grew into this one, or were merged into it by a later record. Only sessions
    /// do so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<Window>,
}

/// How a result stands to the watermark (the panes of Akidau et al., "The Dataflow Model", VLDB 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Before the watermark passed the window's end: more may come.
    Early,
    /// As the watermark passed the window's end, or as a window by count was full.
    OnTime,
    /// After it, because of a late record that is still allowed.
    Late,
}

/// Names a result until it is acknowledged; only within one engine, and not kept with the state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PaneId(pub u64);

/// A result without its key, as a key's entry keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Outcome<V> {
    pub(super) window: Window,
    pub(super) value: V,
    pub(super) kind: Kind,
    pub(super) revision: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) replaces: Vec<Window>,
}

impl<V> Outcome<V> {
    pub(super) fn of<K>(self, key: K) -> Fired<K, V> {
        let Self { window, value, kind, revision, replaces } = self;
        Fired { key, window, value, kind, revision, replaces }
    }
}

//! What a store keeps of one key.

/// A key's value and what the changelog knows of it.
#[derive(Debug)]
pub(super) struct Slot<V> {
    /// `None` where the key was removed, until the changelog has heard of it.
    pub(super) value: Option<V>,
    /// When the value was last written, in milliseconds since 1970; 0 where it lives for ever.
    pub(super) written_ms: i64,
    /// Whether the changelog may hold a value, so that a removal has to be told.
    pub(super) is_told: bool,
    /// Whether it was changed after the newest flush began.
    pub(super) is_dirty: bool,
    /// Whether it is part of a flush that has not ended.
    pub(super) is_flushing: bool,
    /// Whether it is among the store's `len`.
    pub(super) is_counted: bool,
    /// Whether the expiry will look at it.
    pub(super) is_watched: bool,
    /// Whether it was used since the cache last looked.
    pub(super) is_hot: bool,
    /// How often it was changed; now and then its size is taken.
    pub(super) changes: u32,
    /// What it takes of the cache, in bytes.
    pub(super) bytes: usize,
    /// How long the forms of key and value were that were flushed last, in bytes; 0 where nothing is kept.
    pub(super) form_bytes: u32,
}

impl<V> Slot<V> {
    pub(super) fn empty() -> Self {
        Self {
            value: None,
            written_ms: 0,
            is_told: false,
            is_dirty: false,
            is_flushing: false,
            is_counted: false,
            is_watched: false,
            is_hot: true,
            changes: 0,
            bytes: 0,
            form_bytes: 0,
        }
    }

    /// A value that the changelog holds.
    pub(super) fn restored(value: V, written_ms: i64) -> Self {
        Self { value: Some(value), written_ms, is_told: true, is_counted: true, ..Self::empty() }
    }

    /// The value, unless it is older than it may get.
    pub(super) fn live(&self, oldest_ms: i64) -> Option<&V> {
        self.value.as_ref().filter(|_| self.written_ms > oldest_ms)
    }

    pub(super) fn is_expired(&self, oldest_ms: i64) -> bool {
        self.written_ms <= oldest_ms
    }

    /// Whether nothing of it has to be kept.
    pub(super) fn is_void(&self) -> bool {
        self.value.is_none() && !self.is_told && !self.is_dirty && !self.is_flushing
    }
}

/// A key that was changed, and what it was before.
#[derive(Debug)]
pub(super) struct Change<K, V> {
    pub(super) key: K,
    /// The value and when it was written; `None` where nothing is to be taken back from memory.
    pub(super) before: Option<(Option<V>, i64)>,
    /// Whether it was counted.
    pub(super) was_counted: bool,
}

//! When which keys of a store in memory are to be looked at, because they may have outlived their time.
//!
//! Invariant: a key that is watched is in one bucket. It is not moved when it is written again: it is looked at too early
//! then, and put in its later place.

use std::collections::BTreeMap;

/// Keys by the time, in milliseconds since 1970, at which to look at them.
#[derive(Debug)]
pub(super) struct Expiry<K> {
    buckets: BTreeMap<i64, Vec<K>>,
}

impl<K> Expiry<K> {
    pub(super) fn new() -> Self {
        Self { buckets: BTreeMap::new() }
    }

    /// Watches `key`, whose value may be dropped at `at_ms` or a 256th of `ttl_ms` later: so near times share a bucket.
    pub(super) fn watch(&mut self, key: K, at_ms: i64, ttl_ms: i64) {
        let grain = (ttl_ms / 256).max(1);
        let rounded = at_ms.saturating_add(grain - 1).div_euclid(grain).saturating_mul(grain);
        self.buckets.entry(rounded.max(at_ms)).or_default().push(key);
    }

    /// The keys of a bucket whose time has come; they are watched no more.
    pub(super) fn due(&mut self, now_ms: i64) -> Option<Vec<K>> {
        let bucket = self.buckets.first_entry().filter(|bucket| *bucket.key() <= now_ms)?;
        Some(bucket.remove())
    }
}

//! A stream at its source.

use std::ops::Deref;

use topo_core::DataStream;

/// A stream as it comes from its topic; dereferences to the [`DataStream`].
#[derive(Debug, Clone)]
pub struct Source<T> {
    stream: DataStream<T>,
}

impl<T> Source<T> {
    pub(super) fn new(stream: DataStream<T>) -> Self {
        Self { stream }
    }
}

impl<T> Deref for Source<T> {
    type Target = DataStream<T>;

    fn deref(&self) -> &DataStream<T> {
        &self.stream
    }
}

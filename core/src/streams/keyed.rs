//! A keyed stream: what needs all values of a key in one place.

use super::data_stream::DataStream;
use super::key::KeySelector;
use crate::tuple::Tuple;

/// A stream whose values have keys: those of a key are handled by one task, in the order in which they come.
#[derive(Debug, Clone)]
pub struct KeyedStream<T, S> {
    stream: DataStream<T>,
    key: S,
}

impl<T: Tuple, S: KeySelector<T>> KeyedStream<T, S> {
    pub(super) fn new(stream: DataStream<T>, key: S) -> Self {
        Self { stream, key }
    }
}

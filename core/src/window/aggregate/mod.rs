//! What is computed over the records of a window.
//!
//! An aggregate lifts a record into an accumulator, merges accumulators, and lowers one to its result, so that slices that
//! windows share are aggregated once (Tangwongsan et al., "General Incremental Sliding-Window Aggregation", VLDB 2015).

mod collect;
mod extreme;
mod pair;
mod reduce;
mod sum;

pub use collect::{Collect, Distinct, Top, collect, distinct, top};
pub use extreme::{Max, Min, max, min};
pub use reduce::{Fold, Reduce, fold, reduce};
pub use sum::{Average, Count, Number, Sum, average, count, sum};

use crate::tuple::Tuple;

/// An aggregate over the records of a window.
///
/// `merge` is associative: of three accumulators in the order of time, it does not matter which two are merged first. It
/// need not be commutative, except where records come out of the order of their times. An accumulator always holds at
/// least one record.
///
/// Pairs, triples and quadruples of aggregates over the same records are aggregates, whose result is a tuple.
///
/// ```
/// use topo_core::window::Aggregate;
///
/// /// The range of the readings.
/// struct Range;
///
/// impl Aggregate for Range {
///     type In = i64;
///     type Acc = (i64, i64);
///     type Out = i64;
///
///     fn start(&self, first: i64) -> (i64, i64) {
///         (first, first)
///     }
///     fn merge(&self, range: &mut (i64, i64), other: &(i64, i64)) {
///         *range = (range.0.min(other.0), range.1.max(other.1));
///     }
///     fn result(&self, range: &(i64, i64)) -> i64 {
///         range.1.saturating_sub(range.0)
///     }
/// }
/// ```
pub trait Aggregate: Send + 'static {
    /// A record.
    type In: Send + 'static;
    /// What has been gathered of one record or more; it is kept as state, and may travel between tasks.
    type Acc: Tuple;
    /// The result.
    type Out: Tuple;

    /// The accumulator of one record.
    fn start(&self, first: Self::In) -> Self::Acc;

    /// Adds a record. Called once per record, however many windows cover it.
    #[inline]
    fn add(&self, acc: &mut Self::Acc, next: Self::In) {
        self.merge(acc, &self.start(next));
    }

    /// Adds what another accumulator has gathered, of later records where times are in order.
    fn merge(&self, acc: &mut Self::Acc, later: &Self::Acc);

    /// The result of what has been gathered.
    fn result(&self, acc: &Self::Acc) -> Self::Out;
}

#[cfg(test)]
pub(super) mod tests {
    use super::Aggregate;

    /// The result over `values`, which must not depend on how they are split, nor change as it is written and read.
    pub(in crate::window) fn over<A: Aggregate<In: Clone>, const N: usize>(
        aggregate: &A,
        values: [A::In; N],
    ) -> A::Out {
        let added = |values: &[A::In]| {
            let mut acc = aggregate.start(values[0].clone());
            values[1..].iter().for_each(|value| aggregate.add(&mut acc, value.clone()));
            acc
        };
        let whole = added(&values);
        let bytes = |out: &A::Out| rmp_serde::to_vec_named(out).unwrap();
        let result = aggregate.result(&whole);
        for split in 1..N {
            let mut acc = added(&values[..split]);
            aggregate.merge(&mut acc, &added(&values[split..]));
            let kept: A::Acc = rmp_serde::from_slice(&rmp_serde::to_vec_named(&acc).unwrap()).unwrap();
            assert_eq!(bytes(&aggregate.result(&kept)), bytes(&result), "split at {split}");
        }
        result
    }
}

//! Aggregates that are given as functions.

use std::marker::PhantomData;

use super::Aggregate;
use crate::tuple::Tuple;

/// Two records made one, again and again.
#[derive(Debug)]
pub struct Reduce<T, F>(F, PhantomData<fn(T)>);

/// Makes two records one, again and again; `two` is associative.
pub fn reduce<T, F: Fn(T, T) -> T>(two: F) -> Reduce<T, F> {
    Reduce(two, PhantomData)
}

impl<T, F: Clone> Clone for Reduce<T, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T: Tuple, F: Fn(T, T) -> T + Send + 'static> Aggregate for Reduce<T, F> {
    type In = T;
    type Acc = T;
    type Out = T;

    #[inline]
    fn start(&self, first: T) -> T {
        first
    }
    #[inline]
    fn add(&self, acc: &mut T, next: T) {
        *acc = (self.0)(acc.clone(), next);
    }
    #[inline]
    fn merge(&self, acc: &mut T, later: &T) {
        *acc = (self.0)(acc.clone(), later.clone());
    }
    fn result(&self, acc: &T) -> T {
        acc.clone()
    }
}

/// A value that each record changes.
#[derive(Debug)]
pub struct Fold<S, T, F, M> {
    initial: S,
    step: F,
    merge: M,
    records: PhantomData<fn(T)>,
}

impl<S: Clone, T, F: Clone, M: Clone> Clone for Fold<S, T, F, M> {
    fn clone(&self) -> Self {
        let Self { initial, step, merge, .. } = self;
        Self { initial: initial.clone(), step: step.clone(), merge: merge.clone(), records: PhantomData }
    }
}

/// Changes a copy of `initial` by `step` with each record. `merge` adds what another fold, also from `initial`, has come
/// to: sliding windows and sessions, which may be merged, need it.
///
/// ```
/// use topo_core::window::aggregate::{Aggregate, fold};
///
/// let longest = fold(0, |longest: &mut usize, line: String| *longest = line.len().max(*longest), |a, b| *a = (*a).max(*b));
/// let mut acc = longest.start("abc".to_owned());
/// longest.add(&mut acc, "ab".to_owned());
/// assert_eq!(longest.result(&acc), 3);
/// ```
pub fn fold<S, T, F: Fn(&mut S, T), M: Fn(&mut S, &S)>(initial: S, step: F, merge: M) -> Fold<S, T, F, M> {
    Fold { initial, step, merge, records: PhantomData }
}

impl<S, T, F, M> Aggregate for Fold<S, T, F, M>
where
    S: Tuple,
    T: Send + 'static,
    F: Fn(&mut S, T) + Send + 'static,
    M: Fn(&mut S, &S) + Send + 'static,
{
    type In = T;
    type Acc = S;
    type Out = S;

    fn start(&self, first: T) -> S {
        let mut acc = self.initial.clone();
        (self.step)(&mut acc, first);
        acc
    }
    #[inline]
    fn add(&self, acc: &mut S, next: T) {
        (self.step)(acc, next);
    }
    fn merge(&self, acc: &mut S, later: &S) {
        (self.merge)(acc, later);
    }
    fn result(&self, acc: &S) -> S {
        acc.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::over;
    use super::*;

    #[test]
    fn functions_aggregate() {
        assert_eq!(over(&reduce(|a: String, b: String| a + &b), ["a", "b", "c"].map(str::to_owned)), "abc");
        let digits = fold(
            String::new(),
            |all: &mut String, digit: u8| all.push_str(&digit.to_string()),
            |a, b| a.push_str(b),
        );
        assert_eq!(over(&digits, [1, 2, 3]), "123");
    }
}

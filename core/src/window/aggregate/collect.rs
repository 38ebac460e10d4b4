//! Aggregates that keep records: all, each different one, or the largest. Their accumulators grow with what they keep.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use super::Aggregate;
use crate::tuple::Tuple;

/// All records, as a list.
#[derive(Debug)]
pub struct Collect<T>(PhantomData<fn(T)>);

/// All records, in the order of arrival within a slice of the windows, and of slices by time.
pub fn collect<T>() -> Collect<T> {
    Collect(PhantomData)
}

impl<T> Clone for Collect<T> {
    fn clone(&self) -> Self {
        collect()
    }
}

impl<T: Tuple> Aggregate for Collect<T> {
    type In = T;
    type Acc = Vec<T>;
    type Out = Vec<T>;

    fn start(&self, first: T) -> Vec<T> {
        vec![first]
    }
    fn add(&self, all: &mut Vec<T>, next: T) {
        all.push(next);
    }
    fn merge(&self, all: &mut Vec<T>, later: &Vec<T>) {
        all.extend_from_slice(later);
    }
    fn result(&self, all: &Vec<T>) -> Vec<T> {
        all.clone()
    }
}

/// Each different value once.
#[derive(Debug)]
pub struct Distinct<T, F>(F, PhantomData<fn(T)>);

/// Each different value that `of` takes from the records, exactly, in order; `len()` of it is how many there are.
pub fn distinct<T, V, F: Fn(T) -> V>(of: F) -> Distinct<T, F> {
    Distinct(of, PhantomData)
}

impl<T, F: Clone> Clone for Distinct<T, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T: Send + 'static, V: Ord + Tuple, F: Fn(T) -> V + Send + 'static> Aggregate for Distinct<T, F> {
    type In = T;
    type Acc = BTreeSet<V>;
    type Out = BTreeSet<V>;

    fn start(&self, first: T) -> BTreeSet<V> {
        BTreeSet::from([(self.0)(first)])
    }
    fn add(&self, set: &mut BTreeSet<V>, next: T) {
        set.insert((self.0)(next));
    }
    fn merge(&self, set: &mut BTreeSet<V>, later: &BTreeSet<V>) {
        for value in later {
            if !set.contains(value) {
                set.insert(value.clone());
            }
        }
    }
    fn result(&self, set: &BTreeSet<V>) -> BTreeSet<V> {
        set.clone()
    }
}

/// The records with the largest of something.
#[derive(Debug)]
pub struct Top<T, F> {
    n: usize,
    by: F,
    records: PhantomData<fn(T)>,
}

/// The `n` records of which `by` is largest, the largest first; of equals, those that came first.
pub fn top<T, V, F: Fn(&T) -> V>(n: usize, by: F) -> Top<T, F> {
    Top { n, by, records: PhantomData }
}

impl<T, F: Clone> Clone for Top<T, F> {
    fn clone(&self) -> Self {
        Self { n: self.n, by: self.by.clone(), records: PhantomData }
    }
}

impl<T: Tuple, V: Ord, F: Fn(&T) -> V + Send + 'static> Top<T, F> {
    fn place(&self, best: &mut Vec<T>, record: &T) {
        let value = (self.by)(record);
        let at = best.partition_point(|other| (self.by)(other) >= value);
        if at < self.n {
            best.truncate(self.n - 1);
            best.insert(at, record.clone());
        }
    }
}

impl<T: Tuple, V: Ord, F: Fn(&T) -> V + Send + 'static> Aggregate for Top<T, F> {
    type In = T;
    type Acc = Vec<T>;
    type Out = Vec<T>;

    fn start(&self, first: T) -> Vec<T> {
        if self.n == 0 { Vec::new() } else { vec![first] }
    }
    fn add(&self, best: &mut Vec<T>, next: T) {
        self.place(best, &next);
    }
    fn merge(&self, best: &mut Vec<T>, later: &Vec<T>) {
        later.iter().for_each(|record| self.place(best, record));
    }
    fn result(&self, best: &Vec<T>) -> Vec<T> {
        best.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::over;
    use super::*;

    #[test]
    fn lists_sets_and_the_largest() {
        assert_eq!(over(&collect(), [3, 1, 3]), [3, 1, 3]);
        assert_eq!(over(&distinct(|n: u8| n % 10), [13, 1, 3, 21]), BTreeSet::from([1, 3]));
        let longest = top(2, |word: &String| word.len());
        assert_eq!(over(&longest, ["a", "bb", "cc", "d", "eee"].map(str::to_owned)), ["eee", "bb"]);
        assert_eq!(over(&top(9, |n: &i32| *n), [1, 2]), [2, 1]);
        assert!(over(&top(0, |n: &i32| *n), [1, 2]).is_empty());
    }
}

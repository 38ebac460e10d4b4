//! Aggregates of numbers: how many, how much, and how much on average.

use std::marker::PhantomData;

use super::Aggregate;
use crate::tuple::Tuple;

/// How many records there are.
#[derive(Debug)]
pub struct Count<T>(PhantomData<fn(T)>);

/// How many records there are.
pub fn count<T>() -> Count<T> {
    Count(PhantomData)
}

impl<T> Clone for Count<T> {
    fn clone(&self) -> Self {
        count()
    }
}

impl<T: Send + 'static> Aggregate for Count<T> {
    type In = T;
    type Acc = u64;
    type Out = u64;

    #[inline]
    fn start(&self, _first: T) -> u64 {
        1
    }
    #[inline]
    fn merge(&self, count: &mut u64, later: &u64) {
        *count = count.saturating_add(*later);
    }
    fn result(&self, count: &u64) -> u64 {
        *count
    }
}

/// A number that can be summed: every integer up to 64 bits, and floats.
///
/// Integers are summed in 128 bits, so that no order of adding overflows; a total beyond the type is its largest or
/// smallest value. Floats are summed with the error carried along (Neumaier, "Rundungsfehleranalyse einiger Verfahren zur
/// Summation endlicher Summen", ZAMM 1974), so that the order of adding tells in the last digits at most.
pub trait Number: Copy + Tuple {
    /// What gathers the sum.
    type Sum: Tuple;

    /// The sum of this number alone.
    fn sum(self) -> Self::Sum;
    /// Adds another sum.
    fn add(sum: &mut Self::Sum, other: &Self::Sum);
    /// The sum as a number.
    fn total(sum: &Self::Sum) -> Self;
    /// The sum in floating point.
    fn float(sum: &Self::Sum) -> f64;
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl Number for $integer {
            type Sum = i128;

            #[inline]
            fn sum(self) -> i128 {
                self as i128
            }
            #[inline]
            fn add(sum: &mut i128, other: &i128) {
                *sum = sum.saturating_add(*other);
            }
            fn total(sum: &i128) -> Self {
                (*sum).clamp(Self::MIN as i128, Self::MAX as i128) as Self
            }
            fn float(sum: &i128) -> f64 {
                *sum as f64
            }
        }
    )*};
}
integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl Number for $float {
            /// The sum, and what rounding took from it.
            type Sum = (f64, f64);

            #[inline]
            fn sum(self) -> (f64, f64) {
                (f64::from(self), 0.0)
            }
            #[inline]
            fn add(sum: &mut (f64, f64), other: &(f64, f64)) {
                let (a, b) = (sum.0, other.0);
                let total = a + b;
                // Of an infinite total nothing was rounded away; the difference would be NaN.
                let lost = if !total.is_finite() {
                    0.0
                } else if a.abs() >= b.abs() {
                    (a - total) + b
                } else {
                    (b - total) + a
                };
                *sum = (total, sum.1 + other.1 + lost);
            }
            fn total(sum: &(f64, f64)) -> Self {
                (sum.0 + sum.1) as Self
            }
            fn float(sum: &(f64, f64)) -> f64 {
                sum.0 + sum.1
            }
        }
    )*};
}
floats!(f32, f64);

/// The sum of a number in each record.
#[derive(Debug)]
pub struct Sum<T, F>(F, PhantomData<fn(T)>);

/// The sum of what `of` takes from each record.
///
/// ```
/// use topo_core::window::aggregate::{Aggregate, sum};
///
/// let bytes = sum(|line: &String| line.len());
/// let mut total = bytes.start("ab".to_owned());
/// bytes.add(&mut total, "cde".to_owned());
/// assert_eq!(bytes.result(&total), 5);
/// ```
pub fn sum<T, N, F: Fn(&T) -> N>(of: F) -> Sum<T, F> {
    Sum(of, PhantomData)
}

impl<T, F: Clone> Clone for Sum<T, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T: Send + 'static, N: Number, F: Fn(&T) -> N + Send + 'static> Aggregate for Sum<T, F> {
    type In = T;
    type Acc = N::Sum;
    type Out = N;

    #[inline]
    fn start(&self, first: T) -> N::Sum {
        (self.0)(&first).sum()
    }
    #[inline]
    fn merge(&self, sum: &mut N::Sum, later: &N::Sum) {
        N::add(sum, later);
    }
    fn result(&self, sum: &N::Sum) -> N {
        N::total(sum)
    }
}

/// The mean of a number in each record.
#[derive(Debug)]
pub struct Average<T, F>(F, PhantomData<fn(T)>);

/// The arithmetic mean of what `of` takes from each record.
pub fn average<T, N, F: Fn(&T) -> N>(of: F) -> Average<T, F> {
    Average(of, PhantomData)
}

impl<T, F: Clone> Clone for Average<T, F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<T: Send + 'static, N: Number, F: Fn(&T) -> N + Send + 'static> Aggregate for Average<T, F> {
    type In = T;
    type Acc = (N::Sum, u64);
    type Out = f64;

    #[inline]
    fn start(&self, first: T) -> Self::Acc {
        ((self.0)(&first).sum(), 1)
    }
    #[inline]
    fn merge(&self, (sum, count): &mut Self::Acc, later: &Self::Acc) {
        N::add(sum, &later.0);
        *count = count.saturating_add(later.1);
    }
    fn result(&self, (sum, count): &Self::Acc) -> f64 {
        N::float(sum) / *count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::over;
    use super::*;

    #[test]
    fn integers_neither_wrap_nor_depend_on_the_order() {
        assert_eq!(over(&sum(|n: &i64| *n), [i64::MAX, i64::MAX, i64::MIN, i64::MIN, 5]), 3);
        assert_eq!(over(&sum(|n: &u64| *n), [u64::MAX, 1]), u64::MAX);
        assert_eq!(over(&sum(|n: &i8| *n), [-100, -100]), i8::MIN);
        assert_eq!(over(&average(|n: &i64| *n), [i64::MAX, i64::MAX]), i64::MAX as f64);
        assert_eq!(over(&average(|n: &u8| *n), [1, 2]), 1.5);
        assert_eq!(over(&count(), ["a", "b"]), 2);
    }

    #[test]
    fn floats_keep_what_rounding_takes() {
        assert_eq!(over(&sum(|n: &f64| *n), [1e100, 1.0, -1e100]), 1.0);
        assert_eq!(over(&sum(|n: &f64| *n), [f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(over(&sum(|n: &f64| *n), [f64::NAN, 1.0]).is_nan());
        assert_eq!(over(&sum(|n: &f32| *n), [0.5, 0.25]), 0.75);
    }
}

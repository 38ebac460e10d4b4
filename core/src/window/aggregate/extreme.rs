//! The smallest and the largest.

use std::marker::PhantomData;

use super::Aggregate;
use crate::tuple::Tuple;

macro_rules! extreme {
    ($type:ident, $make:ident, $word:literal, $better:tt) => {
        #[doc = concat!("The ", $word, " of a value in each record.")]
        #[derive(Debug)]
        pub struct $type<T, F>(F, PhantomData<fn(T)>);

        #[doc = concat!("The ", $word, " of what `of` takes from each record.")]
        ///
        /// A value that compares with nothing, as a float's NaN, gives way to any that does.
        pub fn $make<T, V, F: Fn(&T) -> V>(of: F) -> $type<T, F> {
            $type(of, PhantomData)
        }

        impl<T, F: Clone> Clone for $type<T, F> {
            fn clone(&self) -> Self {
                Self(self.0.clone(), PhantomData)
            }
        }

        impl<T, V, F> Aggregate for $type<T, F>
        where
            T: Send + 'static,
            V: PartialOrd + Tuple,
            F: Fn(&T) -> V + Send + 'static,
        {
            type In = T;
            type Acc = V;
            type Out = V;

            #[inline]
            fn start(&self, first: T) -> V {
                (self.0)(&first)
            }
            #[inline]
            fn merge(&self, best: &mut V, later: &V) {
                if *later $better *best || best.partial_cmp(&best).is_none() {
                    best.clone_from(later);
                }
            }
            fn result(&self, best: &V) -> V {
                best.clone()
            }
        }
    };
}
extreme!(Min, min, "smallest", <);
extreme!(Max, max, "largest", >);

#[cfg(test)]
mod tests {
    use super::super::tests::over;
    use super::*;

    #[test]
    fn a_value_that_compares_with_nothing_gives_way() {
        for values in [[f64::NAN, 2.0, 1.0], [2.0, f64::NAN, 1.0], [2.0, 1.0, f64::NAN]] {
            assert_eq!(over(&min(|n: &f64| *n), values), 1.0);
            assert_eq!(over(&max(|n: &f64| *n), values), 2.0);
        }
        assert!(over(&max(|n: &f64| *n), [f64::NAN]).is_nan());
        assert_eq!(over(&max(|s: &String| s.len()), ["a".to_owned(), "bcd".to_owned()]), 3);
    }
}

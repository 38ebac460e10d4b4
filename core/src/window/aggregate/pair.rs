//! Several aggregates over the same records.

use super::Aggregate;

macro_rules! together {
    ($($part:ident $index:tt),*; $last:ident $tail:tt) => {
        impl<T: Clone + Send + 'static, $($part: Aggregate<In = T>,)* $last: Aggregate<In = T>> Aggregate
            for ($($part,)* $last)
        {
            type In = T;
            type Acc = ($($part::Acc,)* $last::Acc);
            type Out = ($($part::Out,)* $last::Out);

            fn start(&self, first: T) -> Self::Acc {
                ($(self.$index.start(first.clone()),)* self.$tail.start(first))
            }
            fn add(&self, acc: &mut Self::Acc, next: T) {
                $(self.$index.add(&mut acc.$index, next.clone());)*
                self.$tail.add(&mut acc.$tail, next);
            }
            fn merge(&self, acc: &mut Self::Acc, later: &Self::Acc) {
                $(self.$index.merge(&mut acc.$index, &later.$index);)*
                self.$tail.merge(&mut acc.$tail, &later.$tail);
            }
            fn result(&self, acc: &Self::Acc) -> Self::Out {
                ($(self.$index.result(&acc.$index),)* self.$tail.result(&acc.$tail))
            }
        }
    };
}
together!(A 0; B 1);
together!(A 0, B 1; C 2);
together!(A 0, B 1, C 2; D 3);

#[cfg(test)]
mod tests {
    use super::super::tests::over;
    use super::super::{average, count, max, min};

    #[test]
    fn a_tuple_of_aggregates_gives_a_tuple_of_results() {
        let all = (count(), min(|n: &i32| *n), max(|n: &i32| *n), average(|n: &i32| *n));
        assert_eq!(over(&all, [4, 2, 6]), (3, 2, 6, 4.0));
        assert_eq!(over(&(count(), min(|n: &i32| *n)), [4, 2, 6]), (3, 2));
    }
}

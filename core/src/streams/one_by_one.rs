//! The steps that take values one by one and need no state.

use std::sync::Arc;

use super::data_stream::DataStream;
use super::each::Each;
use super::map_async::{MapAsync, Order};
use super::step::Step;
use crate::bolt::Bolt;
use crate::fail::Fail;
use crate::ports;
use crate::runtime::Emitter;
use crate::time::Timed;
use crate::topology::BoltHandle;
use crate::tuple::Tuple;

ports! {
    /// A stream split in two by a condition; see [`DataStream::branch`].
    pub struct Branches<T> {
        /// What meets the condition.
        matching: Timed<T>,
        /// The rest.
        others: Timed<T>,
    }
}

impl<T: Tuple> DataStream<T> {
    /// Makes one value of each.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let lengths = words.map(|word| word.len());
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn map<U: Tuple>(&self, map: impl Fn(T) -> U + Send + Sync + 'static) -> DataStream<U> {
        self.each("map", move |Timed { at, value }, out| {
            out.emit(Timed { at, value: map(value) });
            Ok(())
        })
    }

    /// As [`map`](Self::map), by a function that may fail: [`Fail::retry`] has the record replayed, [`Fail::reject`] gives it
    /// up to the dead letters.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let lines = stream::<String>(&topology, "lines");
    /// let numbers = lines.try_map(|line| line.parse::<i64>().map_err(|error| Fail::reject(error.to_string())));
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn try_map<U: Tuple>(
        &self,
        map: impl Fn(T) -> Result<U, Fail> + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.each("try-map", move |Timed { at, value }, out| {
            out.emit(Timed { at, value: map(value)? });
            Ok(())
        })
    }

    /// Makes one value of each by a function that awaits, such as a look-up over the network: at most `at_once` at a time in
    /// each task, whose results leave in `order`, each as soon as that lets it. A function that fails fails the tree, as for [`try_map`](Self::try_map).
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let users = stream::<u64>(&topology, "users");
    /// async fn look_up(user: u64) -> Result<String, Fail> {
    ///     // A request over the network; one that fails is tried again with the record.
    /// #   if user == 0 { return Err(Fail::retry("the directory does not answer")) }
    ///     Ok(format!("user {user}"))
    /// }
    ///
    /// let names = users.map_async(32, Order::Kept, look_up);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn map_async<U: Tuple, Fut>(
        &self,
        at_once: usize,
        order: Order,
        map: impl Fn(T) -> Fut + Send + Sync + 'static,
    ) -> DataStream<U>
    where
        Fut: Future<Output = Result<U, Fail>> + Send + 'static,
    {
        let map = Arc::new(map);
        let bolt = move || MapAsync::new(Arc::clone(&map), at_once, order);
        let step = self.subscribe(self.topology().rich_bolt(&self.step_name("map-async"), bolt));
        DataStream::of(&step)
    }

    /// Makes any number of values of each.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let lines = stream::<String>(&topology, "lines");
    /// let words = lines.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn flat_map<U: Tuple, I: IntoIterator<Item = U>>(
        &self,
        map: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.each("flat-map", move |Timed { at, value }, out| {
            map(value).into_iter().for_each(|value| out.emit(Timed { at, value }));
            Ok(())
        })
    }

    /// Keeps what meets `condition`.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let long = words.filter(|word| word.len() > 3);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn filter(&self, condition: impl Fn(&T) -> bool + Send + Sync + 'static) -> DataStream<T> {
        self.each("filter", move |timed, out| {
            if condition(&timed.value) {
                out.emit(timed);
            }
            Ok(())
        })
    }

    /// Makes a value of each, or none.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let lines = stream::<String>(&topology, "lines");
    /// let numbers = lines.filter_map(|line| line.parse::<i64>().ok());
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn filter_map<U: Tuple>(
        &self,
        map: impl Fn(T) -> Option<U> + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.each("filter-map", move |Timed { at, value }, out| {
            if let Some(value) = map(value) {
                out.emit(Timed { at, value });
            }
            Ok(())
        })
    }

    /// Looks at each as it passes.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// let long = words.inspect(|word| println!("{word}")).filter(|word| word.len() > 3);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn inspect(&self, look: impl Fn(&T) + Send + Sync + 'static) -> DataStream<T> {
        self.each("inspect", move |timed, out| {
            look(&timed.value);
            out.emit(timed);
            Ok(())
        })
    }

    /// Ends the stream: calls `act` with each. Done again where a record is replayed.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let words = stream::<String>(&topology, "words");
    /// words.for_each(|word| println!("{word}")).name("print").tasks(2);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn for_each(&self, act: impl Fn(T) + Send + Sync + 'static) -> Step {
        let step: BoltHandle<_, ()> = self.add(
            "for-each",
            Each::factory(move |timed: Timed<T>, _: &mut _| {
                act(timed.value);
                Ok(())
            }),
        );
        Step::from(step)
    }

    /// Splits by `condition`: first what meets it, then the rest.
    ///
    /// ```
    #[doc = include_str!("example/begin.md")]
    /// # let payments = stream::<(String, i64)>(&topology, "payments");
    /// let (refunds, sales) = payments.branch(|(_, cents)| *cents < 0);
    /// refunds.for_each(|(account, _)| println!("{account} has got money back"));
    /// let sold = sales.key_by(|(account, _)| account).sum(|(_, cents)| *cents);
    #[doc = include_str!("example/end.md")]
    /// ```
    pub fn branch(
        &self,
        condition: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) -> (DataStream<T>, DataStream<T>) {
        let step: BoltHandle<_, Branches<T>> = self.add(
            "branch",
            Each::factory(move |timed: Timed<T>, out: &mut Branches<T>| {
                if condition(&timed.value) {
                    out.matching.emit(timed)
                } else {
                    out.others.emit(timed)
                }
                Ok(())
            }),
        );
        (DataStream::of(&step.matching), DataStream::of(&step.others))
    }

    fn each<U: Tuple>(
        &self,
        kind: &str,
        step: impl Fn(Timed<T>, &mut Emitter<Timed<U>>) -> Result<(), Fail> + Send + Sync + 'static,
    ) -> DataStream<U> {
        let step: BoltHandle<_, Timed<U>> = self.add(kind, Each::factory(step));
        DataStream::of(&step)
    }

    fn add<B: Bolt<In = Timed<T>>>(
        &self,
        kind: &str,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> BoltHandle<B::In, B::Out> {
        let topology = self.topology();
        self.subscribe(topology.bolt(&self.step_name(kind), factory))
    }
}

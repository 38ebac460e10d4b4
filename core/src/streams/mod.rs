//! Streams as values: `map`, `key_by`, `window`, `count` on typed handles, each step a bolt of the same graph.
//!
//! # Streams
//!
//! A [`DataStream`] is a handle to what a component emits: values, each with the time at which it happened ([`Timed`](crate::Timed)). A
//! method of it adds a bolt that subscribes to it and gives the handle of what comes of that; nothing runs until the topology
//! is launched. So a stream may be used several times, and hand-written bolts and steps go together:
//! [`DataStream::of`] begins with any component that emits `Timed<T>`, [`DataStream::bolt`] goes on with a bolt. A step has a
//! name, such as `map-2`, and as many tasks as the one before; [`name`](DataStream::name) and [`tasks`](DataStream::tasks)
//! change the step that has just been added. What has state should be named: its state is found by that name when the
//! topology starts again, also where steps before it were added meanwhile. Each method has an example; `topology` in it is the
//! graph that it adds to.
//!
//! # Steps of one value
//!
//! | step | gives |
//! |---|---|
//! | [`map`](DataStream::map), [`try_map`](DataStream::try_map), [`map_async`](DataStream::map_async) | one value of each; by a function that may fail; by one that awaits |
//! | [`flat_map`](DataStream::flat_map) | any number of values of each |
//! | [`filter`](DataStream::filter), [`filter_map`](DataStream::filter_map) | what meets a condition; a value or none |
//! | [`inspect`](DataStream::inspect), [`for_each`](DataStream::for_each) | looks at each and lets it pass; ends the stream |
//! | [`branch`](DataStream::branch), [`merge`](DataStream::merge) | two streams of one, and one of two |
//! | [`repartition`](DataStream::repartition), [`broadcast`](DataStream::broadcast) | each to any task of the next step; each to all of them |
//!
//! # Keys
//!
//! [`key_by`](DataStream::key_by) says by which part of a value it belongs with others, [`key_by_value`](DataStream::key_by_value)
//! computes that. Values of one key are handled by one task, in the order in which they come. A [`KeyedStream`] has
//! aggregates that roll: each value gives the key's newest result.
//!
//! ```
#![doc = include_str!("example/begin.md")]
//! # let payments = stream::<(String, i64)>(&topology, "payments");
//! let balances = payments.key_by(|(account, _)| account).sum(|(_, cents)| *cents).name("balances").tasks(4);
//! let low = balances.filter(|(_, cents)| *cents < 0);
#![doc = include_str!("example/end.md")]
//! ```
//!
//! Besides [`count`](KeyedStream::count), [`sum`](KeyedStream::sum), [`min`](KeyedStream::min), [`max`](KeyedStream::max),
//! [`average`](KeyedStream::average), [`reduce`](KeyedStream::reduce), [`fold`](KeyedStream::fold),
//! [`top`](KeyedStream::top) and [`distinct`](KeyedStream::distinct) there is [`aggregate`](KeyedStream::aggregate), which
//! takes any [`Aggregate`](crate::window::Aggregate), a tuple of several among them. Windows have the same, over the values of
//! each window.
//!
//! # Event time and watermarks
//!
//! Windows go by when things happened, not by when they are worked on, so that a replay counts as the first run did. How far
//! event time has come is the [`Watermark`](crate::Watermark): whatever is earlier has come. It arises at the source, which alone knows what
//! awaits its replay: it is as far as the latest record, less the disorder that is allowed for, and never past a record that
//! is not done. A step has come as far as the last of those before it; one that has nothing to say is not waited for.
//!
//! # Windows
//!
//! [`window`](KeyedStream::window) cuts a keyed stream into [`tumbling`](crate::window::tumbling),
//! [`sliding`](crate::window::sliding), [`session`](crate::window::session), [`count`](crate::window::count) or
//! [`global`](crate::window::global) windows. Each gives one result per key, a [`Fired`](crate::window::Fired), as the watermark
//! passes its end.
//!
//! ```
//! # use std::sync::{Arc, Mutex};
//! # use std::time::Duration;
//! # use topo_core::{Config, EventTime, Fault, Next, Spout, SpoutEmitter, Timed, Watermark};
//! # use topo_core::schedule::Seeded;
//! use topo_core::{DataStream, Topology};
//! # struct Words(usize);
//! # const WORDS: [(i64, &str); 4] = [(1_000, "to"), (3_000, "be"), (4_000, "to"), (11_000, "be")];
//! # impl Spout for Words {
//! #     type Out = Timed<String>;
//! #     type Id = usize;
//! #     fn next(&mut self, out: &mut SpoutEmitter<Timed<String>, usize>) -> Result<Next, Fault> {
//! #         let Some((at, word)) = WORDS.get(self.0) else { return Ok(Next::Finished) };
//! #         out.emit_with(self.0, Timed { at: *at, value: (*word).to_owned() })?;
//! #         self.0 += 1;
//! #         Ok(Next::Emitted)
//! #     }
//! #     fn watermark(&self) -> Option<EventTime> {
//! #         Some(EventTime::at(self.0.checked_sub(1).map_or(Watermark::MIN, |last| Watermark(WORDS[last].0))))
//! #     }
//! # }
//!
//! // "to" at second 1, "be" at 3, "to" at 4, "be" at 11.
//! let topology = Topology::new("counts");
//! let words = DataStream::of(&topology.spout("words", || Words(0)));
//! let counts = words.key_by(|word| word).window(Duration::from_secs(10)).count().name("counts");
//! # let seen = Arc::new(Mutex::new(Vec::new()));
//! # let told = Arc::clone(&seen);
//! counts.for_each(move |fired| {
//!     println!("{} {}: {}", fired.window, fired.key, fired.value);
//! #   told.lock().unwrap().push((fired.key.clone(), fired.value));
//! });
//! # let scheduler = Seeded::new(1);
//! # scheduler.block_on(async {
//! #     let running = topology.launch(scheduler.clone(), Config::default()).await.unwrap();
//! #     running.finished().await;
//! #     running.end_time().await;
//! # });
//! # let mut seen = seen.lock().unwrap().clone();
//! # seen.sort();
//! // 0..10000 to: 2
//! // 0..10000 be: 1
//! // 10000..20000 be: 1
//! # assert_eq!(seen, [("be".into(), 1), ("be".into(), 1), ("to".into(), 2)]);
//! # Ok::<(), topo_core::BuildError>(())
//! ```
//!
//! - [`trigger`](WindowedStream::trigger) gives results early, after so many values or at an interval.
//! - [`allowed_lateness`](WindowedStream::allowed_lateness) lets windows take what comes behind the watermark; each such value
//!   gives an updated result, with the next `revision`. What is later than that is in [`late`](WindowResults::late).
//! - [`partial`](WindowedStream::partial) aggregates before the shuffle, with the same results and the same late values.
//! - Where the input ends, with `--until-idle`, the launcher brings event time to its end. First it goes as far as the values
//!   say: windows that end by then are complete, and event timers that are due by then are called. Then windows give what
//!   they have, as if early, and keep it for the next run; a timer that is due later stays set for it.
//!
//! # State
//!
//! What steps keep of keys (counts, open windows, timers, results that are not done) is keyed [`state`](crate::state): it is
//! written to a topic before offsets are committed, is restored at the next start, on any number of tasks, and can be asked
//! for while the topology runs. Windows and timers that are open are in memory besides, wherever state lives: a key of a window
//! takes some hundreds of bytes more than one of an aggregate that rolls.
//!
//! # Functions of your own
//!
//! [`process`](KeyedStream::process) runs a [`Process`] over a keyed stream: it keeps state, and sets timers in event time and
//! by the machine's clock.
//!
//! # Delivery
//!
//! Every value is done at least once. A step that rolls or only passes on answers for its input once all that came of it is
//! done; what fails on the way is replayed from the source, and may be counted again by steps that had it already. A window
//! answers for its inputs as it takes them in; its result is a tree of its own, which is emitted until it is done. So is the
//! first value of a key that [`distinct`](KeyedStream::distinct) lets pass.

mod combining;
mod data_stream;
mod each;
mod first;
mod intake;
mod key;
mod keyed;
mod map_async;
mod marks;
mod one_by_one;
mod per_batch;
mod process;
mod processing;
mod rolling;
mod shelf;
mod step;
mod windowed;
mod windowing;

pub use data_stream::DataStream;
pub use key::{ByReference, ByValue, KeySelector};
pub use keyed::KeyedStream;
pub use map_async::Order;
pub use one_by_one::Branches;
pub use process::{Process, ProcessContext, Timer};
pub use step::Step;
pub use windowed::{WindowResults, WindowedStream};
pub use windowing::Windowed;

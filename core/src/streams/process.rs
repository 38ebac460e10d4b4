//! A keyed function of the user's own, with timers.

use std::fmt;
use std::future::{Future, ready};

use crate::context::TaskContext;
use crate::fail::Fail;
use crate::runtime::Emitter;
use crate::spout::Fault;
use crate::state::Key;
use crate::time::{Timed, Watermark};
use crate::tuple::Tuple;
use crate::window::{Clock, Timers};

/// What is done with each value of a keyed stream, and as timers that it has set for a key are due; for
/// [`KeyedStream::process`](super::KeyedStream::process) (Flink's `KeyedProcessFunction`, Kafka Streams' `Processor`).
///
/// Timers in event time are due as the watermark reaches them, those by the machine's clock as that does. Where the input
/// ends, with `--until-idle`, event time goes as far as the values say, and no further: timers that are due by then are called,
/// later ones, and those by the clock that are not due, stay set for the next run.
///
/// What it remembers of a key belongs into a [`State`](crate::state::State) that it opens in `prepare`; timers are state, too.
/// Both outlive the process. A call that fails keeps what it changed, and comes again: change last, or so that it can be
/// changed again.
///
/// ```
/// use topo_core::state::State;
/// use topo_core::window::Clock;
/// use topo_core::{DataStream, Fail, Fault, Process, ProcessContext, TaskContext, Timed, Timer, Topology};
/// # use std::sync::{Arc, Mutex};
/// # use topo_core::{Config, EventTime, Next, Spout, SpoutEmitter, Watermark};
/// # use topo_core::schedule::Seeded;
/// # const BEATS: [(i64, &str); 4] = [(0, "pump"), (30_000, "fan"), (50_000, "pump"), (100_000, "pump")];
/// # struct Beats(usize);
/// # impl Spout for Beats {
/// #     type Out = Timed<String>;
/// #     type Id = usize;
/// #     fn next(&mut self, out: &mut SpoutEmitter<Timed<String>, usize>) -> Result<Next, Fault> {
/// #         let Some((at, device)) = BEATS.get(self.0) else { return Ok(Next::Finished) };
/// #         out.emit_with(self.0, Timed { at: *at, value: (*device).to_owned() })?;
/// #         self.0 += 1;
/// #         Ok(Next::Emitted)
/// #     }
/// #     fn watermark(&self) -> Option<EventTime> {
/// #         Some(EventTime::at(self.0.checked_sub(1).map_or(Watermark::MIN, |last| Watermark(BEATS[last].0))))
/// #     }
/// # }
///
/// /// Names each device that has sent nothing for a minute.
/// #[derive(Default)]
/// struct Silent(Option<State<String, i64>>);
///
/// impl Process for Silent {
///     type Key = String;
///     type In = String;
///     type Out = String;
///
///     async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
///         self.0 = Some(task.state("alarms").await?);
///         Ok(())
///     }
///
///     fn process(&mut self, _: Timed<String>, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
///         let alarms = self.0.as_mut().ok_or_else(|| Fail::retry("not prepared"))?;
///         let alarm = context.at() + 60_000;
///         let before = alarms.get(context.key())?;
///         if before.is_none_or(|before| before < alarm) {
///             before.into_iter().for_each(|before| context.delete_timer(Clock::Event, before));
///             context.set_timer(Clock::Event, alarm);
///             alarms.put(context.key().clone(), alarm)?;
///         }
///         Ok(())
///     }
///
///     fn on_timer(&mut self, _: Timer, context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
///         context.emit(context.key().clone());
///         Ok(())
///     }
/// }
///
/// // "pump" at second 0, "fan" at 30, "pump" at 50 and 100.
/// let topology = Topology::new("alarms");
/// let beats = DataStream::of(&topology.spout("beats", || Beats(0)));
/// let silent = beats.key_by(|device| device).process(Silent::default).name("silent");
/// # let seen = Arc::new(Mutex::new(Vec::new()));
/// # let told = Arc::clone(&seen);
/// silent.for_each(move |device| {
///     println!("{device} is silent");
/// #   told.lock().unwrap().push(device);
/// });
/// # let scheduler = Seeded::new(1);
/// # scheduler.block_on(async {
/// #     let running = topology.launch(scheduler.clone(), Config::default()).await.unwrap();
/// #     running.finished().await;
/// #     running.end_time().await;
/// # });
/// // fan is silent
/// # assert_eq!(*seen.lock().unwrap(), ["fan"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function that `process` can run",
    note = "implement `Process` for it, and pass a factory that makes one per task: `keyed.process(|| MyFunction::new())`"
)]
pub trait Process: Send + 'static {
    /// The stream's key.
    type Key: Key;
    /// The stream's values.
    type In: Tuple;
    /// What it emits.
    type Out: Tuple;

    /// Called once before the first value; states are opened here.
    ///
    /// # Errors
    /// An error at launch stops the topology; later, the function is tried again after a delay.
    fn prepare(&mut self, _task: &TaskContext) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Takes a value. What it emits belongs to the value's tree.
    ///
    /// # Errors
    /// [`Fail::Retry`] has the value's root replayed, [`Fail::Reject`] gives it up. What was emitted is taken back; timers and
    /// states stay as they were changed.
    fn process(&mut self, value: Timed<Self::In>, context: &mut ProcessContext<'_, Self>)
    -> Result<(), Fail>;

    /// A timer is due. It is gone once this has returned. What it emits is a tree of its own, that is emitted again until
    /// it is done.
    ///
    /// # Errors
    /// [`Fail::Retry`], or a panic, has it called again, with backoff, up to five times; meanwhile no other timer of the task
    /// fires, so that they stay in order. [`Fail::Reject`], or the fifth failure, is reported and gives the timer up.
    fn on_timer(&mut self, _timer: Timer, _context: &mut ProcessContext<'_, Self>) -> Result<(), Fail> {
        Ok(())
    }
}

/// A timer of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timer {
    /// Whether it goes by event time or by the machine's clock.
    pub clock: Clock,
    /// When it is due, in milliseconds since 1970.
    pub at: i64,
}

/// Where the emitted goes.
pub(super) enum Sink<'a, O: Tuple> {
    /// Into the tree of the input.
    Input(&'a mut Emitter<Timed<O>>),
    /// Into a tree of its own.
    Own(&'a mut Vec<Timed<O>>),
}

/// What a [`Process`] is called with: the key, the time, and what it can do.
pub struct ProcessContext<'a, P: Process + ?Sized> {
    pub(super) key: &'a P::Key,
    pub(super) at: i64,
    pub(super) watermark: Watermark,
    pub(super) now_ms: i64,
    pub(super) timers: &'a mut Timers<P::Key>,
    pub(super) sink: Sink<'a, P::Out>,
}

impl<P: Process + ?Sized> ProcessContext<'_, P> {
    /// The key that it is called for.
    pub fn key(&self) -> &P::Key {
        self.key
    }

    /// The value's time, or that at which the timer was due; of a timer in processing time, how far event time has come.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// How far event time has come.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The processing time, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// Emits a value, at [`at`](Self::at).
    pub fn emit(&mut self, value: P::Out) {
        self.emit_at(self.at, value);
    }

    /// Emits a value at another time. One that is earlier than [`at`](Self::at) may be late for the steps behind.
    pub fn emit_at(&mut self, at: i64, value: P::Out) {
        let timed = Timed { at, value };
        match &mut self.sink {
            Sink::Input(out) => out.emit(timed),
            Sink::Own(out) => out.push(timed),
        }
    }

    /// Has [`Process::on_timer`] called for the key as the clock reaches `at`, in milliseconds since 1970; at once, where it
    /// has. Set twice, it is due once.
    pub fn set_timer(&mut self, clock: Clock, at: i64) {
        self.timers.set(clock, self.key, at);
    }

    /// Deletes a timer of the key, if it is set.
    pub fn delete_timer(&mut self, clock: Clock, at: i64) {
        self.timers.delete(clock, self.key, at);
    }
}

impl<P: Process + ?Sized> fmt::Debug for ProcessContext<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, watermark, now_ms, .. } = self;
        f.debug_struct("ProcessContext")
            .field("at", at)
            .field("watermark", watermark)
            .field("now_ms", now_ms)
            .finish_non_exhaustive()
    }
}

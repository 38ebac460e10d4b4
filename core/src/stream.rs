//! Streams as handles: what a component emits, typed, for others to subscribe to.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Config;
use crate::grouping::Grouping;
use crate::ledger::EdgeIds;
use crate::metrics::EdgeViews;
use crate::runtime::{Batching, Emitter, EmitterContext, Emitters, InboxSlot, Route, Subscription, Witness};
use crate::topology::{ComponentId, GraphHandle};
use crate::tuple::Tuple;

/// A component's output: one tuple type, or several named streams in a struct made by [`ports!`](crate::ports).
///
/// Implemented for every tuple type; `()` is the output of a component that emits nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the output of a component",
    note = "an output is a tuple type (Serialize + Deserialize + Clone + Send + Sync + 'static) or a struct made by `ports!`"
)]
pub trait Output: Send + 'static {
    /// What `execute` and `next` emit through: [`Emitter`], or the struct of emitters.
    type Emitter: Emitters;
    /// What others subscribe to: [`Stream`], or the struct of streams.
    type Streams: Clone + Send + Sync;

    /// Names the streams.
    #[doc(hidden)]
    fn declare(component: &Declaration) -> Self::Streams;

    /// Builds one task's emitters, connected to all that subscribed.
    #[doc(hidden)]
    fn connect(streams: &Self::Streams, connection: &mut Connection<'_>) -> Self::Emitter;
}

impl<T: Tuple> Output for T {
    type Emitter = Emitter<T>;
    type Streams = Stream<T>;

    fn declare(component: &Declaration) -> Stream<T> {
        component.stream("default")
    }

    fn connect(streams: &Stream<T>, connection: &mut Connection<'_>) -> Emitter<T> {
        connection.emitter(streams)
    }
}

/// What a bolt that takes `In` may be fed: everything that `In` can be made from.
// A trait of the tuple and not of the input: of an input with one conversion the compiler would infer the tuple's type,
// and complain about that instead of saying what is missing.
#[diagnostic::on_unimplemented(
    message = "a bolt that takes `{In}` cannot subscribe to a stream of `{Self}`",
    label = "`{In}` cannot be made from `{Self}`",
    note = "implement `From<{Self}> for {In}`, or let the bolt take `{Self}`"
)]
pub trait Feeds<In> {
    /// Makes the input from the streamed tuple.
    fn feed(self) -> In;
}

#[diagnostic::do_not_recommend]
impl<In, T: Into<In>> Feeds<In> for T {
    #[inline]
    fn feed(self) -> In {
        self.into()
    }
}

/// A handle to one stream of one component. Cheap to clone.
pub struct Stream<T>(Arc<Definition<T>>);

struct Definition<T> {
    component: ComponentId,
    name: Arc<str>,
    graph: GraphHandle,
    subscribers: Mutex<Vec<Box<dyn Subscribe<T>>>>,
    /// Feedback streams that this stream was connected to.
    feedback: Mutex<Vec<Stream<T>>>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl<T> Stream<T> {
    /// The stream's name within its component.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(crate) fn new(component: ComponentId, name: &str, graph: GraphHandle) -> Self {
        let (subscribers, feedback) = Default::default();
        Self(Arc::new(Definition { component, name: name.into(), graph, subscribers, feedback }))
    }

    pub(crate) fn component(&self) -> ComponentId {
        self.0.component
    }

    pub(crate) fn graph(&self) -> &GraphHandle {
        &self.0.graph
    }

    pub(crate) fn subscribe(&self, subscriber: Box<dyn Subscribe<T>>) {
        self.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(subscriber);
    }

    pub(crate) fn feed_back_to(&self, feedback: Stream<T>) {
        self.0.feedback.lock().unwrap_or_else(PoisonError::into_inner).push(feedback);
    }
}

/// One subscription, before it is launched: makes the route for each emitting task.
pub(crate) trait Subscribe<T>: Send + Sync {
    fn route(&self, connection: &mut Connection<'_>, feedback: Option<&Arc<str>>) -> Box<dyn Route<T>>;
}

/// A subscription by a component that takes `In`.
pub(crate) struct SubscriptionPlan<In, G, C> {
    pub(crate) grouping: Mutex<G>,
    pub(crate) convert: C,
    pub(crate) inboxes: InboxSlot<In>,
    /// Who subscribes, and which of its subscriptions this is.
    pub(crate) subscriber: ComponentId,
    pub(crate) input: usize,
}

impl<T, In, G, C> Subscribe<T> for SubscriptionPlan<In, G, C>
where
    T: Tuple,
    In: Tuple,
    G: Grouping<T>,
    C: Fn(T) -> In + Copy + Send + Sync + 'static,
{
    fn route(&self, connection: &mut Connection<'_>, feedback: Option<&Arc<str>>) -> Box<dyn Route<T>> {
        let inboxes = self.inboxes.get().map(Vec::as_slice).unwrap_or_default();
        let mut grouping = self.grouping.lock().unwrap_or_else(PoisonError::into_inner).clone();
        grouping.prepare(connection.emitter, connection.emitters, inboxes.len());
        let batching = Batching {
            size: connection.config.batch_size,
            max_delay: connection.config.max_batch_delay,
            feedback: feedback.map(|name| (connection.config.feedback_bytes, Arc::clone(name))),
            witness: connection.witness.clone(),
            input: self.input as u32,
            view: connection.edges.get(self.subscriber.0, self.input).cloned().unwrap_or_default(),
        };
        Box::new(Subscription::new(grouping, self.convert, inboxes, batching, connection.edges()))
    }
}

/// A component that names its streams.
#[doc(hidden)]
#[derive(Debug)]
pub struct Declaration {
    pub(crate) component: ComponentId,
    pub(crate) graph: GraphHandle,
}

impl Declaration {
    /// Declares a stream of this component.
    pub fn stream<T>(&self, name: &str) -> Stream<T> {
        self.graph.declare_stream(self.component, name);
        Stream::new(self.component, name, self.graph.clone())
    }
}

/// One emitting task, as its emitters are connected.
#[doc(hidden)]
pub struct Connection<'a> {
    /// Which of the component's tasks this is.
    pub(crate) emitter: usize,
    pub(crate) emitters: usize,
    pub(crate) config: &'a Config,
    /// A number of its own for every generator of edges.
    pub(crate) generators: &'a mut u32,
    /// All subscriptions of the topology.
    pub(crate) edges: &'a EdgeViews,
    pub(crate) witness: Option<Arc<Witness>>,
    pub(crate) context: EmitterContext,
}

impl Connection<'_> {
    pub(crate) fn edges(&mut self) -> EdgeIds {
        *self.generators += 1;
        EdgeIds::new(self.config.seed, *self.generators)
    }

    /// The emitter of one stream.
    pub fn emitter<T: Tuple>(&mut self, stream: &Stream<T>) -> Emitter<T> {
        let mut routes = Vec::new();
        for subscriber in stream.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            routes.push(subscriber.route(self, None));
        }
        for feedback in stream.0.feedback.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for subscriber in feedback.0.subscribers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                routes.push(subscriber.route(self, Some(feedback.name())));
            }
        }
        Emitter::new(routes, self.edges(), self.context.clone())
    }
}

/// What the fields of a struct of streams are: emitters for the component, handles for its subscribers.
pub trait Side {
    /// A stream of `T` seen from this side.
    type Of<T: Tuple>;
}

/// The side of the component that emits.
#[derive(Debug)]
pub struct Emitting;

/// The side of those who subscribe.
#[derive(Debug)]
pub struct Reading;

impl Side for Emitting {
    type Of<T: Tuple> = Emitter<T>;
}

impl Side for Reading {
    type Of<T: Tuple> = Stream<T>;
}

/// Declares a component's several named streams.
///
/// The struct is the component's `Out`. In `execute` its fields are emitters; on the handle they are streams. It may have
/// type parameters, which are tuples.
///
/// ```
/// use topo_core::{Bolt, Fail, ports};
///
/// ports! {
///     /// Numbers sorted by parity.
///     pub struct Sorted {
///         /// Those divisible by two.
///         even: u64,
///         /// The others.
///         odd: u64,
///     }
/// }
///
/// struct Sort;
///
/// impl Bolt for Sort {
///     type In = u64;
///     type Out = Sorted;
///
///     async fn execute(&mut self, number: u64, out: &mut Sorted) -> Result<(), Fail> {
///         if number % 2 == 0 { out.even.emit(number) } else { out.odd.emit(number) }
///         Ok(())
///     }
/// }
/// ```
#[macro_export]
macro_rules! ports {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident $(< $($generic:ident),+ >)? {
            $($(#[$field_meta:meta])* $field:ident : $tuple:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name<$($($generic: $crate::Tuple,)+)? S: $crate::Side = $crate::Emitting> {
            $($(#[$field_meta])* pub $field: S::Of<$tuple>,)+
        }

        impl$(<$($generic: $crate::Tuple),+>)? Clone for $name<$($($generic,)+)? $crate::Reading> {
            fn clone(&self) -> Self {
                Self { $($field: self.$field.clone(),)+ }
            }
        }

        // A struct of streams is one component's own: no one else wants to hear of it.
        #[diagnostic::do_not_recommend]
        impl$(<$($generic: $crate::Tuple),+>)? $crate::Output for $name$(<$($generic),+>)? {
            type Emitter = Self;
            type Streams = $name<$($($generic,)+)? $crate::Reading>;

            fn declare(component: &$crate::Declaration) -> Self::Streams {
                $name { $($field: component.stream(stringify!($field)),)+ }
            }

            fn connect(streams: &Self::Streams, connection: &mut $crate::Connection<'_>) -> Self {
                $name { $($field: connection.emitter(&streams.$field),)+ }
            }
        }

        impl$(<$($generic: $crate::Tuple),+>)? $crate::Emitters for $name$(<$($generic),+>)? {
            #[inline]
            fn begin(&mut self, root: $crate::ledger::RootId) {
                $($crate::Emitters::begin(&mut self.$field, root);)+
            }
            fn begin_joint(&mut self, roots: &[$crate::ledger::RootId]) {
                $($crate::Emitters::begin_joint(&mut self.$field, roots);)+
            }
            #[inline]
            fn xor(&self) -> u64 {
                0 $(^ $crate::Emitters::xor(&self.$field))+
            }
            #[inline]
            fn absorb(&mut self, rest: u64) -> bool {
                false $(|| $crate::Emitters::absorb(&mut self.$field, rest))+
            }
            fn joint_xor(&self, sums: &mut Vec<($crate::ledger::RootId, u64)>) {
                $($crate::Emitters::joint_xor(&self.$field, sums);)+
            }
            fn emitted(&self) -> u64 {
                0 $(+ $crate::Emitters::emitted(&self.$field))+
            }
            #[inline]
            fn settle_outputs(&mut self) {
                $($crate::Emitters::settle_outputs(&mut self.$field);)+
            }
            fn roll_back(&mut self) {
                $($crate::Emitters::roll_back(&mut self.$field);)+
            }
            fn buffered(&self) -> usize {
                [$($crate::Emitters::buffered(&self.$field)),+].into_iter().max().unwrap_or(0)
            }
            fn route(&mut self) {
                $($crate::Emitters::route(&mut self.$field);)+
            }
            fn signal(&mut self, signal: $crate::Signal) {
                $($crate::Emitters::signal(&mut self.$field, signal);)+
            }
            fn send(&mut self, flush: $crate::Flush) -> bool {
                true $(& $crate::Emitters::send(&mut self.$field, flush))+
            }
            fn settle(&mut self, tell: &mut dyn FnMut($crate::EmitterReport<'_>)) {
                $($crate::Emitters::settle(&mut self.$field, tell);)+
            }
            fn close(&mut self) {
                $($crate::Emitters::close(&mut self.$field);)+
            }
            fn discard(&mut self) {
                $($crate::Emitters::discard(&mut self.$field);)+
            }
        }
    };
}

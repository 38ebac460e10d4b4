//! What a step with windows takes in: values, or what was gathered of them before the shuffle.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use super::key::KeySelector;
use crate::fail::Fail;
use crate::state::Key;
use crate::time::Timed;
use crate::tuple::Tuple;
use crate::window::aggregate::Aggregate;
use crate::window::{Engine, Fired, Offer, PaneId, Partial};

/// Offers inputs to the engine of windows over `T`.
pub(super) trait Intake<T, A: Aggregate>: Send + 'static {
    type Key: Key;
    type In: Tuple;

    /// Results go to `sink`, and values that come too late to `late`.
    fn offer(
        &mut self,
        engine: &mut Engine<Self::Key, A>,
        input: Timed<Self::In>,
        sink: &mut impl FnMut(PaneId, Fired<Self::Key, A::Out>),
        late: &mut impl FnMut(Timed<T>),
    ) -> Result<(), Fail>;
}

/// Values, one by one.
pub(super) struct Values<S, K> {
    selector: S,
    /// The key in work; its room is used again.
    key: Option<K>,
}

impl<S, K> Values<S, K> {
    pub(super) fn new(selector: S) -> Self {
        Self { selector, key: None }
    }
}

impl<T, S, A> Intake<T, A> for Values<S, S::Key>
where
    T: Tuple,
    S: KeySelector<T>,
    A: Aggregate<In = T>,
{
    type Key = S::Key;
    type In = T;

    fn offer(
        &mut self,
        engine: &mut Engine<S::Key, A>,
        Timed { at, value }: Timed<T>,
        sink: &mut impl FnMut(PaneId, Fired<S::Key, A::Out>),
        late: &mut impl FnMut(Timed<T>),
    ) -> Result<(), Fail> {
        let key = self.selector.key(&value, |key| {
            let mut own = self.key.take().unwrap_or_else(|| key.clone());
            own.clone_from(key);
            own
        });
        let taken = add(engine, &key, Timed { at, value }, sink, late);
        self.key = Some(key);
        taken
    }
}

fn add<K: Key, A: Aggregate>(
    engine: &mut Engine<K, A>,
    key: &K,
    Timed { at, value }: Timed<A::In>,
    sink: &mut impl FnMut(PaneId, Fired<K, A::Out>),
    late: &mut impl FnMut(Timed<A::In>),
) -> Result<(), Fail> {
    match engine.add(key, at, value, sink) {
        Offer::Added => Ok(()),
        Offer::Late(value) => {
            late(Timed { at, value });
            Ok(())
        }
        Offer::Refused(_, why) => Err(Fail::reject(why)),
    }
}

/// What was gathered of values of one key before the shuffle, and the values themselves, in the order in which they came.
///
/// They travel along because only the windows' task knows what is late: it may have come further in event time than who
/// gathered (another source's silence, or an earlier run, took it there), and only it has the sessions that a value may
/// still join. No accumulator can be taken apart again, so lateness is decided by the values, before they are combined.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Gathered<K, S, T> {
    pub(super) partial: Partial<K, S>,
    pub(super) values: Vec<Timed<T>>,
}

/// What [`Combining`](super::combining::Combining) has gathered.
pub(super) struct Parts<K>(PhantomData<fn() -> K>);

impl<K> Parts<K> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Tuple, K: Key, A: Aggregate<In = T>> Intake<T, A> for Parts<K> {
    type Key = K;
    type In = Gathered<K, A::Acc, T>;

    fn offer(
        &mut self,
        engine: &mut Engine<K, A>,
        gathered: Timed<Gathered<K, A::Acc, T>>,
        sink: &mut impl FnMut(PaneId, Fired<K, A::Out>),
        late: &mut impl FnMut(Timed<T>),
    ) -> Result<(), Fail> {
        let Gathered { partial, values } = gathered.value;
        if engine.would_be_late(&partial.key, partial.first) {
            // All of a slice have the same windows. Of a session's stretch, who comes before which others tells.
            return values.into_iter().try_for_each(|value| add(engine, &partial.key, value, sink, late));
        }
        match engine.combine(partial, sink) {
            Offer::Added => Ok(()),
            // Where the first would not be late, nothing is; if it were, all of a slice is, or of a stretch.
            Offer::Late(_) => {
                values.into_iter().for_each(late);
                Ok(())
            }
            Offer::Refused(_, why) => Err(Fail::reject(why)),
        }
    }
}

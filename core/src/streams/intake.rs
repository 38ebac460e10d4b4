//! What a step with windows takes in: values, or what was gathered of them before the shuffle.

use std::marker::PhantomData;

use super::key::KeySelector;
use crate::fail::Fail;
use crate::state::Key;
use crate::time::Timed;
use crate::tuple::Tuple;
use crate::window::aggregate::Aggregate;
use crate::window::{Engine, Fired, Offer, PaneId, Partial};

/// What became of an input.
pub(super) enum Taken<T> {
    Added,
    /// So many values came too late; the value itself, where there is one.
    Late(u64, Option<Timed<T>>),
}

/// Offers inputs to the engine of windows over `T`.
pub(super) trait Intake<T, A: Aggregate>: Send + 'static {
    type Key: Key;
    type In: Tuple;

    fn offer(
        &mut self,
        engine: &mut Engine<Self::Key, A>,
        input: Timed<Self::In>,
        sink: &mut impl FnMut(PaneId, Fired<Self::Key, A::Out>),
    ) -> Result<Taken<T>, Fail>;
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
    ) -> Result<Taken<T>, Fail> {
        let key = self.selector.key(&value, |key| {
            let mut own = self.key.take().unwrap_or_else(|| key.clone());
            own.clone_from(key);
            own
        });
        let offer = engine.add(&key, at, value, sink);
        self.key = Some(key);
        match offer {
            Offer::Added => Ok(Taken::Added),
            Offer::Late(value) => Ok(Taken::Late(1, Some(Timed { at, value }))),
            Offer::Refused(_, why) => Err(Fail::reject(why)),
        }
    }
}

/// What [`Combining`](super::combining::Combining) has gathered.
pub(super) struct Parts<K>(PhantomData<fn() -> K>);

impl<K> Parts<K> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T, K: Key, A: Aggregate<In = T>> Intake<T, A> for Parts<K> {
    type Key = K;
    type In = Partial<K, A::Acc>;

    fn offer(
        &mut self,
        engine: &mut Engine<K, A>,
        partial: Timed<Partial<K, A::Acc>>,
        sink: &mut impl FnMut(PaneId, Fired<K, A::Out>),
    ) -> Result<Taken<T>, Fail> {
        match engine.combine(partial.value, sink) {
            Offer::Added => Ok(Taken::Added),
            Offer::Late(partial) => Ok(Taken::Late(partial.records, None)),
            Offer::Refused(_, why) => Err(Fail::reject(why)),
        }
    }
}

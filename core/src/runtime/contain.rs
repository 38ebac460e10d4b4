//! Panics of users' code, turned into values.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

/// A panic's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panicked(pub(crate) Arc<str>);

impl Panicked {
    pub(crate) fn of(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a message".to_owned());
        Self(format!("panicked: {message}").into())
    }
}

// Unwind safety: whatever the code left half done is dropped with its instance, which is replaced; the executor's own
// state is only touched between the calls.

/// Runs `call`, giving back its panic.
pub(crate) fn contain<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| Panicked::of(&*payload))
}

/// Runs `future` to its end or to its panic.
pub(crate) async fn contain_future<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(payload) => std::task::Poll::Ready(Err(Panicked::of(&*payload))),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_kept() {
        let panicked = contain(|| panic!("tuple {} is odd", 3)).expect_err("it panics");
        assert_eq!(&*panicked.0, "panicked: tuple 3 is odd");
    }

    #[test]
    fn what_does_not_panic_is_given_through() {
        assert_eq!(contain(|| 7), Ok(7));
    }
}

//! What tests of bolts need: a spout of given tuples, and a bolt that remembers what it sees.
//!
//! Both run on any scheduler; on the seeded one a whole topology runs in a test's own thread, in an order that a seed
//! decides.
//!
//! ```
//! use topo::prelude::*;
//! use topo::testing::{Seen, given};
//!
//! struct Double;
//!
//! impl Bolt for Double {
//!     type In = u64;
//!     type Out = u64;
//!
//!     async fn execute(&mut self, number: u64, out: &mut Emitter<u64>) -> Result<(), Fail> {
//!         out.emit(2 * number);
//!         Ok(())
//!     }
//! }
//!
//! let seen = Seen::<u64>::default();
//! let topology = Topology::new("test");
//! let numbers = topology.spout("numbers", given([1_u64, 2, 3]));
//! let doubles = topology.bolt("double", || Double).shuffle(&numbers);
//! topology.bolt("seen", seen.bolt()).global(&doubles);
//!
//! let scheduler = Seeded::new(42);
//! scheduler.block_on(async {
//!     let running = topology.launch(scheduler.clone(), Config::default()).await.unwrap();
//!     running.finished().await;
//! });
//! assert_eq!(seen.tuples(), [2, 4, 6]);
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use topo_core::{Bolt, Emitter, Fail, FailKind, Failure, Fault, Next, Spout, SpoutEmitter, Tuple};

/// A factory of spouts that emit `tuples` in order and are then finished. A tuple that fails is emitted again, unless a
/// bolt rejected it.
pub fn given<T: Tuple>(tuples: impl Into<Vec<T>>) -> impl Fn() -> Given<T> + Send + Sync + 'static {
    let tuples: Arc<[T]> = tuples.into().into();
    move || Given {
        due: (0..tuples.len()).map(|index| (index, 1)).collect(),
        open: 0,
        tuples: Arc::clone(&tuples),
    }
}

/// A spout of given tuples; see [`given`].
#[derive(Debug)]
pub struct Given<T> {
    tuples: Arc<[T]>,
    /// What is to be emitted: indexes into the tuples, and the attempt that each is at, from 1.
    due: VecDeque<(usize, u32)>,
    /// How many tuples are emitted and not answered.
    open: usize,
}

impl<T: Tuple> Spout for Given<T> {
    type Out = T;
    type Id = usize;

    fn next(&mut self, out: &mut SpoutEmitter<T, usize>) -> Result<Next, Fault> {
        let Some((index, attempt)) = self.due.pop_front() else {
            return Ok(if self.open == 0 { Next::Finished } else { Next::Idle });
        };
        self.open += 1;
        out.replay(index, attempt, self.tuples[index].clone())?;
        Ok(Next::Emitted)
    }

    fn ack(&mut self, _index: usize) {
        self.open -= 1;
    }

    fn fail(&mut self, index: usize, failure: &Failure) {
        self.open -= 1;
        if failure.kind == FailKind::Retry {
            self.due.push_back((index, failure.attempt + 1));
        }
    }
}

/// All the tuples that the bolts made by its [`bolt`](Self::bolt) have seen. Clones share them.
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T: Tuple> Seen<T> {
    /// A factory of bolts that remember here what they see.
    pub fn bolt(&self) -> impl Fn() -> Remember<T> + Send + Sync + 'static {
        let seen = self.clone();
        move || Remember(seen.clone())
    }

    /// What was seen so far, in that order.
    pub fn tuples(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> fmt::Debug for Seen<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

/// A bolt that remembers what it sees; see [`Seen`].
#[derive(Debug)]
pub struct Remember<T>(Seen<T>);

impl<T: Tuple> Bolt for Remember<T> {
    type In = T;
    type Out = ();

    async fn execute(&mut self, tuple: T, _out: &mut Emitter<()>) -> Result<(), Fail> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(tuple);
        Ok(())
    }
}

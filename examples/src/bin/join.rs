//! A join of two streams: orders wait for their payments, and payments for their orders.
//!
//! ```text
//! cargo run -p topo-examples --bin join
//! ```
//!
//! For a reader who knows Storm: this is a rich bolt. It owns each input, holds it as long as it likes, and answers for it
//! by `ack` or `fail`, which consume it: a second ack, or an emit anchored to what was acked already, does not compile.
//! An input that is dropped unanswered fails, so a tree cannot be forgotten. There is no message timeout: an input waits
//! as long as its bolt holds it, and the bolt decides when that was too long.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use topo_core::schedule::{Moment, TokioScheduler};
use topo_core::{
    Bolt, Config, Emitter, Fail, Failure, Fault, Input, Next, RichBolt, Spout, SpoutEmitter, TaskContext,
    Topology,
};

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    order: u64,
    article: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Payment {
    order: u64,
    cents: u64,
}

/// What the join takes: either side.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Side {
    Order(Order),
    Payment(Payment),
}

impl From<Order> for Side {
    fn from(order: Order) -> Self {
        Self::Order(order)
    }
}

impl From<Payment> for Side {
    fn from(payment: Payment) -> Self {
        Self::Payment(payment)
    }
}

impl Side {
    fn order(&self) -> u64 {
        match self {
            Self::Order(order) => order.order,
            Self::Payment(payment) => payment.order,
        }
    }
}

/// What the join emits: an order that was paid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Shipment {
    order: u64,
    article: String,
    cents: u64,
}

/// One side of an order, held until the other comes.
struct Held {
    input: Input<Side>,
    since: Moment,
}

/// Joins both sides of each order.
#[derive(Default)]
struct Join {
    held: HashMap<u64, Held>,
    task: Option<TaskContext>,
}

impl Join {
    fn now(&self) -> Moment {
        // The topology's clock, not the machine's: in a test it is a manual one.
        self.task.as_ref().map_or_else(Moment::default, TaskContext::now)
    }
}

impl RichBolt for Join {
    type In = Side;
    type Out = Shipment;

    async fn prepare(&mut self, task: &TaskContext) -> Result<(), Fault> {
        self.task = Some(task.clone());
        Ok(())
    }

    async fn execute(&mut self, input: Input<Side>, out: &mut Emitter<Shipment>) -> Result<(), Fault> {
        let since = self.now();
        let Some(partner) = self.held.remove(&input.order()) else {
            self.held.insert(input.order(), Held { input, since });
            return Ok(());
        };
        match (&*partner.input, &*input) {
            (Side::Order(order), Side::Payment(payment)) | (Side::Payment(payment), Side::Order(order)) => {
                let (article, cents) = (order.article.clone(), payment.cents);
                let shipment = Shipment { order: order.order, article, cents };
                // Anchored to both: should the shipment fail, both spouts hear of it.
                out.emit_anchored(&[&partner.input, &input], shipment);
                partner.input.ack();
                input.ack();
            }
            // The same side again, replayed or sent twice. The newer one waits on.
            _ => {
                partner.input.fail(Fail::reject("sent twice"));
                self.held.insert(input.order(), Held { input, since });
            }
        }
        Ok(())
    }

    /// Called as often as `tick_every` says.
    async fn tick(&mut self, _out: &mut Emitter<Shipment>) -> Result<(), Fault> {
        let now = self.now();
        for (_, late) in self.held.extract_if(|_, held| now.since(held.since) >= PATIENCE) {
            let missing = match &*late.input {
                Side::Order(_) => "payment",
                Side::Payment(_) => "order",
            };
            late.input.fail(Fail::reject(format_args!("its {missing} did not come")));
        }
        Ok(())
    }
}

/// What came of it all.
#[derive(Debug, Clone, Default)]
struct Outcome(Arc<Mutex<Outcomes>>);

#[derive(Debug, Default)]
struct Outcomes {
    shipped: Vec<Shipment>,
    /// Orders and payments that were given up, and why.
    given_up: Vec<String>,
}

impl Outcome {
    fn lock(&self) -> MutexGuard<'_, Outcomes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ships what was paid.
struct Ship(Outcome);

impl Bolt for Ship {
    type In = Shipment;
    type Out = ();

    async fn execute(&mut self, shipment: Shipment, _out: &mut Emitter<()>) -> Result<(), Fail> {
        self.0.lock().shipped.push(shipment);
        Ok(())
    }
}

/// Emits what it is given, each tracked under itself.
struct Given<T> {
    left: std::vec::IntoIter<T>,
    outcome: Outcome,
}

impl<T: topo_core::Tuple + fmt::Debug> Spout for Given<T> {
    type Out = T;
    type Id = T;

    fn next(&mut self, out: &mut SpoutEmitter<T, T>) -> Result<Next, Fault> {
        let Some(tuple) = self.left.next() else { return Ok(Next::Finished) };
        out.emit_with(tuple.clone(), tuple)?;
        Ok(Next::Emitted)
    }

    fn fail(&mut self, tuple: T, failure: &Failure) {
        self.outcome.lock().given_up.push(format!("{tuple:?}: {failure}"));
    }
}

/// The topology, and what came of it.
fn app() -> (Topology, Outcome) {
    let outcome = Outcome::default();
    let orders: Vec<Order> =
        (0..50).map(|order| Order { order, article: format!("article {}", order % 7) }).collect();
    // They are paid in another order, and one of them not at all.
    let payments: Vec<Payment> = (0..50)
        .rev()
        .filter(|&order| order != 13)
        .map(|order| Payment { order, cents: 100 + order })
        .collect();

    let topology = Topology::new("join");
    let given = outcome.clone();
    let orders =
        topology.spout("orders", move || Given { left: orders.clone().into_iter(), outcome: given.clone() });
    let given = outcome.clone();
    let payments = topology
        .spout("payments", move || Given { left: payments.clone().into_iter(), outcome: given.clone() });
    // Both sides by the same key, so that they meet in one task.
    let shipments = topology
        .rich_bolt("join", Join::default)
        .tasks(2)
        .fields(&orders, |order| &order.order)
        .fields(&payments, |payment| &payment.order)
        .tick_every(Duration::from_millis(500));
    let shipped = outcome.clone();
    topology.bolt("ship", move || Ship(shipped.clone())).shuffle(&shipments);
    (topology, outcome)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (topology, outcome) = app();
    let running = topology.launch(Arc::new(TokioScheduler::current()), Config::default()).await?;
    running.finished().await;
    running.kill(Duration::from_secs(5)).await?;
    let outcomes = outcome.lock();
    println!("{} orders were shipped", outcomes.shipped.len());
    outcomes.given_up.iter().for_each(|given_up| println!("{given_up}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use topo_core::schedule::{Clock, Seeded};

    use super::*;

    #[test]
    fn every_paid_order_is_shipped_and_the_other_is_given_up() {
        for seed in 0..20 {
            let scheduler = Seeded::new(seed);
            let (topology, outcome) = app();
            let running = scheduler.block_on(topology.launch(scheduler.clone(), Config::default())).unwrap();
            scheduler.block_on(running.finished());
            // Two seconds of patience, on a clock that takes no time.
            assert_eq!(scheduler.now().as_nanos(), 2_000_000_000, "seed {seed}");
            scheduler.block_on(running.kill(Duration::from_secs(5))).unwrap();

            let outcomes = outcome.lock();
            let mut shipped = outcomes.shipped.clone();
            shipped.sort();
            let expected = (0..50).filter(|&order| order != 13);
            let expected: Vec<(u64, u64)> = expected.map(|order| (order, 100 + order)).collect();
            let shipped: Vec<(u64, u64)> = shipped.iter().map(|one| (one.order, one.cents)).collect();
            assert_eq!(shipped, expected, "seed {seed}");
            let reason =
                "Order { order: 13, article: \"article 6\" }: its payment did not come (in join, attempt 1)";
            assert_eq!(outcomes.given_up, [reason], "seed {seed}");
        }
    }
}

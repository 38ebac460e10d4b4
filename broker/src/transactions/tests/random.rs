//! Many producers, their zombies, timeouts and power losses at random, against a model that knows of each transaction what was
//! acknowledged and how it ended.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use topo_log::storage::{Fault, SimulatedDisk};

use super::*;
use crate::groups::{Claim, GroupError};

const IDS: usize = 3;
const PARTITIONS: u32 = 4;
const SEEDS: u64 = 40;
const STEPS: usize = 70;

/// One transaction, as its producer knows it.
#[derive(Debug, Default)]
struct Written {
    /// The values whose appends were acknowledged, with their partitions.
    acknowledged: BTreeSet<(u32, String)>,
    /// What it committed for the group, acknowledged.
    offset: Option<i64>,
    /// Whether a write may or may not have happened.
    is_uncertain: bool,
}

/// One transactional id, as its producer knows it.
#[derive(Debug, Default)]
struct Client {
    instance: Option<ProducerInstance>,
    zombies: Vec<ProducerInstance>,
    sequences: BTreeMap<u32, i32>,
    open: Option<Written>,
    committed: Vec<Written>,
    /// The group's offset by the last transaction that was committed.
    offset: Option<i64>,
}

struct World {
    seed: u64,
    random: StdRng,
    disk: SimulatedDisk,
    broker: Broker,
    clients: Vec<Client>,
    next_value: u64,
    /// Whether the power is about to go.
    is_failing: bool,
    crashes: usize,
}

/// Whether it was the storage that failed, rather than the request.
fn is_crash(error: &TransactionError) -> bool {
    match error {
        TransactionError::Broker(_) | TransactionError::Unavailable => true,
        TransactionError::Group(error) => {
            matches!(error, GroupError::Broker(_) | GroupError::Unavailable)
        }
        _ => false,
    }
}

fn id(client: usize) -> String {
    format!("id-{client}")
}

impl World {
    async fn new(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        let broker = open(disk.clone(), TransactionConfig::default()).unwrap();
        broker.create_topic("lines", PARTITIONS, BTreeMap::new()).await.unwrap();
        // So that what a failure leaves is never a topic that is half there.
        broker.offsets_log().await.unwrap();
        broker.transactions_log().await.unwrap();
        Self {
            seed,
            random: StdRng::seed_from_u64(seed),
            disk,
            broker,
            clients: (0..IDS).map(|_| Client::default()).collect(),
            next_value: 0,
            is_failing: false,
            crashes: 0,
        }
    }

    /// The power goes, and the broker is opened again.
    async fn crash(&mut self) {
        self.disk.crash();
        self.crashes += 1;
        self.is_failing = false;
        self.broker = open(self.disk.clone(), TransactionConfig::default())
            .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        settle(&self.broker).await;
    }

    /// Asks, through steps that are not at their end, and through a power loss if one is due: then `None`, and the broker is
    /// open again.
    async fn ask<T, F: Future<Output = Result<T, TransactionError>>>(
        &mut self,
        id: &str,
        request: impl Fn(Transactions) -> F,
    ) -> Option<Result<T, TransactionError>> {
        loop {
            match request(self.broker.transactions()).await {
                Err(TransactionError::Concurrent) => {
                    // Without power it never comes to its end.
                    if let Err(error) = self.broker.transactions().settled(id).await {
                        assert!(self.is_failing, "seed {}: {id}: {error}", self.seed);
                        self.crash().await;
                        return None;
                    }
                }
                Err(error) if is_crash(&error) => {
                    assert!(self.is_failing, "seed {}: {error}", self.seed);
                    self.crash().await;
                    return None;
                }
                answer => return Some(answer),
            }
        }
    }

    /// Asks again after a power loss, until there is an answer.
    async fn insist<T, F: Future<Output = Result<T, TransactionError>>>(
        &mut self,
        id: &str,
        request: impl Fn(Transactions) -> F,
    ) -> Result<T, TransactionError> {
        loop {
            if let Some(answer) = self.ask(id, &request).await {
                return answer;
            }
        }
    }

    /// A new instance takes over, or the one that there is goes on under another epoch.
    async fn init(&mut self, client: usize, goes_on: bool) {
        let id = id(client);
        let expected = self.clients[client].instance.filter(|_| goes_on);
        let given = self.insist(&id, |transactions| {
            let id = id.clone();
            async move { transactions.init(&id, TIMEOUT, expected).await }
        });
        let given = given.await.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let client = &mut self.clients[client];
        client.zombies.extend(client.instance.replace(given));
        client.sequences.clear();
        // What was open is aborted.
        client.open = None;
    }

    async fn append(&mut self, client: usize) {
        let Some(instance) = self.clients[client].instance else { return };
        if self.clients[client].open.as_ref().is_some_and(|open| open.is_uncertain) {
            return;
        }
        let (id, partition) = (id(client), self.random.random_range(0..PARTITIONS));
        let value = format!("{client}:{}", self.next_value);
        self.next_value += 1;
        let sequence = self.clients[client].sequences.get(&partition).copied().unwrap_or(0);
        let ProducerInstance { producer_id, epoch } = instance;
        let producer =
            BatchProducer { id: producer_id, epoch, base_sequence: sequence, is_transactional: true };
        let batch = batch_of(&value, &producer);
        self.clients[client].open.get_or_insert_default();
        let appended = self.ask(&id, |transactions| {
            let (id, batch) = (id.clone(), batch.clone());
            async move {
                transactions.add_partitions(&id, instance, &[lines(partition)]).await?;
                let appending =
                    transactions.start_append(&id, instance, &lines(partition), vec![batch], 0)?;
                appending.durable().await?;
                Ok(())
            }
        });
        let appended = appended.await;
        let (seed, client) = (self.seed, &mut self.clients[client]);
        let open = client.open.as_mut().expect("it was opened");
        match appended {
            Some(Ok(())) => {
                open.acknowledged.insert((partition, value));
                client.sequences.insert(partition, sequence + 1);
            }
            Some(Err(error)) => panic!("seed {seed}: {error}"),
            None => open.is_uncertain = true,
        }
    }

    async fn commit_offset(&mut self, client: usize) {
        let Some(instance) = self.clients[client].instance else { return };
        if self.clients[client].open.as_ref().is_some_and(|open| open.is_uncertain) {
            return;
        }
        let (id, offset) = (id(client), self.next_value as i64);
        self.next_value += 1;
        self.clients[client].open.get_or_insert_default();
        let committed = self.ask(&id, |transactions| {
            let (id, of) = (id.clone(), lines(client as u32));
            async move {
                transactions.add_offsets(&id, instance, "g").await?;
                let offsets = [(of, at(offset))];
                transactions.commit_offsets(&id, instance, "g", &Claim::nobody(), &offsets).await
            }
        });
        let committed = committed.await;
        let open = self.clients[client].open.as_mut().expect("it was opened");
        match committed {
            Some(Ok(())) => open.offset = Some(offset),
            Some(Err(error)) => panic!("seed {}: {error}", self.seed),
            None => open.is_uncertain = true,
        }
    }

    /// Ends the open transaction, asking again until there is an answer, which must be the one that was wanted.
    async fn end(&mut self, client: usize) {
        let Some(instance) = self.clients[client].instance else { return };
        let Some(open) = self.clients[client].open.take() else { return };
        let uncertain = open.is_uncertain;
        let result = match !uncertain && self.random.random_ratio(2, 3) {
            true => TransactionResult::Commit,
            false => TransactionResult::Abort,
        };
        let id = id(client);
        let repeats = self.random.random_range(1..3);
        for repeat in 0..repeats {
            let ended = self.insist(&id, |transactions| {
                let id = id.clone();
                async move { transactions.end(&id, instance, result).await }
            });
            match ended.await {
                Ok(()) => {}
                // None had begun where the first step was lost.
                Err(TransactionError::InvalidState { .. }) if uncertain => {}
                Err(error) => panic!("seed {}, {repeat}: {error}", self.seed),
            }
        }
        let at = client;
        let client = &mut self.clients[client];
        if result == TransactionResult::Commit {
            client.offset = open.offset.or(client.offset);
            client.committed.push(open);
        }
        if uncertain {
            // Which sequence numbers were used is unknown.
            self.init(at, true).await;
        }
    }

    /// Whatever an instance wants that does not count any more, it is refused.
    async fn zombie(&mut self, client: usize) {
        let zombies = &self.clients[client].zombies;
        if zombies.is_empty() {
            return;
        }
        let zombie = zombies[self.random.random_range(0..zombies.len())];
        let (id, what) = (id(client), self.random.random_range(0..6));
        let (to, producer) = (lines(self.random.random_range(0..PARTITIONS)), zombie);
        let sequenced = BatchProducer {
            id: zombie.producer_id,
            epoch: zombie.epoch,
            base_sequence: self.random.random_range(0..5),
            is_transactional: true,
        };
        let batch = batch_of("zombie", &sequenced);
        let asked = self.ask(&id, |transactions| {
            let (id, to, batch) = (id.clone(), to.clone(), batch.clone());
            async move {
                match what {
                    0 => transactions.add_partitions(&id, producer, &[to]).await,
                    1 => transactions.add_offsets(&id, producer, "g").await,
                    2 => transactions.start_append(&id, producer, &to, vec![batch], 0).map(drop),
                    3 => {
                        let offsets = [(to, at(1 << 40))];
                        transactions.commit_offsets(&id, producer, "g", &Claim::nobody(), &offsets).await
                    }
                    4 => transactions.end(&id, producer, TransactionResult::Commit).await,
                    _ => transactions.end(&id, producer, TransactionResult::Abort).await,
                }
            }
        });
        if let Some(answer) = asked.await {
            let is_fenced = matches!(answer, Err(TransactionError::Fenced(of)) if of == zombie);
            assert!(is_fenced, "seed {}: {zombie} may {what}: {answer:?}", self.seed);
        }
    }

    /// All that is open takes too long.
    async fn time_out(&mut self) {
        if self.is_failing {
            return;
        }
        tokio::time::sleep(TIMEOUT + Duration::from_secs(1)).await;
        settle(&self.broker).await;
        for client in 0..IDS {
            let Some(open) = &self.clients[client].open else { continue };
            // It may not have begun.
            if !open.is_uncertain {
                let instance = self.clients[client].instance.expect("it has opened one");
                let id = id(client);
                let late = self.broker.transactions().end(&id, instance, TransactionResult::Commit).await;
                assert!(matches!(late, Err(TransactionError::Fenced(_))), "seed {}: {late:?}", self.seed);
            }
            self.init(client, false).await;
        }
    }

    /// What is read is what was acknowledged of the transactions that were committed, each once.
    async fn check(&self) {
        let mut seen = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let values = committed_values(&self.broker, &lines(partition)).await;
            let unique: BTreeSet<String> = values.iter().cloned().collect();
            assert_eq!(unique.len(), values.len(), "seed {}: {values:?}", self.seed);
            seen.insert(partition, unique);
        }
        let mut expected: BTreeMap<u32, BTreeSet<String>> =
            (0..PARTITIONS).map(|partition| (partition, BTreeSet::new())).collect();
        for (number, client) in self.clients.iter().enumerate() {
            for (partition, value) in client.committed.iter().flat_map(|written| &written.acknowledged) {
                expected.get_mut(partition).expect("it is one").insert(value.clone());
            }
            let offset = self.broker.committed("g", &lines(number as u32)).unwrap();
            assert_eq!(offset.map(|offset| offset.offset), client.offset, "seed {}: {number}", self.seed);
        }
        // What is behind an open transaction is held back, and nothing else.
        for (partition, expected) in expected {
            let held = self.broker.offsets(&lines(partition)).unwrap();
            let seen = &seen[&partition];
            assert!(seen.is_subset(&expected), "seed {}: {partition}: {seen:?}, {expected:?}", self.seed);
            if held.last_stable_offset == held.high_watermark {
                assert_eq!(*seen, expected, "seed {}: {partition}", self.seed);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_a_transaction_is_read_or_nothing_whoever_crashes_or_comes_late() {
    let first: u64 = rand::random_range(0..1 << 40);
    println!("seeds from {first}");
    let mut crashes = 0;
    for seed in first..first + SEEDS {
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            let client = world.random.random_range(0..IDS);
            match world.random.random_range(0..100) {
                0..10 => world.init(client, false).await,
                10..15 => world.init(client, true).await,
                15..50 => world.append(client).await,
                50..60 => world.commit_offset(client).await,
                60..80 => world.end(client).await,
                80..88 => world.zombie(client).await,
                88..90 => world.time_out().await,
                90..96 if !world.is_failing => {
                    let after = world.random.random_range(0..25);
                    world.disk.inject(Fault::PowerLoss { after });
                    world.is_failing = true;
                }
                96..98 => world.crash().await,
                _ if !world.is_failing => {
                    settle(&world.broker).await;
                    world.check().await;
                }
                _ => {}
            }
        }
        world.crash().await;
        world.check().await;
        for client in 0..IDS {
            world.end(client).await;
            if world.clients[client].instance.is_some() {
                // Where there is nothing open nothing is aborted.
                world.init(client, client == 0).await;
            }
        }
        settle(&world.broker).await;
        assert_nothing_open(&world.broker, &format!("seed {seed}"));
        world.check().await;
        crashes += world.crashes;
        world.broker.close().await.unwrap();
    }
    assert!(crashes > SEEDS as usize, "{crashes} crashes");
}

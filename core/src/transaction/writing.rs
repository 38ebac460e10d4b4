//! Writing a batch in one transaction of the log, until it is known how that ended.

use std::sync::Arc;
use std::time::Duration;

use super::refusals;
use super::staged::{InputOffsets, LastBatch, Letter};
use super::transactions::{Batch, Transactions};
use crate::log::{Log, LogError, Record, TopicPartition, TopicSpec, TransactionalLog};
use crate::schedule::Scheduler;

/// How long is waited, at first and at the most, before the log is asked again whether it has committed.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How a commit went.
pub(super) enum Outcome {
    Committed,
    /// It is known that nothing is committed.
    Aborted(LogError),
    /// It goes on nowhere here.
    Lost(LogError),
}

/// Writes batches, one after the other, under the topology's transactional id.
pub(super) struct Writer {
    pub(super) own: Box<dyn TransactionalLog>,
    pub(super) log: Arc<dyn Log>,
    pub(super) scheduler: Arc<dyn Scheduler>,
    pub(super) transactions: Arc<Transactions>,
    /// Where the last batch is noted.
    pub(super) last: Option<LastBatch>,
}

/// What a transaction failed with.
enum Refused {
    Log(LogError),
    /// An append, with its records where they were kept.
    Append(TopicPartition, Option<Vec<Record>>, LogError),
    Letter(Letter, LogError),
}

impl From<LogError> for Refused {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl Writer {
    /// Writes a batch in one transaction.
    pub(super) async fn commit(mut self, mut batch: Batch) -> (Self, Batch, Outcome) {
        if batch.staged.is_empty() {
            let outcome = match self.transactions.take_doubt() {
                Some(doubt) => self.ask(doubt).await,
                None => Outcome::Committed,
            };
            return (self, batch, outcome);
        }
        let refused = match self.write(&mut batch).await {
            Ok(noted) => match self.commit_for_sure().await {
                Ok(()) => {
                    self.last = noted.or(self.last.take());
                    if self.transactions.has_refusals() {
                        self.transactions.with_refusals(|known| known.search_no_more());
                    }
                    return (self, batch, Outcome::Committed);
                }
                Err(error) => Refused::Log(error),
            },
            Err(refused) => refused,
        };
        let outcome = self.abort(refused).await;
        (self, batch, outcome)
    }

    /// Finds out whether the transactional id is still the topology's own: whoever has nothing to commit would not hear of it. A
    /// transaction is begun for that, and taken back.
    async fn ask(&mut self, doubt: InputOffsets) -> Outcome {
        match self.own.commit_offsets(&doubt.group, None, &doubt.offsets).await {
            Err(error @ (LogError::Fenced(_) | LogError::Closed)) => return Outcome::Lost(error),
            Err(LogError::Unavailable(_)) => self.transactions.doubt(doubt),
            Ok(()) | Err(_) => {}
        }
        match self.abort_for_sure().await {
            Ok(()) => Outcome::Committed,
            Err(lost) => Outcome::Lost(lost),
        }
    }

    async fn abort(&mut self, refused: Refused) -> Outcome {
        let (Refused::Log(error) | Refused::Append(_, _, error) | Refused::Letter(_, error)) = &refused;
        let error = error.clone();
        if matches!(error, LogError::Fenced(_) | LogError::Closed) {
            return Outcome::Lost(error);
        }
        if let Err(lost) = self.abort_for_sure().await {
            return Outcome::Lost(lost);
        }
        if matches!(error, LogError::Invalid(_))
            && let Err(other) = self.look_for_the_refused(refused).await
        {
            if matches!(other, LogError::Fenced(_) | LogError::Closed) {
                return Outcome::Lost(other);
            }
            if let Err(lost) = self.abort_for_sure().await {
                return Outcome::Lost(lost);
            }
        }
        Outcome::Aborted(error)
    }

    /// Finds out which records the log does not take, so that they are left out as the batch is made again.
    async fn look_for_the_refused(&mut self, refused: Refused) -> Result<(), LogError> {
        match refused {
            Refused::Append(at, Some(records), _) => {
                let found = refusals::find(&mut *self.own, &at, records).await?;
                tracing::warn!(records = found.len(), %at, "the log does not take what came of some records");
                self.transactions.with_refusals(|known| known.add(&at, &found));
            }
            Refused::Letter(letter, _) => {
                self.transactions.with_refusals(|known| known.shorten(&letter.topic, &letter.record));
            }
            // Which it was cannot be said: a log may hear of it later than it was appended.
            Refused::Append(_, None, _) | Refused::Log(_) => {
                self.transactions.with_refusals(|known| known.search())
            }
        }
        Ok(())
    }

    /// Commits, and asks again until it is known how that went.
    async fn commit_for_sure(&mut self) -> Result<(), LogError> {
        let mut wait = ASK_AGAIN.0;
        loop {
            match self.own.commit().await {
                Err(error @ LogError::Unavailable(_)) => {
                    tracing::warn!(%error, "it is not known whether a micro-transaction is committed, so that is asked again");
                    pause(&*self.scheduler, &mut wait).await;
                }
                known => return known,
            }
        }
    }

    /// Aborts, and asks again until the log has heard of it; an error where the topology has lost its transactions.
    async fn abort_for_sure(&mut self) -> Result<(), LogError> {
        let mut wait = ASK_AGAIN.0;
        loop {
            match self.own.abort().await {
                Ok(()) => return Ok(()),
                Err(error @ (LogError::Fenced(_) | LogError::Closed)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "a micro-transaction could not be aborted, so that is asked again");
                    pause(&*self.scheduler, &mut wait).await;
                }
            }
        }
    }

    /// Writes all of it; gives where it is noted.
    async fn write(&mut self, batch: &mut Batch) -> Result<Option<LastBatch>, Refused> {
        let has_refusals = self.transactions.has_refusals();
        let searches = has_refusals && self.transactions.with_refusals(|known| known.searches());
        for letter in &batch.staged.letters {
            self.write_letter(letter, has_refusals, searches).await?;
        }
        if batch.staged.records.len() > 1 {
            let partitions: Vec<TopicPartition> = batch.staged.records.keys().cloned().collect();
            self.own.include(&partitions).await?;
        }
        for (at, records) in &mut batch.staged.records {
            while let Some(piece) = records.take() {
                let kept = searches.then(|| piece.clone());
                let appended = self.append(at, piece, searches).await;
                appended.map_err(|error| Refused::Append(at.clone(), kept, error))?;
            }
        }
        Ok(self.write_offsets(batch).await?)
    }

    /// Appends, and where it `searches` waits until the log has taken it.
    async fn append(
        &mut self,
        at: &TopicPartition,
        records: Vec<Record>,
        searches: bool,
    ) -> Result<(), LogError> {
        self.own.append(at, records).await?;
        if searches {
            self.own.flush().await?;
        }
        Ok(())
    }

    async fn write_letter(
        &mut self,
        letter: &Letter,
        has_refusals: bool,
        searches: bool,
    ) -> Result<(), Refused> {
        let partitions = partitions(&*self.log, &letter.topic).await?;
        let at = TopicPartition::new(Arc::clone(&letter.topic), letter.number % partitions.max(1));
        let is_short = has_refusals
            && self.transactions.with_refusals(|known| known.is_short(&letter.topic, &letter.record));
        let record = if is_short { &letter.short } else { &letter.record };
        let appended = self.append(&at, vec![record.clone()], searches).await;
        appended.map_err(|error| match is_short {
            // No letter of it can be written; nothing helps but another limit.
            true => Refused::Log(error),
            false => Refused::Letter(letter.clone(), error),
        })?;
        Ok(())
    }

    /// Commits how far was read, and notes the batch with it: its number must not be given again. A batch of which nothing was
    /// read is noted with the offset that the last note is with.
    async fn write_offsets(&mut self, batch: &Batch) -> Result<Option<LastBatch>, LogError> {
        let mut noted = None;
        for InputOffsets { group, member, offsets } in &batch.staged.inputs {
            let Some((at, offset)) = offsets.last().cloned() else { continue };
            let last = LastBatch { txid: batch.txid, group: Arc::clone(group), at, offset };
            let (member, note) = (member.as_deref(), last.note());
            self.own.commit_offsets_noting(group, member, offsets, &note).await?;
            noted = Some(last);
        }
        if let (None, Some(last)) = (&noted, &self.last) {
            let last = LastBatch { txid: batch.txid, ..last.clone() };
            let offsets = [(last.at.clone(), last.offset)];
            self.own.commit_offsets_noting(&last.group, None, &offsets, &last.note()).await?;
            noted = Some(last);
        }
        Ok(noted)
    }
}

async fn pause(scheduler: &dyn Scheduler, wait: &mut Duration) {
    scheduler.sleep_until(scheduler.clock().now().after(*wait)).await;
    *wait = (2 * *wait).min(ASK_AGAIN.1);
}

/// Whether a transaction failed for something that passes, whatever is in it.
pub(super) fn is_outage(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Storage(_) | LogError::Unavailable(_) | LogError::CommitFailed(_) | LogError::Closed
    )
}

/// How many partitions `topic` has, which is created if need be.
async fn partitions(log: &dyn Log, topic: &Arc<str>) -> Result<u32, LogError> {
    if let Some(info) = log.topic(topic).await? {
        return Ok(info.partitions);
    }
    match log.create_topic(topic, &TopicSpec::default()).await {
        Ok(()) | Err(LogError::TopicExists(_)) => {}
        Err(error) => return Err(error),
    }
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(Arc::clone(topic)))?;
    Ok(info.partitions)
}

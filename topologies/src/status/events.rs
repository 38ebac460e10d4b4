//! The stream that keeps the page up to date: server-sent events, once a second.
//!
//! Invariant: a browser that does not read is told less often, never held in memory: the next moment is looked at only once
//! the last one has gone out. A stopping server ends every stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use topo_core::metrics::TopologySnapshot;

use super::Snapshots;
use super::observer::Observer;
use super::refusal::{InQuery, refuse};
use super::routes::now_ms;
use super::views::{self, Asked, VIEWS};

/// How often the page is told.
const EVERY: Duration = Duration::from_secs(1);
/// How many streams there may be.
const MOST_STREAMS: usize = 64;

/// What the streams share.
#[derive(Clone)]
pub(super) struct Events {
    source: Arc<dyn Snapshots>,
    observer: Arc<Observer>,
    room: Arc<Semaphore>,
    /// Its sender goes when the server stops.
    stop: watch::Receiver<()>,
}

struct Telling {
    events: Events,
    asked: Asked,
    ticks: Interval,
    /// What the view shows, while it is looked up.
    making: Option<BoxFuture<'static, Option<String>>>,
    _room: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(
        source: Arc<dyn Snapshots>,
        observer: Arc<Observer>,
        stop: watch::Receiver<()>,
    ) -> Self {
        Self { source, observer, room: Arc::new(Semaphore::new(MOST_STREAMS)), stop }
    }
}

/// `/api/v1/events?view=NAME`: the topologies, and what the view shows, every second.
pub(super) async fn events(State(events): State<Events>, InQuery(asked): InQuery<Asked>) -> Response {
    let view = asked.get("view").map_or("", String::as_str);
    if !VIEWS.contains(&view) {
        let sentence = format!("there is no view `{view}`; there are {}", VIEWS.join(", "));
        return refuse(StatusCode::NOT_FOUND, sentence);
    }
    let Ok(room) = Arc::clone(&events.room).try_acquire_owned() else {
        let sentence = format!("{MOST_STREAMS} pages are open already; close one");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, sentence);
    };
    let mut stop = events.stop.clone();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let telling = Telling { events, asked, ticks, making: None, _room: room };
    let told = stream::unfold(telling, async |mut telling| Some((telling.next().await, telling)))
        .flat_map(stream::iter)
        .map(Ok::<_, Infallible>)
        .take_until(async move {
            // The sender is dropped, never used: the error is the signal.
            let _ = stop.changed().await;
        });
    Sse::new(told).into_response()
}

impl Telling {
    /// What is told next, when it is time. A view that takes long, as that of a log at a broker far away, holds up none but
    /// itself: it is asked for again once it was told.
    async fn next(&mut self) -> Option<Event> {
        let made = async {
            match &mut self.making {
                Some(making) => making.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            made = made => {
                self.making = None;
                made.map(|data| Event::default().event("view").data(data))
            }
            _ = self.ticks.tick() => {
                // One look for both: it is what costs most where there are many components.
                let (snapshots, now_ms) = (self.events.source.snapshots(), now_ms());
                let data = views::topologies(&snapshots, now_ms);
                if self.making.is_none() {
                    self.making = Some(self.make(snapshots, now_ms));
                }
                Some(Event::default().event("topologies").data(data))
            }
        }
    }

    fn make(&self, snapshots: Vec<TopologySnapshot>, now_ms: i64) -> BoxFuture<'static, Option<String>> {
        let Events { source, observer, .. } = self.events.clone();
        let asked = self.asked.clone();
        async move { views::view(&*source, &snapshots, &observer, &asked, now_ms).await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use topo_core::log::{Log, LogError, TopicPartition};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::MemoryLog;

    use super::*;
    use crate::status::tests::events;
    use crate::status::{GroupStanding, LogGroups, StatusServer, fixture};

    /// A log that tells its groups once it is let.
    struct Slow(watch::Receiver<bool>);

    struct Source(Arc<MemoryLog>, Arc<Slow>);

    impl Snapshots for Source {
        fn snapshots(&self) -> Vec<TopologySnapshot> {
            vec![fixture::topology()]
        }

        fn log(&self) -> Option<Arc<dyn Log>> {
            Some(Arc::clone(&self.0) as _)
        }

        fn log_groups(&self) -> Option<Arc<dyn LogGroups>> {
            Some(Arc::clone(&self.1) as _)
        }
    }

    #[async_trait]
    impl LogGroups for Slow {
        async fn groups(&self) -> Result<Vec<GroupStanding>, LogError> {
            self.0.clone().wait_for(|is_let| *is_let).await.map_err(|_| LogError::Closed)?;
            Ok(Vec::new())
        }

        async fn has_members(&self, _: &str) -> Result<Option<bool>, LogError> {
            Ok(None)
        }

        fn bytes(&self, _: &TopicPartition) -> Option<u64> {
            None
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_topologies_are_told_while_a_slow_view_is_looked_up() {
        let (let_it, is_let) = watch::channel(false);
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        let source = Arc::new(Source(Arc::new(log), Arc::new(Slow(is_let))));
        let server = StatusServer::bind("127.0.0.1:0".parse().unwrap(), source).unwrap();
        let told = |count| {
            let told = events(server.local_addr(), "/api/v1/events?view=log", count);
            told.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(told(3), ["topologies"; 3]);
        let_it.send(true).unwrap();
        assert_eq!(told(2), ["topologies", "view"]);
        server.shutdown().await;
    }
}

//! The stream that keeps the page up to date: server-sent events, once a second.
//!
//! Invariant: a browser that does not read is told less often, never held in memory: the next moment is looked at only once
//! the last one has gone out. A stopping server ends every stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Snapshots;
use super::observer::Observer;
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
pub(super) async fn events(State(events): State<Events>, Query(asked): Query<Asked>) -> Response {
    let view = asked.get("view").map_or("", String::as_str);
    if !VIEWS.contains(&view) {
        let sentence = format!("there is no view `{view}`; there are {}", VIEWS.join(", "));
        return (StatusCode::NOT_FOUND, Json(json!({ "error": sentence }))).into_response();
    }
    let Ok(room) = Arc::clone(&events.room).try_acquire_owned() else {
        let sentence = format!("{MOST_STREAMS} pages are open already; close one");
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": sentence }))).into_response();
    };
    let mut stop = events.stop.clone();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let telling = Telling { events, asked, ticks, _room: room };
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
    /// What is told next, when it is time.
    async fn next(&mut self) -> Vec<Event> {
        self.ticks.tick().await;
        let (source, now_ms) = (&*self.events.source, now_ms());
        let topologies = Event::default().event("topologies").data(views::topologies(source, now_ms));
        let view = views::view(source, &self.events.observer, &self.asked, now_ms).await;
        let view = view.map(|data| Event::default().event("view").data(data));
        [topologies].into_iter().chain(view).collect()
    }
}

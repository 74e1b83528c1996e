//! Events: history and what is to come as one stream, without a gap and without a double.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::refusal::Refusal;
use super::routes::App;
use super::wire::{Format, last_event_id, respond};
use crate::actor::recorder::History;
use crate::base::id::UnitId;
use crate::event::{Envelope, Event};

/// How many events go out at once.
const BATCH: usize = 256;

/// How many past events are shown when it is not said how many.
const LAST: usize = 100;

/// What is asked of `GET /v1/events`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// The first sequence number. Without it the stream begins `last` events ago.
    from: Option<u64>,
    /// How many past events are wanted.
    last: Option<usize>,
    /// How many events there are at most.
    limit: Option<usize>,
    /// Whether to go on with what is to come.
    #[serde(default)]
    follow: bool,
    /// Only events about this unit (or its instances), supervisor or child.
    about: Option<String>,
}

pub(super) async fn events(
    State(app): State<App>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(query) = query?;
    let history = app.node.history.clone();
    // First of all, so that nothing falls between the history and what is to come.
    let live = query.follow.then(|| history.follow());
    let start = match last_event_id(&headers).map(|last| last.saturating_add(1)).or(query.from) {
        Some(from) => from,
        None => start_of_last(&history, query.last.unwrap_or(LAST), query.about.clone()).await.map_err(Refusal::internal)?,
    };
    let until = if query.follow { u64::MAX } else { history.last() };
    let cursor = Cursor { history, next: start.max(1), until, live, older: None };
    let left = query.limit.unwrap_or(usize::MAX);
    let format = Format::asked(&headers);
    let state = (cursor, query.about, left);
    let stream = unfold(state, move |(mut cursor, about, mut left)| async move {
        while left > 0 {
            let mut batch = cursor.batch().await?;
            batch.retain(|event| about.as_ref().is_none_or(|about| is_about(&event.event, about)));
            batch.truncate(left);
            if !batch.is_empty() {
                left -= batch.len();
                let text: String = batch.iter().map(|event| format.frame(event.sequence, event)).collect();
                return Some((text, (cursor, about, left)));
            }
        }
        None
    });
    Ok(respond(format, stream, app.closing))
}

/// Whether `event` is about what is called `name`: a unit, all instances of a unit, a supervisor or its child.
fn is_about(event: &Event, name: &str) -> bool {
    let matches = |subject: &str| subject == name || UnitId::from(subject).template() == name;
    let child = match event {
        Event::ChildTerminated { child, .. } | Event::IntensityReached { child, .. } => Some(child.as_str()),
        _ => None,
    };
    event.subject().is_some_and(matches) || child.is_some_and(matches)
}

/// The sequence number of the `count`-th last event about `about`.
async fn start_of_last(history: &Arc<History>, count: usize, about: Option<String>) -> io::Result<u64> {
    let Some(about) = about else {
        return Ok((history.last() + 1).saturating_sub(count as u64));
    };
    let in_memory = history.recent(history.first_recent(), usize::MAX).unwrap_or_default();
    let about_it = |event: &&Envelope| is_about(&event.event, &about);
    let found: Vec<_> = in_memory.iter().rev().filter(about_it).take(count).map(|event| event.sequence).collect();
    let missing = count - found.len();
    let first = found.last().copied().unwrap_or_else(|| history.last() + 1);
    if missing == 0 {
        return Ok(first);
    }
    let history = history.clone();
    let search = move || {
        let mut kept = VecDeque::new();
        for event in history.read_older(0)?.take_while(|event| event.sequence < first).filter(|event| is_about(&event.event, &about)) {
            if kept.len() == missing {
                kept.pop_front();
            }
            kept.push_back(event.sequence);
        }
        Ok(kept.front().copied().unwrap_or(first))
    };
    tokio::task::spawn_blocking(search).await.map_err(io::Error::other)?
}

type Older = Box<dyn Iterator<Item = Envelope> + Send>;

/// A place in the history that moves on.
struct Cursor {
    history: Arc<History>,
    /// The next sequence number wanted.
    next: u64,
    /// The last one wanted.
    until: u64,
    /// What is to come; none if only the past is wanted.
    live: Option<Receiver<Envelope>>,
    /// The journal, while what is wanted is not in memory any more.
    older: Option<Older>,
}

impl Cursor {
    /// The next events, in order, each once; `None` at the end.
    async fn batch(&mut self) -> Option<Vec<Envelope>> {
        loop {
            if self.next > self.until {
                return None;
            }
            let recent = self.history.recent(self.next, BATCH);
            if recent.is_some() {
                // Should memory move on faster than this reader, the journal is opened anew, where the reader stands then.
                self.older = None;
            }
            match recent {
                Some(batch) if !batch.is_empty() => return self.advance(batch),
                Some(_) => match self.live.as_mut()?.recv().await {
                    // What was read from memory meanwhile comes again here.
                    Ok(event) if event.sequence < self.next => {}
                    Ok(event) if event.sequence == self.next => return self.advance(vec![event]),
                    // Something is between, or this reader is late: it is in memory or in the journal.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                None => {
                    let batch = self.older_batch().await;
                    if !batch.is_empty() {
                        return self.advance(batch);
                    }
                }
            }
        }
    }

    fn advance(&mut self, mut batch: Vec<Envelope>) -> Option<Vec<Envelope>> {
        batch.retain(|event| event.sequence <= self.until);
        self.next = batch.last()?.sequence + 1;
        Some(batch)
    }

    /// Events out of the journal; none when it is to be tried again, or when what memory does not hold is gone altogether.
    async fn older_batch(&mut self) -> Vec<Envelope> {
        let (history, next, open) = (self.history.clone(), self.next, self.older.take());
        let fresh = open.is_none();
        let read = move || {
            let mut older: Older = match open {
                Some(older) => older,
                None => Box::new(history.read_older(next)?),
            };
            let batch: Vec<_> = older.by_ref().take(BATCH).collect();
            io::Result::Ok((older, batch))
        };
        match tokio::task::spawn_blocking(read).await.map_err(io::Error::other).flatten() {
            Ok((older, batch)) if !batch.is_empty() => {
                self.older = Some(older);
                batch
            }
            // The end of the journal as it was when it was opened; it may have grown a generation since.
            Ok(_) if !fresh => Vec::new(),
            result => {
                if let Err(error) = result {
                    tracing::warn!("cannot read the event journal: {error}");
                }
                self.next = self.next.max(self.history.first_recent());
                Vec::new()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;
    use crate::store::journal::Journal;

    fn record(history: &History, count: u64) -> Vec<Envelope> {
        let event = |number: u64| Event::UnitStopping { unit: if number.is_multiple_of(2) { "even@1".into() } else { "odd".into() } };
        (0..count).map(|_| history.record(Wall(0), event(history.last() + 1))).collect()
    }

    async fn take(cursor: &mut Cursor, until: u64) -> Vec<u64> {
        let mut taken: Vec<u64> = Vec::new();
        while taken.last().is_none_or(|last| *last < until) {
            let Some(batch) = cursor.batch().await else { break };
            taken.extend(batch.iter().map(|event| event.sequence));
        }
        taken
    }

    fn cursor(history: &Arc<History>, next: u64, follow: bool) -> Cursor {
        let until = if follow { u64::MAX } else { history.last() };
        Cursor { live: follow.then(|| history.follow()), history: history.clone(), next, until, older: None }
    }

    fn history() -> (tempfile::TempDir, Arc<History>) {
        let directory = tempfile::tempdir().unwrap();
        let history = Arc::new(History::open(directory.path()).unwrap());
        (directory, history)
    }

    #[tokio::test]
    async fn past_and_future_join_without_gap_or_double() {
        let (directory, history) = history();
        let written = record(&history, 6000);
        Journal::new(directory.path().to_owned()).append(&written).1.unwrap();
        let mut reader = cursor(&history, 1, true);
        let past = take(&mut reader, 3000).await;
        // These come while the reader is still in the past.
        record(&history, 10);
        let rest = take(&mut reader, 6010).await;
        assert!(past.into_iter().chain(rest).eq(1..=6010));
        // And these while it waits, faster than it reads: it is told that it is late.
        let written = record(&history, 10_000);
        Journal::new(directory.path().to_owned()).append(&written).1.unwrap();
        assert!(take(&mut reader, 16_010).await.into_iter().eq(6011..=16_010));
        record(&history, 1);
        assert_eq!(take(&mut reader, 16_011).await, [16_011]);
    }

    #[tokio::test]
    async fn the_past_ends_where_it_was_asked_for() {
        let (_directory, history) = history();
        record(&history, 10);
        let mut reader = cursor(&history, 4, false);
        record(&history, 10);
        assert_eq!(take(&mut reader, u64::MAX).await, (4..=10).collect::<Vec<_>>());
        assert_eq!(take(&mut cursor(&history, 30, false), u64::MAX).await, [0; 0]);
    }

    #[tokio::test]
    async fn what_is_gone_is_passed_over() {
        let (_directory, history) = history();
        // Nothing of this is in a journal, and memory holds the latest only.
        record(&history, 5000);
        let taken = take(&mut cursor(&history, 1, false), u64::MAX).await;
        assert!(taken.into_iter().eq(5001 - crate::actor::recorder::RING as u64..=5000));
    }

    #[tokio::test]
    async fn the_last_events_of_one_unit_are_found() {
        let (directory, history) = history();
        let written = record(&history, 5000);
        Journal::new(directory.path().to_owned()).append(&written).1.unwrap();
        let start = |count, about: Option<&str>| {
            let history = history.clone();
            let about = about.map(str::to_owned);
            async move { start_of_last(&history, count, about).await.unwrap() }
        };
        assert_eq!(start(3, None).await, 4998);
        assert_eq!(start(3, Some("even")).await, 4996);
        assert_eq!(start(2500, Some("even")).await, 2);
        assert_eq!(start(9999, Some("odd")).await, 1);
        assert_eq!(start(3, Some("nobody")).await, 5001);
    }
}

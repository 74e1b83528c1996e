//! Gives every event its place in history and keeps it: in memory, in the journal, and for those who follow.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};

use super::context::Context;
use super::library::{BoxError, TaskContext};
use crate::base::time::Wall;
use crate::event::{Envelope, Event};
use crate::launcher::wire::ToLauncher;
use crate::os::clock;
use crate::store::journal::{self, Journal};

/// How many events are kept in memory; older ones are in the journal.
pub const RING: usize = 4096;

/// How many events one write to the journal gathers at most.
const BATCH: usize = 256;

/// How soon a journal that could not be written is tried again, at the latest. At most [`RING`] events wait for that; older ones are lost.
const AGAIN: Duration = Duration::from_secs(1);

/// The events of this node.
#[derive(Debug)]
pub struct History {
    directory: PathBuf,
    ring: Mutex<VecDeque<Envelope>>,
    live: broadcast::Sender<Envelope>,
    last: Mutex<u64>,
}

impl History {
    /// History as the journal in `directory` has it. Blocks.
    ///
    /// # Errors
    /// The journal is there and cannot be read.
    pub fn open(directory: &Path) -> std::io::Result<Self> {
        let last = journal::last_sequence(directory)?;
        Ok(Self { directory: directory.to_owned(), ring: Mutex::default(), live: broadcast::Sender::new(RING), last: Mutex::new(last) })
    }

    /// The sequence number of the latest event.
    #[must_use]
    pub fn last(&self) -> u64 {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events from `sequence` on that are still in memory; `None` if older ones are asked for: [`History::read_older`] has them.
    #[must_use]
    pub fn recent(&self, sequence: u64, limit: usize) -> Option<Vec<Envelope>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.front().map_or_else(|| self.last() + 1, |event| event.sequence);
        (sequence >= first).then(|| ring.iter().filter(|event| event.sequence >= sequence).take(limit).cloned().collect())
    }

    /// The sequence number of the oldest event in memory; of the next one if there is none.
    #[must_use]
    pub fn first_recent(&self) -> u64 {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.front().map_or_else(|| self.last() + 1, |event| event.sequence)
    }

    /// Events from `sequence` on out of the journal. Every call of the iterator may block.
    ///
    /// # Errors
    /// The journal is there and cannot be read.
    pub fn read_older(&self, sequence: u64) -> std::io::Result<impl Iterator<Item = Envelope> + Send + use<>> {
        journal::read_from(&self.directory, sequence)
    }

    /// Every event from now on. A reader that is more than [`RING`] events late is told so and can read what it missed.
    #[must_use]
    pub fn follow(&self) -> broadcast::Receiver<Envelope> {
        self.live.subscribe()
    }

    pub(crate) fn record(&self, time: Wall, event: Event) -> Envelope {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last += 1;
            *last
        };
        let envelope = Envelope { sequence, time, event };
        if ring.len() == RING {
            ring.pop_front();
        }
        ring.push_back(envelope.clone());
        // Nobody has to follow.
        drop(self.live.send(envelope.clone()));
        envelope
    }
}

/// Tells the launcher which exits it may forget, now that they are written down.
fn acknowledge(context: &Context, written: impl Iterator<Item = Envelope>) {
    for envelope in written {
        if let Event::UnitExited { unit, run, .. } = envelope.event {
            context.launcher.send(ToLauncher::Ack { unit, run });
        }
    }
}

/// Records until the daemon ends. `events` outlives an incarnation of the recorder.
///
/// # Errors
/// The bus is gone.
pub(crate) async fn run(
    task: TaskContext,
    context: Arc<Context>,
    history: Arc<History>,
    events: Arc<tokio::sync::Mutex<mpsc::Receiver<(Wall, Event)>>>,
) -> Result<(), BoxError> {
    let mut events = events.lock().await;
    let mut journal = Journal::new(history.directory.clone());
    let mut batch = Vec::with_capacity(BATCH);
    let mut failing = false;
    // What could not be written is tried again with what comes next.
    let mut envelopes = VecDeque::new();
    loop {
        tokio::select! {
            biased;
            count = events.recv_many(&mut batch, BATCH) => if count == 0 {
                return Err("the event bus is gone".into());
            },
            // Only once nothing waits: the events of the shutdown itself are recorded too.
            () = task.shutdown_requested() => return Ok(()),
            () = tokio::time::sleep(AGAIN), if failing => {}
        }
        envelopes.extend(batch.drain(..).map(|(time, event)| history.record(time, event)));
        let dropped = context.bus.take_dropped();
        if dropped > 0 {
            envelopes.push_back(history.record(clock::wall(), Event::EventsDropped { count: dropped }));
        }
        envelopes.drain(..envelopes.len().saturating_sub(RING));
        let (returned, tried, (written, result)) = tokio::task::spawn_blocking(move || {
            let result = journal.append(envelopes.make_contiguous());
            (journal, envelopes, result)
        })
        .await?;
        (journal, envelopes) = (returned, tried);
        acknowledge(&context, envelopes.drain(..written));
        if let Err(error) = &result
            && !failing
        {
            let directory = history.directory.display();
            tracing::error!("cannot write the event journal in {directory}: {error}; events are kept in memory only");
        }
        failing = result.is_err();
    }
}

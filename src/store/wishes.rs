//! What operators asked for, on disk before they hear that it is done.
//!
//! The writer has a thread of its own: whatever the disk does, nobody waits for it longer than he wants to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::generations::Files;
use super::writer::Writer;
use crate::base::time::{Mono, Wall};
use crate::event::{StoreRestored, StoreStatus, Wish};

/// So many wishes may wait for the writer. Further ones are not remembered, and whoever asked is told.
pub const QUEUE: usize = 4096;

/// So many wishes go into one transaction.
const BATCH: usize = 1024;

/// Where the writer reads the time.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The monotonic clock.
    pub mono: fn() -> Mono,
    /// The wall clock.
    pub wall: fn() -> Wall,
}

/// What the store has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It cannot be read or written.
    Failed {
        /// Why.
        why: String,
    },
    /// It works again.
    Recovered {
        /// How many changes have waited for that.
        written: usize,
    },
    /// It was damaged, and something took its place.
    Restored(StoreRestored),
    /// There is no new backup; the next one is tried when its time comes.
    BackupFailed {
        /// Why.
        why: String,
    },
    /// A wish was dropped.
    Forgotten {
        /// For what.
        target: String,
        /// Which.
        wish: Wish,
        /// Why.
        why: String,
    },
}

/// The wishes as the disk had them, or why it cannot be read.
pub type Loaded = Result<BTreeMap<String, Wish>, String>;

/// Whether a wish is safe on disk.
pub type Remembered = oneshot::Receiver<Result<(), String>>;

enum Job {
    Wish(String, Wish, oneshot::Sender<Result<(), String>>),
    Plan(BTreeSet<String>),
}

/// The way to the writer. When it is dropped, the writer ends after what it has heard.
#[derive(Debug)]
pub struct Store {
    queue: SyncSender<Job>,
    status: Arc<Mutex<StoreStatus>>,
}

impl Store {
    /// Starts the writer over the files in `directory`. The second value comes when they are read.
    ///
    /// # Errors
    /// There is no thread to be had. What is wrong with the files is reported, and tried again.
    pub fn start(
        directory: PathBuf,
        clocks: Clocks,
        report: impl Fn(Report) + Send + 'static,
    ) -> io::Result<(Self, oneshot::Receiver<Loaded>)> {
        let (queue, jobs) = sync_channel(QUEUE);
        let (loaded, when_loaded) = oneshot::channel();
        let status = Arc::new(Mutex::new(StoreStatus::default()));
        let shown = status.clone();
        let run = move || {
            let mut writer = Writer::new(Files::new(directory), clocks);
            let read = writer.write();
            let show = |writer: &mut Writer| {
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = writer.status();
                writer.take_reports().into_iter().for_each(&report);
            };
            show(&mut writer);
            // Nobody may want to know any more.
            drop(loaded.send(read.map(|()| writer.wishes())));
            work(&mut writer, &jobs, show);
        };
        std::thread::Builder::new().name("store".into()).spawn(run)?;
        Ok((Self { queue, status }, when_loaded))
    }

    /// Has a wish written. The answer comes when it is safe from a loss of power, or cannot be written for now; then it is tried again.
    pub fn record(&self, target: &str, wish: Wish) -> Remembered {
        let (sender, remembered) = oneshot::channel();
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = self.queue.try_send(Job::Wish(target.into(), wish, sender))
            && let Job::Wish(_, _, sender) = job
        {
            drop(sender.send(Err("the disk is too slow".into())));
        }
        remembered
    }

    /// Tells which units and supervisors there are; wishes for others are kept for a while only.
    pub fn plan(&self, known: BTreeSet<String>) {
        // A full queue: the next plan does as well.
        drop(self.queue.try_send(Job::Plan(known)));
    }

    /// How the store stands.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn work(writer: &mut Writer, jobs: &Receiver<Job>, mut show: impl FnMut(&mut Writer)) {
    loop {
        let mut waiting = Vec::new();
        let mut take = |writer: &mut Writer, job| match job {
            Job::Wish(target, wish, sender) => {
                writer.wish(target, wish);
                waiting.push(sender);
            }
            Job::Plan(known) => writer.plan(&known),
        };
        match jobs.recv_timeout(writer.patience()) {
            Ok(job) => {
                take(writer, job);
                jobs.try_iter().take(BATCH).for_each(|job| take(writer, job));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let result = writer.write();
        show(writer);
        for sender in waiting {
            // Whoever asked may have lost his patience.
            drop(sender.send(result.clone()));
        }
        writer.tidy();
        show(writer);
    }
}

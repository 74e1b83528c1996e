//! What the children of one measurement have in common.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{Notify, watch};

use crate::column::{Job, Mode};
use crate::worker::Ask;

/// How long things get to come to rest.
const REST: Duration = Duration::from_millis(500);

/// What the children of one measurement have in common.
#[derive(Clone)]
pub(crate) struct Stage(Arc<Inner>);

struct Inner {
    job: Job,
    births: AtomicUsize,
    deaths: AtomicUsize,
    done: Notify,
    crash: watch::Sender<bool>,
    actors: Mutex<Vec<ActorRef<Ask>>>,
}

/// What a child does once it is up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It fails at once.
    Crash,
    /// It fails when it is told to.
    CrashWhenTold,
    /// It waits to be stopped.
    Wait,
}

impl Stage {
    pub(crate) fn new(job: Job) -> Self {
        Self(Arc::new(Inner {
            job,
            births: AtomicUsize::new(0),
            deaths: AtomicUsize::new(0),
            done: Notify::new(),
            crash: watch::Sender::new(false),
            actors: Mutex::default(),
        }))
    }

    /// How many children there are.
    pub(crate) fn children(&self) -> usize {
        match self.0.job.mode {
            Mode::One | Mode::Call => 1,
            Mode::All | Mode::Many => self.0.job.count,
        }
    }

    /// A child is up. The last one that is to come up ends the measurement.
    pub(crate) fn born(&self) -> Act {
        let count = self.0.job.count;
        match self.0.job.mode {
            Mode::Many | Mode::Call => Act::Wait,
            Mode::One if self.birth() <= count => Act::Crash,
            Mode::One => self.finish(),
            Mode::All => match self.birth() {
                number if number <= count => Act::CrashWhenTold,
                number if number == 2 * count => self.finish(),
                _ => Act::Wait,
            },
        }
    }

    fn birth(&self) -> usize {
        self.0.births.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn finish(&self) -> Act {
        self.0.done.notify_one();
        Act::Wait
    }

    /// Nothing is left of a child of a measurement of many.
    pub(crate) fn died(&self) {
        if self.0.job.mode == Mode::Many && self.0.deaths.fetch_add(1, Ordering::AcqRel) + 1 == self.0.job.count {
            self.finish();
        }
    }

    /// Waits for the last one.
    pub(crate) async fn done(&self) {
        self.0.done.notified().await;
    }

    /// An actor that is to be told when to fail.
    pub(crate) fn enlist(&self, actor: ActorRef<Ask>) {
        self.0.actors.lock().unwrap_or_else(PoisonError::into_inner).push(actor);
    }

    /// Waits for the word to fail.
    pub(crate) async fn told_to_crash(&self) {
        // The sender is here: it cannot be gone.
        drop(self.0.crash.subscribe().wait_for(|crash| *crash).await);
    }

    /// Tells all children to fail.
    pub(crate) fn crash_all(&self) {
        let actors = std::mem::take(&mut *self.0.actors.lock().unwrap_or_else(PoisonError::into_inner));
        for actor in actors {
            // It is there: nobody else ends it.
            drop(actor.cast(Ask::Crash));
        }
        self.0.crash.send_replace(true);
    }
}

/// Lets everything come to rest.
pub(crate) async fn rest() {
    tokio::time::sleep(REST).await;
}

//! What operators asked for, as the daemon knows it: the store's and the launcher's memory of it, made one.
//!
//! The store outlives everything; the launcher's notes outlive the brain, and have what the store could not take. Where they differ the
//! wish with the higher number counts, because it is the later one, whoever holds it; the other one is brought up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::unit::Note;
use crate::event::{Desired, StoreStatus, Wish};
use crate::os::clock;
use crate::plan::Plan;
use crate::store::wishes::{Loaded, Remembered, Store};

/// How long whoever asks for something waits to hear that it is remembered. The wish is written whenever the disk comes to it.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The user of a wish that an earlier version has noted without saying whose it was.
const UNKNOWN: u32 = u32::MAX;

/// Who asks, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The user id.
    pub uid: u32,
    /// Why, if that was said.
    pub why: Option<String>,
}

/// What operators asked for.
#[derive(Debug)]
pub struct Wishes {
    store: Store,
    /// All that was on disk is known.
    complete: bool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last: u64,
    wishes: BTreeMap<String, Wish>,
}

impl Wishes {
    /// As the store has them.
    #[must_use]
    pub fn new(store: Store, loaded: Loaded) -> Self {
        let complete = loaded.is_ok();
        let wishes = loaded.unwrap_or_default();
        let last = wishes.values().map(|wish| wish.number).max().unwrap_or(0);
        Self { store, complete, known: Mutex::new(Known { last, wishes }) }
    }

    /// How the store stands.
    #[must_use]
    pub fn store(&self) -> StoreStatus {
        self.store.status()
    }

    /// What was asked of `target` last.
    #[must_use]
    pub fn of(&self, target: &str) -> Option<Wish> {
        self.known().wishes.get(target).cloned()
    }

    /// Whether an operator keeps `target` itself stopped.
    pub(crate) fn keeps_stopped(&self, target: &str) -> bool {
        self.known().wishes.get(target).is_some_and(Wish::is_stop)
    }

    /// Compares with what the launcher remembers of `target`.
    pub(crate) fn compare(&self, target: &str, note: &Note) {
        let noted = note.wish.clone().or_else(|| {
            let why = Some("an earlier version did not note who asked".into());
            note.held.then(|| Wish { number: 0, desired: Desired::Stopped, uid: UNKNOWN, at: clock::wall(), why })
        });
        let Some(noted) = noted else { return };
        let mut known = self.known();
        known.last = known.last.max(noted.number);
        if known.wishes.get(target).is_none_or(|wish| wish.number < noted.number) {
            known.wishes.insert(target.into(), noted.clone());
            // It is tried again until it is written.
            drop(self.store.record(target, noted));
        }
    }

    /// Takes a wish in. The first value is it; the second tells when it is remembered; none, if there is nothing to remember.
    pub(crate) fn record(&self, target: &str, desired: Desired, asker: &Asker) -> Option<(Wish, Remembered)> {
        let mut known = self.known();
        let stops = known.wishes.get(target).is_some_and(Wish::is_stop);
        if self.complete && desired == Desired::Started && !stops {
            return None;
        }
        let at = clock::wall();
        // Numbers only grow. That they follow the clock makes them grow even if what was numbered before could not be read.
        known.last = (known.last + 1).max(u64::try_from(at.0).unwrap_or(0));
        let wish = Wish { number: known.last, desired, uid: asker.uid, at, why: asker.why.clone() };
        known.wishes.insert(target.into(), wish.clone());
        // Under the lock, so that the store hears of wishes in their order; it never waits.
        let remembered = self.store.record(target, wish.clone());
        Some((wish, remembered))
    }

    /// Tells the store what there is.
    pub(crate) fn plan(&self, plan: &Plan) {
        let units = plan.units.keys().map(|unit| unit.as_str().to_owned());
        let known: BTreeSet<_> = units.chain(plan.supervisors.keys().map(|one| one.as_str().to_owned())).collect();
        self.store.plan(known);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a wish is remembered; why it is not.
pub(crate) async fn remembered(wish: Option<Remembered>) -> Result<(), String> {
    let Some(wish) = wish else { return Ok(()) };
    match tokio::time::timeout(PATIENCE, wish).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("the store has ended".into()),
        Err(_) => Err(format!("the disk does not answer within {}s", PATIENCE.as_secs())),
    }
}

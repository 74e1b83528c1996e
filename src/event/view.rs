//! The read model: how everything stands now. Each actor keeps its own entry; readers copy.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::base::breaker::BreakerState;
use crate::base::exit::{ExitCause, Usage};
use crate::base::id::{SupervisorId, UnitId};
use crate::base::time::{Mono, Wall};
use crate::event::{Counters, IsolationStatus, LimitStatus, ProbeStatus, WatchStatus, Wish};

/// How a unit stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// The unit.
    pub unit: UnitId,
    /// One line for people.
    pub description: Option<String>,
    /// Its supervisor.
    pub supervisor: SupervisorId,
    /// Where it stands, by name: a state of its life, or `failed` when it is stopped because it could not go on.
    pub state: String,
    /// Since when.
    pub since: Wall,
    /// The same on the monotonic clock.
    pub since_mono: Mono,
    /// Whether it is ready for work.
    pub ready: bool,
    /// Its main process.
    pub pid: Option<u32>,
    /// When that was started.
    pub started: Option<Wall>,
    /// How often it was started again.
    pub restarts: u64,
    /// Whether an operator keeps it stopped.
    pub held: bool,
    /// Whether all its processes stand still, because an operator paused it or it may be done without.
    pub paused: bool,
    /// Whether it stands still, or is stopped, because it may be done without under pressure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// What an operator asked of it last.
    #[serde(default)]
    pub wish: Option<Wish>,
    /// Why it stands where it stands, if that needs saying.
    pub reason: Option<String>,
    /// What it says of itself (`STATUS=` of `sd_notify(3)`).
    pub status: Option<String>,
    /// How it ended the last time.
    pub last_exit: Option<LastExit>,
    /// Whether its stderr has a log of its own.
    #[serde(skip)]
    pub separate_stderr: bool,
    /// How the breaker of its restarts stands, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub breaker: Option<BreakerState>,
    /// What was done about it last, or would have been, and what came of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
    /// Its limits that were set, or could not be.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub limits: Vec<LimitStatus>,
    /// How its probes stand.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub probes: Vec<ProbeStatus>,
    /// Of a unit that is only watched: what it stands for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watch: Option<WatchStatus>,
    /// What it is kept from.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub isolation: Option<IsolationStatus>,
    /// What is counted of it.
    #[serde(skip)]
    pub counters: Counters,
}

impl UnitStatus {
    /// A unit that was never started.
    #[must_use]
    pub fn new(unit: UnitId, supervisor: SupervisorId, since: Wall, since_mono: Mono) -> Self {
        Self {
            unit,
            description: None,
            separate_stderr: false,
            breaker: None,
            remedy: None,
            limits: Vec::new(),
            probes: Vec::new(),
            watch: None,
            isolation: None,
            supervisor,
            state: "stopped".into(),
            since,
            since_mono,
            ready: false,
            pid: None,
            started: None,
            restarts: 0,
            held: false,
            paused: false,
            rests: false,
            wish: None,
            reason: None,
            status: None,
            last_exit: None,
            counters: Counters::default(),
        }
    }
}

/// How a main process ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastExit {
    /// The exit status.
    pub cause: ExitCause,
    /// The same in words.
    pub text: String,
    /// When.
    pub at: Wall,
    /// What it had used.
    pub usage: Usage,
}

/// How a supervisor stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    /// The supervisor.
    pub supervisor: SupervisorId,
    /// Its supervisor; `None` for the root.
    pub parent: Option<SupervisorId>,
    /// Its strategy by name.
    pub strategy: String,
    /// `starting`, `active`, `stopping`, `stopped` or `degraded`.
    pub state: String,
    /// Its children by name, in start order.
    pub children: Vec<String>,
    /// How often it restarted a child that had ended or failed.
    pub restarts: u64,
    /// How often it gave up.
    pub escalations: u64,
    /// What an operator asked of it last.
    #[serde(default)]
    pub wish: Option<Wish>,
    /// Why it stands where it stands, if that needs saying.
    pub reason: Option<String>,
    /// Its limits that were set, or could not be.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub limits: Vec<LimitStatus>,
}

/// How everything stands.
#[derive(Debug, Default)]
pub struct View {
    units: RwLock<BTreeMap<UnitId, Arc<Mutex<UnitStatus>>>>,
    supervisors: RwLock<BTreeMap<SupervisorId, SupervisorStatus>>,
}

impl View {
    /// Puts a unit in; its actor keeps the entry up to date.
    pub fn add_unit(&self, status: UnitStatus) -> Arc<Mutex<UnitStatus>> {
        let id = status.unit.clone();
        let entry = Arc::new(Mutex::new(status));
        self.units.write().unwrap_or_else(PoisonError::into_inner).insert(id, entry.clone());
        entry
    }

    /// Takes a unit out.
    pub fn remove_unit(&self, unit: &UnitId) {
        self.units.write().unwrap_or_else(PoisonError::into_inner).remove(unit);
    }

    /// How `unit` stands.
    #[must_use]
    pub fn unit(&self, unit: &str) -> Option<UnitStatus> {
        self.units.read().unwrap_or_else(PoisonError::into_inner).get(unit).map(|entry| lock(entry).clone())
    }

    /// Changes how `unit` stands.
    pub fn change_unit(&self, unit: &str, change: impl FnOnce(&mut UnitStatus)) {
        if let Some(entry) = self.units.read().unwrap_or_else(PoisonError::into_inner).get(unit) {
            change(&mut lock(entry));
        }
    }

    /// How every unit stands, by name.
    #[must_use]
    pub fn units(&self) -> Vec<UnitStatus> {
        self.units.read().unwrap_or_else(PoisonError::into_inner).values().map(|entry| lock(entry).clone()).collect()
    }

    /// Looks at every unit, by name, without copying it. Each is locked while it is looked at.
    pub fn each_unit(&self, mut look: impl FnMut(&UnitStatus)) {
        for entry in self.units.read().unwrap_or_else(PoisonError::into_inner).values() {
            look(&lock(entry));
        }
    }

    /// Puts a supervisor in, or its children and strategy anew.
    pub fn add_supervisor(&self, status: SupervisorStatus) {
        self.supervisors.write().unwrap_or_else(PoisonError::into_inner).insert(status.supervisor.clone(), status);
    }

    /// Takes a supervisor out.
    pub fn remove_supervisor(&self, supervisor: &SupervisorId) {
        self.supervisors.write().unwrap_or_else(PoisonError::into_inner).remove(supervisor);
    }

    /// Changes how a supervisor stands.
    pub fn change_supervisor(&self, supervisor: &SupervisorId, change: impl FnOnce(&mut SupervisorStatus)) {
        if let Some(status) = self.supervisors.write().unwrap_or_else(PoisonError::into_inner).get_mut(supervisor) {
            change(status);
        }
    }

    /// How every supervisor stands, by name.
    #[must_use]
    pub fn supervisors(&self) -> Vec<SupervisorStatus> {
        self.supervisors.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

fn lock(entry: &Mutex<UnitStatus>) -> MutexGuard<'_, UnitStatus> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}

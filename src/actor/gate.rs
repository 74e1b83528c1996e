//! Who may start: a unit waits for what it requires, and for its turn when many start at once.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::plan::{Plan, RestartBudget, UnitPlan};
use crate::policy::budget::Budget;
use crate::policy::pool::Pools;

/// Where a unit stands for those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is on its way.
    Pending,
    /// It is ready.
    Ready,
    /// It failed, and may be tried again.
    Failed,
    /// Nobody wants it up.
    Down,
}

/// Where a unit stands, and how often it went down: who only sees the latest must not miss a fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand {
    standing: Standing,
    falls: u64,
}

/// Where every unit stands, and how many may start at once.
#[derive(Debug)]
pub struct Gates {
    standings: RwLock<BTreeMap<UnitId, watch::Sender<Stand>>>,
    /// Who requires, binds to, wants or starts after a unit.
    dependents: RwLock<BTreeMap<UnitId, Vec<UnitId>>>,
    turns: Arc<Semaphore>,
    /// How many restarts there may be, and what is left of that.
    budget: Mutex<(Option<RestartBudget>, Budget)>,
    /// Whose breakers keep them from being started.
    pools: Mutex<Pools>,
}

/// What a waiting unit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bar {
    Requires,
    Wants,
    After,
}

impl Bar {
    const fn lets_pass(self, standing: Standing) -> bool {
        match (self, standing) {
            (_, Standing::Ready) => true,
            (Self::Requires, _) | (_, Standing::Pending) => false,
            (Self::Wants | Self::After, Standing::Failed | Standing::Down) => true,
        }
    }
}

impl Gates {
    /// Lets `limit` units start at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            standings: RwLock::default(),
            dependents: RwLock::default(),
            turns: Arc::new(Semaphore::new(limit)),
            budget: Mutex::default(),
            pools: Mutex::default(),
        }
    }

    /// Takes note of where a unit stands.
    pub fn set(&self, unit: &UnitId, standing: Standing) {
        if let Some(sender) = self.standings.read().unwrap_or_else(PoisonError::into_inner).get(unit) {
            sender.send_if_modified(|old| {
                let is_new = old.standing != standing;
                old.falls += u64::from(is_new && matches!(standing, Standing::Failed | Standing::Down));
                old.standing = standing;
                is_new
            });
            return;
        }
        let stand = Stand { standing, falls: 0 };
        let mut standings = self.standings.write().unwrap_or_else(PoisonError::into_inner);
        standings.entry(unit.clone()).or_insert_with(|| watch::Sender::new(stand)).send_replace(stand);
    }

    /// Forgets a unit. Whoever requires it waits for ever, which only a plan that was refused could ask for.
    pub fn remove(&self, unit: &UnitId) {
        self.standings.write().unwrap_or_else(PoisonError::into_inner).remove(unit);
    }

    /// Takes note of who depends on whom in a new plan.
    pub fn plan(&self, plan: &Plan) {
        let mut dependents: BTreeMap<UnitId, Vec<UnitId>> = BTreeMap::new();
        for unit in plan.units.values() {
            for (_, needed) in bars(unit) {
                dependents.entry(needed.clone()).or_default().push(unit.id.clone());
            }
        }
        *self.dependents.write().unwrap_or_else(PoisonError::into_inner) = dependents;
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).0 = plan.daemon.restart_budget;
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).plan(plan);
    }

    /// Takes a restart out of the budget of all units: how long it has to wait.
    pub fn take_restart(&self, now: Mono) -> Duration {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let (plan, left) = &mut *budget;
        plan.map_or(Duration::ZERO, |plan| left.take(now, plan))
    }

    /// Whether the breaker of `unit` may keep it from being started.
    pub fn eject(&self, unit: &UnitPlan) -> bool {
        let share = unit.restart.breaker.as_ref().map_or(1.0, |breaker| breaker.max_ejected);
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).eject(&unit.id, share)
    }

    /// It does not keep it any more.
    pub fn readmit(&self, unit: &UnitId) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).readmit(unit);
    }

    /// The units that require, bind to, want or start after `unit`.
    #[must_use]
    pub fn dependents(&self, unit: &UnitId) -> Vec<UnitId> {
        self.dependents.read().unwrap_or_else(PoisonError::into_inner).get(unit).cloned().unwrap_or_default()
    }

    /// The units `plan` waits for now, by name.
    #[must_use]
    pub fn waiting_for(&self, plan: &UnitPlan) -> Vec<UnitId> {
        let closed = |(bar, unit): &(Bar, &UnitId)| !bar.lets_pass(self.standing(unit));
        bars(plan).filter(closed).map(|(_, unit)| unit.clone()).collect()
    }

    /// A turn, if nothing bars the way and one is free.
    #[must_use]
    pub fn pass_now(&self, plan: &UnitPlan) -> Option<OwnedSemaphorePermit> {
        if bars(plan).any(|(bar, unit)| !bar.lets_pass(self.standing(unit))) {
            return None;
        }
        self.turns.clone().try_acquire_owned().ok()
    }

    /// Waits until nothing bars the way, then for a turn.
    pub fn pass(&self, plan: &UnitPlan) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + 'static {
        let watches: Vec<_> = bars(plan).filter_map(|(bar, unit)| Some((bar, self.watch(unit)?))).collect();
        let turns = self.turns.clone();
        async move {
            for (bar, mut watch) in watches {
                watch.wait_for(|stand| bar.lets_pass(stand.standing)).await.ok()?;
            }
            turns.acquire_owned().await.ok()
        }
    }

    /// Waits until none of `units` is up or on its way.
    pub fn all_down(&self, units: &[UnitId]) -> impl Future<Output = ()> + Send + 'static {
        let watches: Vec<_> = units.iter().filter_map(|unit| self.watch(unit)).collect();
        async move {
            for mut watch in watches {
                // A unit that is gone is down.
                drop(watch.wait_for(|stand| matches!(stand.standing, Standing::Down | Standing::Failed)).await);
            }
        }
    }

    /// Waits until one of `units` has gone down, and tells which; one that is down already counts.
    pub fn loss(&self, units: &[UnitId]) -> impl Future<Output = UnitId> + Send + 'static {
        let watches: Vec<_> = units.iter().filter_map(|unit| Some((unit.clone(), self.watch(unit)?))).collect();
        async move {
            let losses = watches.into_iter().map(|(unit, mut watch)| {
                Box::pin(async move {
                    let begun = *watch.borrow();
                    let is_lost = |stand: &Stand| stand.falls != begun.falls || matches!(stand.standing, Standing::Down | Standing::Failed);
                    // One that has left the plan has gone down before.
                    drop(watch.wait_for(is_lost).await);
                    unit
                })
            });
            futures_util::future::select_all(losses).await.0
        }
    }

    fn standing(&self, unit: &UnitId) -> Standing {
        self.watch(unit).map_or(Standing::Down, |watch| watch.borrow().standing)
    }

    fn watch(&self, unit: &UnitId) -> Option<watch::Receiver<Stand>> {
        self.standings.read().unwrap_or_else(PoisonError::into_inner).get(unit).map(watch::Sender::subscribe)
    }
}

fn bars(plan: &UnitPlan) -> impl Iterator<Item = (Bar, &UnitId)> {
    let requires = plan.requires.iter().chain(&plan.binds).map(|unit| (Bar::Requires, unit));
    let wants = plan.wants.iter().map(|unit| (Bar::Wants, unit));
    let after = plan.after.iter().map(|unit| (Bar::After, unit));
    requires.chain(wants).chain(after)
}

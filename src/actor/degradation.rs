//! What the daemon does without under pressure: measures, takes and undoes steps, and sees to the units that may be done without.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::context::Context;
use super::tree::{Ask, Tree};
use super::{BoxError, TaskContext};
use crate::base::id::UnitId;
use crate::base::pressure::Pressure;
use crate::event::{DegradationStatus, DegradationStepped, Event, HostStatus, UnitStatus};
use crate::os::clock;
use crate::plan::{DegradationStep, Plan};
use crate::policy::Machine as _;
use crate::policy::degradation::{Effect, Input, Ladder, Rest, Sample, Standing, rest};
use crate::policy::health::Sparing;

/// How often it is measured, and looked whether units are as they should be.
const LOOK: Duration = Duration::from_secs(1);

/// How many units are stopped or started at once.
const AT_ONCE: usize = 64;

/// What is done without, for all to see.
#[derive(Debug)]
pub struct Degradation {
    sparing: watch::Sender<Sparing>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    status: DegradationStatus,
    /// Units that were stopped.
    stopped: BTreeSet<UnitId>,
    /// Units an operator wants up all the same, until all that rests may run.
    wanted: BTreeSet<UnitId>,
}

impl State {
    /// An operator wants a unit up.
    fn wants(&mut self, plan: &Plan, unit: UnitId) {
        if !self.status.taken.is_empty() && plan.units.get(&unit).is_some_and(|plan| plan.optional) {
            self.wanted.insert(unit);
        }
    }
}

impl Default for Degradation {
    fn default() -> Self {
        Self { sparing: watch::Sender::new(Sparing::default()), state: Mutex::default() }
    }
}

impl Degradation {
    /// How the ladder stands.
    #[must_use]
    pub fn status(&self) -> DegradationStatus {
        self.state().status.clone()
    }

    /// How probes are to be made, now and later.
    #[must_use]
    pub fn sparing(&self) -> watch::Receiver<Sparing> {
        self.sparing.subscribe()
    }

    /// So much time is to be between two looks at something that is looked at so often.
    #[must_use]
    pub fn slow(&self, period: Duration) -> Duration {
        period.saturating_mul(self.sparing.borrow().slowdown)
    }

    /// Whether a unit is stopped because it may be done without.
    pub(crate) fn keeps_stopped(&self, unit: &UnitId) -> bool {
        self.state().stopped.contains(unit)
    }

    /// An operator starts or stops something: that counts, whatever is done without.
    pub(crate) fn yield_to(&self, plan: &Plan, target: &str, wants_up: bool) {
        let units = plan.units_below(&[target.to_owned()]);
        let mut state = self.state();
        for unit in units {
            state.stopped.remove(&unit);
            if wants_up {
                state.wants(plan, unit);
            }
        }
    }

    /// An operator lets a unit stand still, or go on. One that is stopped comes back as it would have.
    pub(crate) fn paused(&self, plan: &Plan, target: &str, pause: bool) {
        if !pause {
            self.state().wants(plan, target.into());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures again and again.
///
/// # Errors
/// None.
pub async fn run(task: TaskContext, context: Arc<Context>, tree: Arc<Tree>) -> Result<(), BoxError> {
    let mut plan = tree.plan();
    let mut keeper = Keeper::new(context, tree.clone(), &plan);
    keeper.publish(None);
    loop {
        let now = clock::mono();
        let mut effects = Vec::new();
        let newest = tree.plan();
        if !Arc::ptr_eq(&plan, &newest) {
            keeper.ladder.step(now, Input::Replan(newest.daemon.degradation.clone()), &mut effects);
            (plan, keeper.is_settled) = (newest, false);
            keeper.publish(None);
        }
        keeper.ladder.step(now, Input::Sampled(sample(&keeper.context.host.status())), &mut effects);
        keeper.carry_out(effects);
        keeper.settle(&plan);
        let next = tokio::time::sleep(LOOK);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                Some(done) = keeper.orders.join_next() => keeper.ordered(done.ok()),
                () = task.shutdown_requested() => return Ok(()),
            }
        }
    }
}

/// What the observer has seen last. A machine that has not been looked at yet is not known.
fn sample(host: &HostStatus) -> Sample {
    let some = |pressure: Option<Pressure>| pressure.map(|pressure| pressure.some);
    let pressure = host.pressure;
    let (cpu, memory, io) = (some(pressure.cpu), some(pressure.memory), some(pressure.io));
    Sample { cpu, memory, io, memory_available: host.memory_available, brain_lag: host.memory_available.map(|_| host.lag) }
}

struct Keeper {
    context: Arc<Context>,
    tree: Arc<Tree>,
    ladder: Ladder,
    /// Nothing is taken, and nothing rests.
    is_settled: bool,
    /// Units that are being stopped or started.
    busy: BTreeSet<UnitId>,
    orders: JoinSet<(UnitId, Rest, bool)>,
}

impl Keeper {
    fn new(context: Arc<Context>, tree: Arc<Tree>, plan: &Plan) -> Self {
        // Units of an earlier brain stand still: it was under pressure. The way back is the usual one.
        let mut found = None;
        context.view.each_unit(|unit| {
            if unit.rests && unit.paused {
                found = Some(DegradationStep::PauseOptional);
            }
        });
        let ladder = Ladder::new(plan.daemon.degradation.clone(), found, clock::mono());
        Self { context, tree, ladder, is_settled: false, busy: BTreeSet::new(), orders: JoinSet::new() }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            let of = self.ladder.len();
            let stepped = match effect {
                Effect::StepDown { step, what, why } => DegradationStepped { step, of, what, down: true, why },
                Effect::StepBack { step, what, why } => DegradationStepped { step, of, what, down: false, why: why.to_string() },
            };
            self.is_settled = false;
            self.publish(Some(stepped.why.clone()));
            self.context.bus.tell(Event::DegradationStepped(stepped));
        }
    }

    /// Has everybody see how the ladder stands.
    fn publish(&self, why: Option<String>) {
        let (step, of, taken) = (self.ladder.at(), self.ladder.len(), self.ladder.taken().to_vec());
        let degradation = &self.context.degradation;
        let mut state = degradation.state();
        let before = std::mem::take(&mut state.status);
        let is_new = before.taken != taken;
        let since = if is_new || before.since.is_none() { Some(clock::wall()) } else { before.since };
        state.status = DegradationStatus { step, of, taken, since, why: why.or(before.why) };
        drop(state);
        degradation.sparing.send_if_modified(|sparing| std::mem::replace(sparing, self.ladder.sparing()) != self.ladder.sparing());
    }

    /// Has each unit be as the steps that are taken want it.
    fn settle(&mut self, plan: &Plan) {
        if self.is_settled || self.context.stopping.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let taken = self.ladder.taken().to_vec();
        let rests = taken.iter().any(|step| matches!(step, DegradationStep::PauseOptional | DegradationStep::StopOptional));
        let (stopped, wanted) = {
            let mut state = self.context.degradation.state();
            if !rests {
                state.wanted.clear();
            }
            (state.stopped.clone(), state.wanted.clone())
        };
        let (mut orders, mut any) = (Vec::new(), false);
        self.context.view.each_unit(|unit| {
            let stopped = stopped.contains(&unit.unit);
            let optional = plan.units.get(&unit.unit).is_some_and(|plan| plan.optional);
            let can_rest = optional && !wanted.contains(&unit.unit);
            if let Some(order) = rest(&taken, standing(unit, can_rest, stopped)) {
                orders.push((unit.unit.clone(), order));
            }
            // One whose pause is only on its way has to be waited for.
            any |= stopped || unit.rests;
        });
        self.is_settled = !rests && !any && self.busy.is_empty();
        for (unit, order) in orders {
            self.order(unit, order);
        }
    }

    fn order(&mut self, unit: UnitId, order: Rest) {
        let ask = match order {
            Rest::Pause | Rest::Resume => return self.tree.rest(&unit, order),
            Rest::Stop => Ask::Stop { hold: true },
            Rest::Start => Ask::Start,
        };
        // Those who have to wait are looked at again.
        if self.busy.len() >= AT_ONCE || !self.busy.insert(unit.clone()) {
            return;
        }
        let mut state = self.context.degradation.state();
        if order == Rest::Stop {
            state.stopped.insert(unit.clone())
        } else {
            state.stopped.remove(&unit)
        };
        drop(state);
        self.tree.rest(&unit, order);
        let tree = self.tree.clone();
        self.orders.spawn(async move {
            let done = tree.ask_quietly(unit.as_str(), ask).await;
            if let Err(why) = &done {
                tracing::warn!("while it may be done without: {why}");
            }
            (unit, order, done.is_ok())
        });
    }

    /// A unit was stopped or started, or could not be. What could not be stopped is looked at again.
    fn ordered(&mut self, done: Option<(UnitId, Rest, bool)>) {
        let Some((unit, order, is_done)) = done else { return };
        self.busy.remove(&unit);
        if order == Rest::Stop && !is_done {
            self.context.degradation.state().stopped.remove(&unit);
            self.tree.rest(&unit, Rest::Start);
        }
    }
}

fn standing(unit: &UnitStatus, can_rest: bool, stopped: bool) -> Standing {
    let down = matches!(unit.state.as_str(), "stopped" | "failed");
    Standing {
        can_rest,
        held: unit.held,
        active: unit.state == "active",
        down,
        paused: unit.paused,
        rests: if down { stopped } else { unit.rests },
    }
}

//! Runs the probes of one unit, as long as its process runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::base::outcome::Outcome;
use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::os::check::{Surroundings, check};
use crate::os::clock::RuntimeClock;
use crate::plan::{ProbeKind, ProbePlan};
use crate::policy::Machine as _;
use crate::policy::health::{Effect, Health, Input, Standing};

/// How many probes may look at once, of all units; programs apart, which cost more. Others wait for their turn, and are not judged for that.
#[derive(Debug)]
pub struct Turns {
    looks: Semaphore,
    programs: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { looks: Semaphore::new(256), programs: Semaphore::new(8) }
    }
}

/// Woken so much later than it wanted, it did not run meanwhile: nor did whoever was to answer, perhaps.
const STALLED: Duration = Duration::from_secs(1);

/// What it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// The unit stands still.
    Pause,
    /// It goes on.
    Resume,
}

/// What it tells.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A probe was made.
    Found {
        /// Which one.
        probe: usize,
        /// What it has found.
        outcome: Outcome,
        /// How long that took.
        took: Duration,
    },
    /// A probe stands elsewhere now.
    Changed(usize, Standing),
    /// The unit may be given work, or not.
    Ready(bool),
    /// The unit has to be started again, because of this probe.
    Dead(usize),
    /// A probe began late.
    Late(usize),
}

/// The probes of a process, while it is there. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Prober {
    orders: mpsc::Sender<Order>,
    task: AbortHandle,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a prober is made of.
pub(crate) struct Arguments {
    pub(crate) plans: Vec<Arc<ProbePlan>>,
    pub(crate) rng: Rng,
    pub(crate) surroundings: Surroundings,
    /// The process was running and ready before this brain began.
    pub(crate) found: bool,
    pub(crate) turns: Arc<Turns>,
}

impl Prober {
    /// Begins. `tell` is called for all news until it says that nobody listens any more.
    pub(crate) fn start(arguments: Arguments, tell: impl FnMut(News) -> bool + Send + 'static) -> Self {
        let (orders, ordered) = mpsc::channel(4);
        let task = tokio::spawn(Probing::new(arguments, tell).run(ordered)).abort_handle();
        Self { orders, task }
    }

    /// Tells it.
    pub(crate) fn order(&self, order: Order) {
        // It takes them as they come; one that has ended needs none.
        let _gone = self.orders.try_send(order);
    }
}

/// The task.
struct Probing<T> {
    health: Health,
    plans: Vec<Arc<ProbePlan>>,
    surroundings: Arc<Surroundings>,
    turns: Arc<Turns>,
    found: bool,
    clock: RuntimeClock,
    running: JoinSet<(usize, Outcome, Duration)>,
    tell: T,
}

impl<T: FnMut(News) -> bool> Probing<T> {
    fn new(arguments: Arguments, tell: T) -> Self {
        Self {
            health: Health::new(&arguments.plans, arguments.rng),
            plans: arguments.plans,
            surroundings: Arc::new(arguments.surroundings),
            turns: arguments.turns,
            found: arguments.found,
            clock: RuntimeClock::new(),
            running: JoinSet::new(),
            tell,
        }
    }

    async fn run(mut self, mut ordered: mpsc::Receiver<Order>) {
        let mut goes_on = self.step(Input::Begin { found: self.found });
        while goes_on {
            let due = self.health.deadline();
            goes_on = tokio::select! {
                order = ordered.recv() => match order {
                    Some(Order::Pause) => self.step(Input::Pause),
                    Some(Order::Resume) => self.step(Input::Resume),
                    None => false,
                },
                Some(ended) = self.running.join_next() => match ended {
                    Ok((probe, outcome, took)) => {
                        let verdict = outcome.verdict;
                        (self.tell)(News::Found { probe, outcome, took }) && self.step(Input::Outcome { probe, verdict })
                    }
                    // A probe that panics is a fault of ours, and says nothing of the unit.
                    Err(fault) => {
                        tracing::error!("a probe has failed: {fault}");
                        true
                    }
                },
                () = sleep_until(due, self.clock) => {
                    let late = due.is_some_and(|due| self.clock.now() - due >= STALLED);
                    (!late || self.step(Input::StoodStill)) && self.wake()
                }
            };
        }
    }

    fn step(&mut self, input: Input) -> bool {
        let mut effects = Vec::new();
        self.health.step(self.clock.now(), input, &mut effects);
        self.carry_out(effects)
    }

    fn wake(&mut self) -> bool {
        let mut effects = Vec::new();
        self.health.wake(self.clock.now(), &mut effects);
        self.carry_out(effects)
    }

    /// Whether anybody listens.
    fn carry_out(&mut self, effects: Vec<Effect>) -> bool {
        effects.into_iter().all(|effect| match effect {
            Effect::Probe(probe) => {
                self.probe(probe);
                true
            }
            Effect::Changed(probe, standing) => (self.tell)(News::Changed(probe, standing)),
            Effect::Ready(is_ready) => (self.tell)(News::Ready(is_ready)),
            Effect::Dead(probe) => (self.tell)(News::Dead(probe)),
            Effect::Late(probe) => (self.tell)(News::Late(probe)),
        })
    }

    fn probe(&mut self, at: usize) {
        let Some(plan) = self.plans.get(at).cloned() else { return };
        let (surroundings, turns, clock) = (self.surroundings.clone(), self.turns.clone(), self.clock);
        self.running.spawn(async move {
            let turns = if matches!(plan.kind, ProbeKind::Command(_)) { &turns.programs } else { &turns.looks };
            // Nobody closes them.
            let _turn = turns.acquire().await;
            let begun = clock.now();
            let outcome = check(&plan.kind, &surroundings, plan.timeout).await;
            (at, outcome, clock.now() - begun)
        });
    }
}

async fn sleep_until(due: Option<Mono>, clock: RuntimeClock) {
    match due {
        // The timer counts whole milliseconds; one more, so that the time has come when it rings.
        Some(due) => tokio::time::sleep((due - clock.now()) + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}

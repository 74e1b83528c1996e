//! Runs the probes of one unit, as long as its process runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::observer::Host;
use super::program::{Program, Programs, Who};
use crate::base::outcome::Outcome;
use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::os::check::{Memory, Surroundings, check, judge, slow};
use crate::os::clock::{self, RuntimeClock};
use crate::plan::{DetectorKind, ProbeKind, ProbePlan, UnitPlan, WatchdogPlan};
use crate::policy::Machine as _;
use crate::policy::breaker::Changed;
use crate::policy::detector::{self, Detector, DetectorPlan, Verdict};
use crate::policy::health::Sparing;
use crate::policy::health::{Effect, Health, Input, Standing};
use crate::policy::pace::Watch;

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

/// By how much the clocks differ after a suspension that matters.
const SUSPENDED: Duration = Duration::from_millis(100);

/// What it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// The unit stands still.
    Pause,
    /// It goes on.
    Resume,
    /// It gives a sign of life.
    Beat(Option<u64>),
    /// It has become ready: its signs of life are waited for.
    Ready,
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
    /// The breaker of a probe stands elsewhere now.
    Breaker(usize, Changed),
    /// How suspicious its silence is.
    Phi(f64),
    /// It has been silent for too long: so long, and so suspicious is that.
    Silent(Duration, f64),
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
    pub(crate) watchdog: Option<WatchdogPlan>,
    pub(crate) rng: Rng,
    pub(crate) surroundings: Surroundings,
    /// The process was running and ready before this brain began.
    pub(crate) found: bool,
    pub(crate) turns: Arc<Turns>,
    pub(crate) host: Arc<Host>,
    /// How often probes are to be made.
    pub(crate) sparing: watch::Receiver<Sparing>,
    pub(crate) programs: Arc<Programs>,
    /// Whose programs are run as the unit's own; `None`: as the daemon's.
    pub(crate) unit: Option<Arc<UnitPlan>>,
}

impl Prober {
    /// Begins. `tell` is called for all news until it says that nobody listens any more.
    pub(crate) fn start(arguments: Arguments, tell: impl FnMut(News) -> bool + Send + 'static) -> Self {
        let (orders, ordered) = mpsc::channel(64);
        let task = tokio::spawn(Probing::new(arguments, tell).run(ordered)).abort_handle();
        Self { orders, task }
    }

    /// Tells it.
    pub(crate) fn order(&self, order: Order) {
        // It takes them as they come; one that has ended needs none.
        let _gone = self.orders.try_send(order);
    }
}

/// Which probe has looked, what it has found, how long that took, and what it leaves behind.
type Looked = (usize, Outcome, Duration, Memory);

/// What a prober wakes for.
enum Happened {
    Ordered(Order),
    Looked(Box<Result<Looked, JoinError>>),
    Due,
    Spared,
}

/// The task.
struct Probing<T> {
    health: Health,
    heart: Option<Heart>,
    /// The clocks when it was last awake: monotonic, and the one that goes on while the machine is suspended.
    awake: (Mono, Mono),
    sparing: watch::Receiver<Sparing>,
    host: Arc<Host>,
    /// What is known of times when nobody could look, until then.
    caught_up: Mono,
    plans: Vec<Arc<ProbePlan>>,
    surroundings: Arc<Surroundings>,
    turns: Arc<Turns>,
    programs: Arc<Programs>,
    unit: Option<Arc<UnitPlan>>,
    found: bool,
    clock: RuntimeClock,
    running: JoinSet<Looked>,
    /// What each probe has left behind for its next look.
    memories: Vec<Memory>,
    /// What those measure whose period goes by that.
    watches: Vec<Watch>,
    tell: T,
}

impl<T: FnMut(News) -> bool> Probing<T> {
    fn new(arguments: Arguments, tell: T) -> Self {
        Self {
            health: Health::new(&arguments.plans, arguments.rng),
            memories: arguments.plans.iter().map(|_| Memory::default()).collect(),
            watches: arguments.plans.iter().map(|_| Watch::default()).collect(),
            heart: arguments.watchdog.as_ref().map(|plan| Heart::new(plan, arguments.found)),
            awake: (clock::mono(), clock::boottime()),
            sparing: arguments.sparing,
            host: arguments.host,
            caught_up: clock::mono(),
            plans: arguments.plans,
            surroundings: Arc::new(arguments.surroundings),
            turns: arguments.turns,
            programs: arguments.programs,
            unit: arguments.unit,
            found: arguments.found,
            clock: RuntimeClock::new(),
            running: JoinSet::new(),
            tell,
        }
    }

    async fn run(mut self, mut ordered: mpsc::Receiver<Order>) {
        let mut goes_on = self.spare() && self.step(Input::Begin { found: self.found });
        while goes_on {
            let heart = self.heart.as_ref().and_then(Heart::due);
            let due = self.health.deadline().into_iter().chain(heart).min();
            let happened = tokio::select! {
                order = ordered.recv() => match order {
                    Some(order) => Happened::Ordered(order),
                    None => return,
                },
                Some(ended) = self.running.join_next() => Happened::Looked(Box::new(ended)),
                () = self.clock.sleep_until(due) => Happened::Due,
                Ok(()) = self.sparing.changed() => Happened::Spared,
            };
            goes_on = self.catch_up(due)
                && match happened {
                    Happened::Ordered(order) => self.obey(order),
                    Happened::Looked(ended) => match *ended {
                        Ok(look) => self.looked(look),
                        // A probe that panics is a fault of ours, and says nothing of the unit.
                        Err(fault) => {
                            tracing::error!("a probe has failed: {fault}");
                            true
                        }
                    },
                    Happened::Due => self.wake(),
                    Happened::Spared => self.spare(),
                };
            self.awake = (clock::mono(), clock::boottime());
        }
    }

    /// Probes are to be made so often.
    fn spare(&mut self) -> bool {
        let sparing = *self.sparing.borrow_and_update();
        self.step(Input::Spare(sparing))
    }

    fn looked(&mut self, (probe, outcome, took, memory): Looked) -> bool {
        self.memories[probe] = memory;
        let (now, verdict) = (self.clock.now(), outcome.verdict);
        let watch = self.watches.get_mut(probe).zip(self.plans.get(probe).filter(|plan| plan.min_period.is_some()));
        let is_tense = watch.is_some_and(|(watch, plan)| watch.is_tense(now, plan.period, &outcome.values));
        (self.tell)(News::Found { probe, outcome, took }) && self.step(Input::Outcome { probe, verdict, is_tense })
    }

    /// When nothing ran, as far as that is known here or elsewhere, that says nothing of the unit. To be known before anything is judged.
    fn catch_up(&mut self, due: Option<Mono>) -> bool {
        let now = self.clock.now();
        let late = due.is_some_and(|due| now - due >= STALLED);
        let own = (late || self.was_suspended()).then(|| (due.unwrap_or(now).min(now), now));
        let stalls = self.host.stalls(self.caught_up, now);
        own.into_iter().chain(stalls).all(|(from, to)| {
            self.caught_up = self.caught_up.max(to);
            if let Some(heart) = &mut self.heart {
                heart.detector.stood_still(from, to);
            }
            self.step(Input::StoodStill(to))
        })
    }

    fn obey(&mut self, order: Order) -> bool {
        let now = self.clock.now();
        if let Some(heart) = &mut self.heart {
            heart.obey(order, now);
        }
        match order {
            Order::Pause => self.step(Input::Pause),
            Order::Resume => self.step(Input::Resume),
            Order::Beat(_) => self.tell_phi(now),
            Order::Ready => true,
        }
    }

    /// Whether the machine was suspended since it was last awake.
    fn was_suspended(&self) -> bool {
        let (mono, boottime) = self.awake;
        (clock::boottime() - boottime).saturating_sub(clock::mono() - mono) > SUSPENDED
    }

    fn tell_phi(&mut self, now: Mono) -> bool {
        let phi = self.heart.as_ref().map(|heart| heart.detector.phi(now));
        phi.is_none_or(|phi| (self.tell)(News::Phi(phi)))
    }

    fn step(&mut self, input: Input) -> bool {
        let mut effects = Vec::new();
        self.health.step(self.clock.now(), input, &mut effects);
        self.carry_out(effects)
    }

    fn wake(&mut self) -> bool {
        let (now, mut effects) = (self.clock.now(), Vec::new());
        self.health.wake(now, &mut effects);
        self.carry_out(effects) && self.listen(now)
    }

    /// Looks whether the unit has been silent for too long.
    fn listen(&mut self, now: Mono) -> bool {
        let Some(heart) = self.heart.as_mut().filter(|heart| heart.due().is_some_and(|due| due <= now)) else { return true };
        heart.look_at = now + heart.every;
        let (silence, phi) = (now - heart.heard, heart.detector.phi(now));
        if heart.detector.judge(now) == Verdict::Alive {
            return (self.tell)(News::Phi(phi));
        }
        // One verdict is enough: the run ends by it.
        heart.is_heard = false;
        (self.tell)(News::Silent(silence, phi))
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
            Effect::Breaker(probe, changed) => (self.tell)(News::Breaker(probe, changed)),
        })
    }

    fn probe(&mut self, at: usize) {
        let Some(plan) = self.plans.get(at).cloned() else { return };
        let memory = self.memories.get_mut(at).map(std::mem::take).unwrap_or_default();
        let (surroundings, turns, clock) = (self.surroundings.clone(), self.turns.clone(), self.clock);
        let (programs, unit) = (self.programs.clone(), self.unit.clone());
        self.running.spawn(async move {
            let turns = if matches!(plan.kind, ProbeKind::Command(_)) { &turns.programs } else { &turns.looks };
            // Nobody closes them.
            let _turn = turns.acquire().await;
            let begun = clock.now();
            let (outcome, memory) = match &plan.kind {
                ProbeKind::Command(words) => (ask(&programs, &plan, words, (&surroundings, unit)).await, memory),
                _ => check(&plan, &surroundings, memory).await,
            };
            let took = clock.now() - begun;
            (at, slow(&plan, took, outcome), took, memory)
        });
    }
}

/// Runs the program of a probe.
async fn ask(
    programs: &Programs,
    plan: &ProbePlan,
    words: &[String],
    (surroundings, unit): (&Surroundings, Option<Arc<UnitPlan>>),
) -> Outcome {
    let mut environment = surroundings.environment.clone();
    environment.push(("MS_MAINPID".into(), surroundings.pid.to_string()));
    let program = Program {
        purpose: "probe",
        words: words.to_vec(),
        environment,
        directory: surroundings.directory.clone(),
        who: unit.map_or(Who::User(None), Who::Unit),
        input: None,
        keeps_stderr: false,
        within: plan.timeout,
        grace: None,
    };
    match programs.run(program).await {
        Ok(run) => judge(words.first().map_or("", String::as_str), run.end, &run.output, plan.timeout),
        Err(why) => Outcome::unknown(why),
    }
}

/// Listens to the signs of life.
struct Heart {
    detector: Detector,
    /// It is ready, and neither paused nor given up.
    is_heard: bool,
    paused: Option<Mono>,
    heard: Mono,
    /// How often the suspicion is told, and when next.
    every: Duration,
    look_at: Mono,
}

impl Heart {
    fn new(plan: &WatchdogPlan, found: bool) -> Self {
        let period = plan.timeout / 2;
        let kind = match plan.detector {
            DetectorKind::Phi => detector::Kind::Phi { threshold: plan.threshold },
            DetectorKind::Timeout => detector::Kind::Timeout,
            DetectorKind::Chen => detector::Kind::Chen { margin: plan.timeout / 4 },
        };
        // Who beats as often as recommended may miss a beat; the timeout is the end of patience in any case.
        let plan = DetectorPlan { kind, pause: plan.timeout / 4, limit: plan.timeout, ..DetectorPlan::every(period) };
        let now = clock::mono();
        let every = period.clamp(Duration::from_millis(100), Duration::from_secs(10));
        Self { detector: Detector::new(plan, now), is_heard: found, paused: None, heard: now, every, look_at: now + every }
    }

    fn due(&self) -> Option<Mono> {
        let listens = self.is_heard && self.paused.is_none();
        listens.then(|| self.detector.deadline().map_or(self.look_at, |deadline| deadline.min(self.look_at)))
    }

    fn obey(&mut self, order: Order, now: Mono) {
        match order {
            Order::Beat(sequence) => {
                self.detector.beat(now, sequence);
                self.heard = now;
            }
            Order::Ready if !self.is_heard => {
                // What it did before was to become ready.
                self.detector.stood_still(self.heard, now);
                (self.is_heard, self.heard) = (true, now);
            }
            Order::Pause => self.paused = self.paused.or(Some(now)),
            Order::Resume => {
                if let Some(since) = self.paused.take() {
                    self.detector.stood_still(since, now);
                    self.heard = now;
                }
            }
            Order::Ready => {}
        }
    }
}

#[cfg(test)]
mod tests;

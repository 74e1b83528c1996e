//! What the daemon does without while the machine, or the daemon itself, is under pressure: a ladder of declared steps.
//!
//! Beyond a limit for long enough, the next step is taken; well below all of them for long enough, the last one is undone. Between the two nothing
//! happens, and each change of mind begins the wait anew: what sways around a limit takes no step and undoes none.
//!
//! What is not known is neither: it takes no step, and breaks the wait for one. But nobody is kept frozen because of what cannot be seen: if nothing
//! at all is known for five times as long as recovery takes, a step is undone. A limit whose value is unknown while others are known is
//! passed over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::health::Sparing;
use crate::base::time::{Mono, format_duration};
use crate::plan::{DegradationPlan, DegradationStep};

/// A step is undone if nothing is known for so many times the time recovery takes.
const UNKNOWN: u32 = 5;

/// What was seen last is known for so long.
const STALE: Duration = Duration::from_secs(10);

/// What is measured at one time. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// How much is waited for processors.
    pub cpu: Option<f64>,
    /// How much for memory.
    pub memory: Option<f64>,
    /// How much for input and output.
    pub io: Option<f64>,
    /// How much memory is available.
    pub memory_available: Option<f64>,
    /// How late a timer was.
    pub brain_lag: Option<Duration>,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Something was measured.
    Sampled(Sample),
    /// Another ladder is declared, or none any more. What is beyond its end is undone at once.
    Replan(Option<Arc<DegradationPlan>>),
}

/// Why a step is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackCause {
    /// The pressure is over.
    Calm,
    /// Nothing is known.
    Unknown,
    /// It is not declared any more.
    Replanned,
}

impl fmt::Display for BackCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Calm => "the pressure is over",
            Self::Unknown => "nothing can be measured",
            Self::Replanned => "it is not declared any more",
        })
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A step was taken.
    StepDown {
        /// How many are taken now.
        step: usize,
        /// This one.
        what: DegradationStep,
        /// What is too little.
        why: String,
    },
    /// A step was undone.
    StepBack {
        /// How many are taken now.
        step: usize,
        /// This one.
        what: DegradationStep,
        /// Why.
        why: BackCause,
    },
}

/// How what was measured stands to the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Judgement {
    /// At least one is passed.
    Beyond,
    /// None is, but not all are well below.
    Between,
    /// All are well below.
    Calm,
    /// Nothing is known.
    #[default]
    Unknown,
}

/// The ladder.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    plan: Option<Arc<DegradationPlan>>,
    /// How many steps are taken.
    step: usize,
    judgement: Judgement,
    /// Since when that is so; or since the last step.
    since: Mono,
    sampled: Mono,
}

impl Ladder {
    /// One at whose end nobody has arrived. `found`: units are at rest because an earlier brain had taken this step; it is taken then.
    #[must_use]
    pub fn new(plan: Option<Arc<DegradationPlan>>, found: Option<DegradationStep>, now: Mono) -> Self {
        let place = |step| plan.as_ref()?.steps.iter().position(|one| *one == step);
        let step = found.and_then(place).map_or(0, |at| at + 1);
        Self { plan, step, judgement: Judgement::Unknown, since: now, sampled: now }
    }

    /// How many steps are taken.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.step
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plan.as_ref().map_or(0, |plan| plan.steps.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The steps that are taken.
    #[must_use]
    pub fn taken(&self) -> &[DegradationStep] {
        self.plan.as_ref().and_then(|plan| plan.steps.get(..self.step)).unwrap_or_default()
    }

    /// How probes and other looks are to be made.
    #[must_use]
    pub fn sparing(&self) -> Sparing {
        let slowdown = self.plan.as_ref().map_or(1, |plan| plan.slowdown.max(1));
        let taken = |step| self.taken().contains(&step);
        let (slow, fewer) = (taken(DegradationStep::SlowSampling), taken(DegradationStep::FewerProbes));
        let times = |slow| if slow { slowdown } else { 1 };
        Sparing { slowdown: times(slow), readiness: times(slow || fewer), no_observation: fewer }
    }

    fn judge(&mut self, now: Mono, judgement: Judgement) {
        if std::mem::replace(&mut self.judgement, judgement) != judgement {
            self.since = now;
        }
    }

    fn sampled(&mut self, now: Mono, sample: &Sample, out: &mut Vec<Effect>) {
        let Some(plan) = self.plan.clone() else { return };
        self.sampled = now;
        let (judgement, why) = judge(&plan, sample);
        self.judge(now, judgement);
        let waited = now - self.since;
        match judgement {
            Judgement::Beyond if waited >= plan.patience => {
                let Some(what) = plan.steps.get(self.step).copied() else { return };
                (self.step, self.since) = (self.step + 1, now);
                out.push(Effect::StepDown { step: self.step, what, why });
            }
            Judgement::Calm if waited >= plan.recover_for => self.back(now, BackCause::Calm, out),
            Judgement::Beyond | Judgement::Calm | Judgement::Between | Judgement::Unknown => {}
        }
    }

    fn back(&mut self, now: Mono, why: BackCause, out: &mut Vec<Effect>) {
        if let Some(what) = self.taken().last().copied() {
            (self.step, self.since) = (self.step - 1, now);
            out.push(Effect::StepBack { step: self.step, what, why });
        }
    }

    fn replan(&mut self, now: Mono, plan: Option<Arc<DegradationPlan>>, out: &mut Vec<Effect>) {
        if self.plan == plan {
            return;
        }
        let len = plan.as_ref().map_or(0, |plan| plan.steps.len());
        while self.step > len {
            self.back(now, BackCause::Replanned, out);
        }
        self.plan = plan;
        (self.judgement, self.since, self.sampled) = (Judgement::Unknown, now, now);
    }

    /// When a step is undone because nothing is known.
    fn lost_at(&self) -> Option<Mono> {
        let plan = self.plan.as_ref().filter(|_| self.step > 0)?;
        (self.judgement == Judgement::Unknown).then(|| self.since + plan.recover_for.saturating_mul(UNKNOWN))
    }
}

impl Machine for Ladder {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        // What was seen before a long gap is not known any more.
        self.wake(now, out);
        match input {
            Input::Sampled(sample) => self.sampled(now, &sample, out),
            Input::Replan(plan) => self.replan(now, plan, out),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        self.plan.as_ref()?;
        if self.judgement == Judgement::Unknown { self.lost_at() } else { Some(self.sampled + STALE) }
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.judgement != Judgement::Unknown && now - self.sampled >= STALE {
            self.judge(now, Judgement::Unknown);
        }
        if self.lost_at().is_some_and(|at| at <= now) {
            self.back(now, BackCause::Unknown, out);
        }
    }
}

/// One value beside its limit: how it stands, and how that reads if it is beyond.
type Found = (Judgement, String);

/// How a sample stands to the limits; of those it is beyond, the first.
fn judge(plan: &DegradationPlan, sample: &Sample) -> Found {
    let limits = &plan.limits;
    let most = |name: &str, value: Option<f64>, limit: Option<f64>| -> Option<Found> {
        let (value, limit) = (value?, limit?);
        Some((place(value > limit, value <= limit * plan.clear), format!("{name} is {}, more than {}", percent(value), percent(limit))))
    };
    let available = || -> Option<Found> {
        let (value, limit) = (sample.memory_available?, limits.memory_available?);
        // Of what is beyond the limit, half is asked for at most: more than all there is not.
        let clear = (limit / plan.clear).min(f64::midpoint(limit, 1.0));
        let text = format!("memory_available is {}, less than {}", percent(value), percent(limit));
        Some((place(value < limit, value >= clear), text))
    };
    let lag = || -> Option<Found> {
        let (value, limit) = (sample.brain_lag?, limits.brain_lag?);
        let text = format!("brain_lag is {}ms, more than {}", value.as_millis(), format_duration(limit));
        Some((place(value > limit, value <= limit.mul_f64(plan.clear)), text))
    };
    let all = [
        most("cpu_pressure", sample.cpu, limits.cpu),
        most("memory_pressure", sample.memory, limits.memory),
        most("io_pressure", sample.io, limits.io),
        available(),
        lag(),
    ];
    let known: Vec<Found> = all.into_iter().flatten().collect();
    let is_calm = known.iter().all(|(judgement, _)| *judgement == Judgement::Calm);
    match known.iter().find(|(judgement, _)| *judgement == Judgement::Beyond) {
        Some(found) => found.clone(),
        None if known.is_empty() => (Judgement::Unknown, String::new()),
        None => (if is_calm { Judgement::Calm } else { Judgement::Between }, String::new()),
    }
}

const fn place(is_beyond: bool, is_calm: bool) -> Judgement {
    match (is_beyond, is_calm) {
        (true, _) => Judgement::Beyond,
        (false, true) => Judgement::Calm,
        (false, false) => Judgement::Between,
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// What is to become of one unit under the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It is to stand still.
    Pause,
    /// It is to go on: it stands still because of the ladder.
    Resume,
    /// It is to be stopped.
    Stop,
    /// It is to be started: it was stopped because of the ladder.
    Start,
}

/// How a unit stands to the ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It may be done without, and nobody has said otherwise since.
    pub can_rest: bool,
    /// An operator keeps it stopped.
    pub held: bool,
    /// It has come up, and nobody has asked it to end.
    pub active: bool,
    /// There is nothing of it.
    pub down: bool,
    /// It stands still.
    pub paused: bool,
    /// It does so, or is down, because of the ladder.
    pub rests: bool,
}

/// What is to become of a unit while these steps are taken. What an operator has paused or stopped is left alone.
#[must_use]
pub fn rest(taken: &[DegradationStep], unit: Standing) -> Option<Rest> {
    let wants = |step| unit.can_rest && taken.contains(&step);
    let (pause, stop) = (wants(DegradationStep::PauseOptional), wants(DegradationStep::StopOptional));
    let is_ours = unit.rests && !unit.held;
    match (unit.paused, unit.down) {
        // Of one that an operator has let stand still nothing is known.
        (true, _) if !is_ours => None,
        (true, _) if stop => Some(Rest::Stop),
        (true, _) => (!pause).then_some(Rest::Resume),
        // What was stopped stays so until it may run: it is not started to stand still.
        (false, true) => (is_ours && !pause && !stop).then_some(Rest::Start),
        (false, false) if unit.rests || unit.held => None,
        (false, false) if stop => Some(Rest::Stop),
        (false, false) => (pause && unit.active).then_some(Rest::Pause),
    }
}

#[cfg(test)]
mod tests;

//! Whether a unit is well, by its probes. The words and their meaning are those of Kubernetes' probes.
//!
//! *Startup* probes run first, alone; once each has passed they are over, and the others begin. A *liveness* probe that fails often enough in a
//! row says that the unit has to be started again, a *readiness* probe that it should not be given work; an *observe* probe is only shown.
//! Probes run at a fixed rate, one at a time each, begin at times of their own within the period, and are never made up for. A probe that
//! cannot tell (`unknown`) changes nothing. One with two periods is made more often while it wants care, and then more and more seldom. What
//! failed while nobody could look, because this process or the machine stood still, is not counted.

mod timing;

#[cfg(feature = "daemon")]
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use timing::{Sparing, Timing};

use super::Machine;
use super::breaker::{Breaker, CallOutcome, Changed, Permit};
use crate::base::choice::ProbeRole;
use crate::base::outcome::Verdict;
use crate::base::rng::Rng;
use crate::base::time::Mono;
#[cfg(feature = "daemon")]
use crate::plan::ProbePlan;

/// A probe that begins later than this part of its period is late.
const LATE: u32 = 10;

/// How a probe stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has not said yet.
    #[default]
    Pending,
    /// It has passed as often as it has to.
    Passing,
    /// It has failed as often as it may.
    Failing,
}

impl Standing {
    /// The standing as shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Passing => "passing",
            Self::Failing => "failing",
        }
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// The unit's process runs. `found`: it was running and ready before anybody here looked.
    Begin {
        /// Whether it was found so.
        found: bool,
    },
    /// A probe has come to its end.
    Outcome {
        /// Which one.
        probe: usize,
        /// What it has found.
        verdict: Verdict,
        /// Something it has measured is near its limit, or soon beyond it.
        is_tense: bool,
    },
    /// The unit stands still: nothing can be said about it.
    Pause,
    /// It goes on.
    Resume,
    /// Probes are to be made so often from now on.
    Spare(Sparing),
    /// This process, or the machine, did not run until then.
    StoodStill(Mono),
    /// The unit's process has ended.
    End,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Run a probe.
    Probe(usize),
    /// A probe stands elsewhere now.
    Changed(usize, Standing),
    /// The unit may be given work, or not any more: what startup and readiness probes say together. Said when it changes.
    Ready(bool),
    /// The unit is to be started again: this probe says so.
    Dead(usize),
    /// The breaker of a probe stands elsewhere now.
    Breaker(usize, Changed),
    /// A probe began late, or not at all because the last run was still on.
    Late(usize),
}

#[derive(Clone, Debug)]
struct Probe {
    timing: Timing,
    /// Where in the period it begins, from 0 to 1.
    phase: f64,
    /// It is made so many times more seldom.
    slowdown: u32,
    /// It is not made at all.
    rests: bool,
    /// How often it is made now, if it is not spared.
    current: Duration,
    /// When its last turn was to be.
    last: Mono,
    due: Option<Mono>,
    /// Since when it runs.
    running: Option<Mono>,
    passed: u32,
    failed: u32,
    standing: Standing,
    breaker: Option<Breaker>,
    permit: Option<Permit>,
}

impl Probe {
    /// Its turn has come: whether it runs, and whether it is late.
    fn turn(&mut self, now: Mono, news: &mut Option<Changed>) -> (bool, bool) {
        let Some(due) = self.due().filter(|&due| due <= now) else { return (false, false) };
        let period = self.period();
        let behind = (now - due).as_nanos() / period.as_nanos();
        let periods = u32::try_from(behind).unwrap_or(u32::MAX).saturating_add(1);
        self.last = due + period.saturating_mul(periods - 1);
        self.due = Some(self.last + period);
        let runs = self.running.is_none();
        let is_late = !runs || now - due > period / LATE;
        if !runs {
            return (false, is_late);
        }
        let Some((answer, changed)) = self.breaker.as_mut().map(|breaker| breaker.ask(now)) else {
            self.running = Some(now);
            return (true, is_late);
        };
        *news = changed;
        match answer {
            Ok(permit) => (self.running, self.permit) = (Some(now), Some(permit)),
            // Its turn comes when the breaker lets it.
            Err(refused) => self.due = refused.until.or(self.due),
        }
        (self.running.is_some(), is_late)
    }

    /// What its breaker makes of an outcome.
    fn judge(&mut self, now: Mono, verdict: Verdict) -> Option<Changed> {
        let outcome = match verdict {
            Verdict::Ok | Verdict::Degraded => CallOutcome::Success,
            Verdict::Failed => CallOutcome::Failure,
            Verdict::Unknown => CallOutcome::Cancelled,
        };
        let permit = self.permit.take()?;
        self.breaker.as_mut()?.report(now, permit, outcome)
    }

    fn begin(&mut self, now: Mono, delay: Duration) {
        let current = self.timing.min_period.unwrap_or(self.timing.period);
        *self = Self {
            due: Some(now + delay),
            last: now,
            current,
            running: None,
            passed: 0,
            failed: 0,
            standing: Standing::Pending,
            ..self.clone()
        };
    }

    /// When it is made next.
    fn due(&self) -> Option<Mono> {
        self.due.filter(|_| !self.rests)
    }

    fn period(&self) -> Duration {
        self.current.max(Duration::from_millis(1)).saturating_mul(self.slowdown.max(1))
    }

    /// It is made as often as what it has found asks for.
    fn pace(&mut self, now: Mono, wants_care: bool) {
        let (Some(min), max) = (self.timing.min_period, self.timing.period) else { return };
        let before = self.current;
        self.current = if wants_care { min } else { before.saturating_mul(2).min(max) };
        if self.current == before || self.due.is_none() {
            return;
        }
        // Those that have hurried together go apart again: each has a time of its own within the longest period.
        let step = if self.current == max { self.own_time(self.period()) } else { self.period() };
        self.due = Some((self.last + step).max(now));
    }

    /// How long after its last turn its own time within `period` is; `period` if that would be too soon.
    fn own_time(&self, period: Duration) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let whole = nanos(period);
        let wanted = nanos(period.mul_f64(self.phase)) % whole;
        let wait = Duration::from_nanos((whole - self.last.0 % whole + wanted) % whole);
        if wait < self.timing.min_period.unwrap_or(period) { period } else { wait }
    }

    fn spread(&self) -> Duration {
        self.period().mul_f64(self.phase)
    }

    /// It is made more often from now on, or more seldom once it was made the next time.
    fn spare(&mut self, now: Mono, sparing: Sparing) {
        let Some(slowdown) = sparing.of(self.timing.role) else {
            self.rests = true;
            return;
        };
        let is_sooner = std::mem::take(&mut self.rests) || slowdown < self.slowdown;
        self.slowdown = slowdown;
        if let Some(due) = self.due.filter(|_| is_sooner) {
            let soon = now + self.spread();
            self.due = Some(if due <= now { soon } else { due.min(soon) });
        }
    }
}

/// The health of one unit.
#[derive(Clone, Debug)]
pub struct Health {
    probes: Vec<Probe>,
    /// It runs, and startup probes are over.
    is_started: bool,
    is_running: bool,
    is_paused: bool,
    /// What was said last.
    is_ready: bool,
    /// It has been called dead; nothing more is said of this run.
    is_dead: bool,
    /// Failures of probes that began before do not count.
    blind_until: Mono,
}

impl Health {
    /// The health of a unit that does not run, with these probes. `rng` is its own stream, which spreads them in time.
    #[must_use]
    #[cfg(feature = "daemon")]
    pub fn new(plans: &[Arc<ProbePlan>], rng: Rng) -> Self {
        Self::timed(plans.iter().map(|plan| Timing::from(&**plan)), rng)
    }

    /// The same of probes that are declared elsewhere.
    #[must_use]
    pub fn timed(timings: impl IntoIterator<Item = Timing>, mut rng: Rng) -> Self {
        let probe = |timing: Timing| Probe {
            phase: rng.unit(),
            slowdown: 1,
            rests: false,
            current: timing.min_period.unwrap_or(timing.period),
            last: Mono(0),
            due: None,
            running: None,
            passed: 0,
            failed: 0,
            standing: Standing::Pending,
            breaker: timing.breaker.clone().map(|breaker| Breaker::new(breaker, Rng::derive(rng.next_u64(), &[&timing.name, "breaker"]))),
            permit: None,
            timing,
        };
        let probes = timings.into_iter().map(probe).collect();
        Self { probes, is_started: false, is_running: false, is_paused: false, is_ready: false, is_dead: false, blind_until: Mono(0) }
    }

    /// Whether anything has to pass before the unit is ready.
    #[must_use]
    #[cfg(feature = "daemon")]
    pub fn gates_readiness(plans: &[Arc<ProbePlan>]) -> bool {
        plans.iter().any(|plan| matches!(plan.role, ProbeRole::Startup | ProbeRole::Readiness))
    }

    fn begin(&mut self, now: Mono, found: bool, out: &mut Vec<Effect>) {
        (self.is_running, self.is_dead, self.is_ready, self.is_paused) = (true, false, false, false);
        for probe in &mut self.probes {
            probe.due = None;
            probe.running = None;
            probe.standing = Standing::Pending;
        }
        if found {
            // Startup is over, and it is as ready as it was; each probe has its say in its own time.
            self.is_ready = true;
            for probe in self.probes.iter_mut().filter(|probe| probe.timing.role != ProbeRole::Startup) {
                probe.begin(now, probe.spread());
            }
            self.is_started = true;
            return;
        }
        self.is_started = false;
        for probe in self.probes.iter_mut().filter(|probe| probe.timing.role == ProbeRole::Startup) {
            probe.begin(now, probe.timing.initial_delay);
        }
        self.start_others(now, out);
    }

    /// Once startup probes are over, the others begin.
    fn start_others(&mut self, now: Mono, out: &mut Vec<Effect>) {
        let is_over = |probe: &Probe| probe.timing.role != ProbeRole::Startup || probe.standing == Standing::Passing;
        if !self.is_started && self.probes.iter().all(is_over) {
            self.is_started = true;
            for probe in &mut self.probes {
                match probe.timing.role {
                    ProbeRole::Startup => probe.due = None,
                    // Somebody waits for its word.
                    ProbeRole::Readiness => probe.begin(now, probe.timing.initial_delay),
                    ProbeRole::Liveness | ProbeRole::Observe => probe.begin(now, probe.timing.initial_delay + probe.spread()),
                }
            }
        }
        self.tell_ready(out);
    }

    fn tell_ready(&mut self, out: &mut Vec<Effect>) {
        let stands_well = |probe: &Probe| match probe.standing {
            Standing::Passing => true,
            Standing::Failing => false,
            // Until it fails, what is ready stays so.
            Standing::Pending => self.is_ready,
        };
        let is_ready = self.is_started && self.probes.iter().filter(|probe| probe.timing.role == ProbeRole::Readiness).all(stands_well);
        if std::mem::replace(&mut self.is_ready, is_ready) != is_ready {
            out.push(Effect::Ready(is_ready));
        }
    }

    fn outcome(&mut self, now: Mono, at: usize, (verdict, is_tense): (Verdict, bool), out: &mut Vec<Effect>) {
        let blind = self.blind_until;
        let Some(probe) = self.probes.get_mut(at) else { return };
        let Some(began) = probe.running.take() else { return };
        let was_blind = began < blind && verdict == Verdict::Failed;
        let verdict = if was_blind { Verdict::Unknown } else { verdict };
        out.extend(probe.judge(now, verdict).map(|changed| Effect::Breaker(at, changed)));
        if self.is_paused || self.is_dead {
            return;
        }
        // What stands still is not helped by looking at it more often.
        if !was_blind {
            probe.pace(now, is_tense || verdict != Verdict::Ok);
        }
        match verdict {
            Verdict::Ok | Verdict::Degraded => (probe.passed, probe.failed) = (probe.passed.saturating_add(1), 0),
            Verdict::Failed => (probe.passed, probe.failed) = (0, probe.failed.saturating_add(1)),
            Verdict::Unknown => return,
        }
        let standing = if probe.passed >= probe.timing.success_threshold.max(1) {
            Standing::Passing
        } else if probe.failed >= probe.timing.failure_threshold.max(1) {
            Standing::Failing
        } else {
            probe.standing
        };
        let role = probe.timing.role;
        if std::mem::replace(&mut probe.standing, standing) == standing {
            return;
        }
        out.push(Effect::Changed(at, standing));
        if standing == Standing::Failing && matches!(role, ProbeRole::Startup | ProbeRole::Liveness) {
            self.is_dead = true;
            out.push(Effect::Dead(at));
            return;
        }
        self.start_others(now, out);
    }

    fn resume(&mut self, now: Mono) {
        if std::mem::take(&mut self.is_paused) {
            self.blind_until = now;
            for probe in self.probes.iter_mut().filter(|probe| probe.due.is_some()) {
                probe.due = Some(now + probe.spread());
            }
        }
    }
}

impl Machine for Health {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Begin { found } => self.begin(now, found, out),
            Input::Outcome { probe, verdict, is_tense } => self.outcome(now, probe, (verdict, is_tense), out),
            Input::Pause => self.is_paused = self.is_running,
            Input::Resume => self.resume(now),
            Input::Spare(sparing) => self.probes.iter_mut().for_each(|probe| probe.spare(now, sparing)),
            Input::StoodStill(until) => self.blind_until = self.blind_until.max(until),
            Input::End => {
                (self.is_running, self.is_started, self.is_ready, self.is_paused) = (false, false, false, false);
                self.probes.iter_mut().for_each(|probe| (probe.due, probe.running) = (None, None));
            }
        }
        self.wake(now, out);
    }

    fn deadline(&self) -> Option<Mono> {
        if self.is_paused || self.is_dead { None } else { self.probes.iter().filter_map(Probe::due).min() }
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.is_paused || self.is_dead {
            return;
        }
        for (at, probe) in self.probes.iter_mut().enumerate() {
            let mut changed = None;
            let (runs, late) = probe.turn(now, &mut changed);
            out.extend(changed.map(|changed| Effect::Breaker(at, changed)));
            if late {
                out.push(Effect::Late(at));
            }
            if runs {
                out.push(Effect::Probe(at));
            }
        }
    }
}

#[cfg(test)]
mod tests;

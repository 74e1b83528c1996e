//! How long a restart is held back.
//!
//! Three policies count restarts in a row, and forget all of them at once after a quiet time. The adaptive one weighs failures instead: each has
//! a weight that fades (`exp(-age / memory)`), and their sum, the *pressure*, decides. So a unit that fails once a month is started again at
//! once each time, one that fails all the time waits longer and longer, and nothing is forgiven all of a sudden. Besides it bounds what a crash
//! loop costs: delays are such that the unit uses at most a given share of one core.

use std::time::Duration;

use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::plan::{Backoff, Growth, Jitter};

/// How many failures are remembered. A failure weighs at most a few.
pub const FAILURES_MAX: usize = 64;

/// What is left of a failure's weight when it is forgotten: that of one five times `memory` ago.
const FADED: f64 = 0.007;

/// Less pressure than this is none: a failure that was alone for three times `memory`.
const QUIET: f64 = 0.05;

/// How a run ended, as far as the next delay depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// How long it was in operation.
    pub up_for: Duration,
    /// Processor time it has used.
    pub cpu: Duration,
    /// How much it counts: 1 for an ordinary end.
    pub weight: u32,
}

/// The failures of a unit that still count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    restarts: u32,
    /// When it failed, the latest last; one that counts more stands here several times.
    failures: Vec<Mono>,
}

impl Streak {
    /// The delay of the restart that is due at `now`, after `failure`.
    pub fn next_delay(&mut self, plan: &Backoff, now: Mono, failure: Failure, rng: &mut Rng) -> Duration {
        if let Growth::Adaptive { base, factor, memory, cost } = plan.growth {
            let pressure = self.pressure(now, memory) + f64::from(failure.weight.saturating_sub(1));
            self.note(now, memory, failure.weight);
            let delay =
                if pressure < QUIET { plan.first.min(plan.max) } else { jittered(eased(plan, base, factor, pressure), plan.jitter, rng) };
            let is_alone = pressure < QUIET;
            let bound = if is_alone || failure.up_for >= plan.reset_after { Duration::ZERO } else { affordable(failure, cost) };
            return delay.max(bound.min(plan.max));
        }
        if failure.up_for >= plan.reset_after {
            self.restarts = 0;
        }
        let delay = match self.restarts {
            0 => plan.first.min(plan.max),
            n => jittered(grown(plan, n - 1), plan.jitter, rng),
        };
        self.restarts = self.restarts.saturating_add(1);
        delay
    }

    /// The sum of what failures still weigh at `now`.
    #[must_use]
    pub fn pressure(&self, now: Mono, memory: Duration) -> f64 {
        self.failures.iter().map(|&at| faded(now - at, memory)).sum()
    }

    /// How many restarts there were in a row.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// When it failed, as far as that still counts.
    #[must_use]
    pub fn failures(&self) -> &[Mono] {
        &self.failures
    }

    /// A streak that goes on after so many restarts, and failures at these times.
    #[must_use]
    pub fn resumed(restarts: u32, failures: Vec<Mono>) -> Self {
        Self { restarts, failures }
    }

    /// The next restart counts as the first again. What fades by itself is not forgiven by that.
    pub fn reset(&mut self) {
        self.restarts = 0;
    }

    fn note(&mut self, now: Mono, memory: Duration, weight: u32) {
        self.failures.retain(|&at| faded(now - at, memory) > FADED);
        self.failures.extend((0..weight).map(|_| now));
        let surplus = self.failures.len().saturating_sub(FAILURES_MAX);
        self.failures.drain(..surplus);
    }
}

fn faded(age: Duration, memory: Duration) -> f64 {
    (-age.as_secs_f64() / memory.as_secs_f64().max(f64::MIN_POSITIVE)).exp()
}

/// The delay under so much pressure: `base` for one other failure.
fn eased(plan: &Backoff, base: Duration, factor: f64, pressure: f64) -> Duration {
    let seconds = base.as_secs_f64() * factor.powf(pressure - 1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(plan.max).clamp(base.min(plan.max), plan.max)
}

/// The delay after which a run such as this, again and again, costs no more than the share `cost` of one core.
fn affordable(failure: Failure, cost: f64) -> Duration {
    let period = Duration::try_from_secs_f64(failure.cpu.as_secs_f64() / cost.max(f64::MIN_POSITIVE)).unwrap_or(Duration::MAX);
    period.saturating_sub(failure.up_for)
}

/// The delay after `n` growths, at most `plan.max`.
fn grown(plan: &Backoff, n: u32) -> Duration {
    let delay = match plan.growth {
        Growth::None => plan.first,
        Growth::Linear { base, step } => base.saturating_add(step.saturating_mul(n)),
        Growth::Exponential { base, factor } | Growth::Adaptive { base, factor, .. } => {
            let seconds = base.as_secs_f64() * factor.powi(i32::try_from(n).unwrap_or(i32::MAX));
            Duration::try_from_secs_f64(seconds).unwrap_or(plan.max)
        }
    };
    delay.min(plan.max)
}

fn jittered(delay: Duration, jitter: Jitter, rng: &mut Rng) -> Duration {
    match jitter {
        Jitter::None => delay,
        Jitter::Equal => delay.mul_f64(0.5 + rng.unit() / 2.0),
        Jitter::Full => delay.mul_f64(rng.unit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn plan(growth: Growth, jitter: Jitter) -> Backoff {
        Backoff { first: ms(0), growth, max: ms(1000), jitter, reset_after: ms(60_000) }
    }

    fn after(up_for: Duration) -> Failure {
        Failure { up_for, cpu: Duration::ZERO, weight: 1 }
    }

    fn delays(plan: &Backoff, count: usize) -> Vec<u128> {
        let (mut streak, mut rng) = (Streak::default(), Rng::derive(1, &["test"]));
        (0..count).map(|_| streak.next_delay(plan, Mono(0), after(ms(0)), &mut rng).as_millis()).collect()
    }

    #[test]
    fn delays_grow_as_declared_and_stop_at_max() {
        let exponential = Growth::Exponential { base: ms(200), factor: 2.0 };
        assert_eq!(delays(&plan(exponential, Jitter::None), 6), [0, 200, 400, 800, 1000, 1000]);
        let linear = Growth::Linear { base: ms(200), step: ms(300) };
        assert_eq!(delays(&plan(linear, Jitter::None), 6), [0, 200, 500, 800, 1000, 1000]);
        assert_eq!(delays(&plan(Growth::None, Jitter::None), 3), [0, 0, 0]);
        assert_eq!(delays(&plan(adaptive(), Jitter::None), 6), [0, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_stays_within_its_bounds() {
        let growth = Growth::Linear { base: ms(1000), step: ms(0) };
        assert!(delays(&plan(growth, Jitter::Equal), 500)[1..].iter().all(|d| (500..=1000).contains(d)));
        let full = delays(&plan(growth, Jitter::Full), 500);
        assert!(full.iter().all(|d| *d <= 1000) && full.iter().any(|d| *d < 100) && full.iter().any(|d| *d > 900));
    }

    #[test]
    fn a_long_run_resets_the_streak() {
        let plan = plan(Growth::Linear { base: ms(200), step: ms(100) }, Jitter::None);
        let (mut streak, mut rng) = (Streak::default(), Rng::derive(1, &[]));
        let mut next = |up_for| streak.next_delay(&plan, Mono(0), after(up_for), &mut rng).as_millis();
        assert_eq!([next(ms(0)), next(ms(0)), next(ms(0)), next(ms(60_000)), next(ms(0))], [0, 200, 300, 0, 200]);
    }

    #[test]
    fn no_number_of_restarts_overflows() {
        let plan = plan(Growth::Exponential { base: ms(1), factor: 100.0 }, Jitter::None);
        let mut streak = Streak { restarts: u32::MAX, failures: Vec::new() };
        assert_eq!(streak.next_delay(&plan, Mono(0), after(ms(0)), &mut Rng::derive(1, &[])), ms(1000));
    }

    fn adaptive() -> Growth {
        Growth::Adaptive { base: ms(200), factor: 2.0, memory: Duration::from_secs(600), cost: 0.05 }
    }

    /// A unit under the adaptive policy, in virtual time: it fails after `up_for` each time, having used `cpu`.
    struct Life {
        plan: Backoff,
        streak: Streak,
        rng: Rng,
        now: Mono,
    }

    impl Life {
        fn new() -> Self {
            let plan = Backoff { max: Duration::from_secs(300), ..plan(adaptive(), Jitter::Equal) };
            Self { plan, streak: Streak::default(), rng: Rng::derive(1, &["life"]), now: Mono(0) }
        }

        fn fails(&mut self, up_for: Duration, cpu: Duration, weight: u32) -> Duration {
            self.now = self.now + up_for;
            let delay = self.streak.next_delay(&self.plan, self.now, Failure { up_for, cpu, weight }, &mut self.rng);
            self.now = self.now + delay;
            delay
        }
    }

    #[test]
    fn a_failure_a_month_is_followed_by_a_restart_at_once() {
        let mut life = Life::new();
        for month in 0..12 {
            assert_eq!(life.fails(Duration::from_secs(30 * 86_400), Duration::from_secs(86_400), 1), ms(0), "month {month}");
        }
        // And three times the memory is enough for that.
        assert_eq!(life.fails(Duration::from_secs(1800), ms(0), 1), ms(0));
    }

    #[test]
    fn a_crash_loop_costs_no_more_than_its_share() {
        for cpu in [ms(5), ms(300), Duration::from_secs(3), Duration::from_secs(12)] {
            let mut life = Life::new();
            let mut used = Duration::ZERO;
            // The first failure may be an accident, and is not made to pay.
            life.fails(cpu, cpu, 1);
            let begun = life.now;
            while life.now - begun < Duration::from_secs(3600) {
                life.fails(cpu, cpu, 1);
                used += cpu;
            }
            let share = used.as_secs_f64() / (life.now - begun).as_secs_f64();
            assert!(share <= 0.05, "{cpu:?}: {share}");
        }
    }

    #[test]
    fn pressure_fades_and_is_not_forgiven_all_of_a_sudden() {
        let mut life = Life::new();
        for _ in 0..20 {
            life.fails(ms(10), ms(0), 1);
        }
        let loops = life.fails(ms(10), ms(0), 1);
        // Fifty starts an hour, or so.
        assert!(loops >= Duration::from_secs(20), "{loops:?}");
        let mut last = loops;
        for minutes in [10, 10, 10] {
            life.plan.jitter = Jitter::None;
            let delay = life.fails(Duration::from_secs(minutes * 60), ms(0), 1);
            assert!(delay < last && delay > ms(0), "{delay:?} after {last:?}");
            last = delay;
        }
    }

    #[test]
    fn what_counts_more_waits_longer() {
        let delay = |weight| Life::new().fails(ms(10), ms(0), weight);
        assert_eq!(delay(1), ms(0));
        assert!(delay(2) >= ms(100) && delay(3) >= ms(200), "{:?} {:?}", delay(2), delay(3));
    }

    #[test]
    fn it_goes_on_under_another_brain() {
        let mut life = Life::new();
        for _ in 0..1000 {
            life.fails(ms(10), ms(0), 3);
        }
        assert!(life.streak.failures().len() <= FAILURES_MAX);
        let resumed = Streak::resumed(life.streak.restarts(), life.streak.failures().to_vec());
        assert_eq!(resumed, life.streak);
    }
}

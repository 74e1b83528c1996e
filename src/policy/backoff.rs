//! How long a restart is held back.

use std::time::Duration;

use crate::base::rng::Rng;
use crate::plan::{Backoff, Growth, Jitter};

/// How many restarts in a row a unit has had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streak {
    restarts: u32,
}

impl Streak {
    /// The delay of the restart that is due now. `up_for`: how long the run before it was in operation.
    pub fn next_delay(&mut self, plan: &Backoff, up_for: Duration, rng: &mut Rng) -> Duration {
        if up_for >= plan.reset_after {
            self.restarts = 0;
        }
        let delay = match self.restarts {
            0 => plan.first.min(plan.max),
            n => jittered(grown(plan, n - 1), plan.jitter, rng),
        };
        self.restarts = self.restarts.saturating_add(1);
        delay
    }

    /// How many restarts there were in a row.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// A streak that goes on after so many restarts.
    #[must_use]
    pub const fn resumed(restarts: u32) -> Self {
        Self { restarts }
    }

    /// The next restart counts as the first again.
    pub fn reset(&mut self) {
        self.restarts = 0;
    }
}

/// The delay after `n` growths, at most `plan.max`.
fn grown(plan: &Backoff, n: u32) -> Duration {
    let delay = match plan.growth {
        Growth::None => plan.first,
        Growth::Linear { base, step } => base.saturating_add(step.saturating_mul(n)),
        Growth::Exponential { base, factor } => {
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

    fn delays(plan: &Backoff, count: usize) -> Vec<u128> {
        let (mut streak, mut rng) = (Streak::default(), Rng::derive(1, &["test"]));
        (0..count).map(|_| streak.next_delay(plan, ms(0), &mut rng).as_millis()).collect()
    }

    #[test]
    fn delays_grow_as_declared_and_stop_at_max() {
        let exponential = Growth::Exponential { base: ms(200), factor: 2.0 };
        assert_eq!(delays(&plan(exponential, Jitter::None), 6), [0, 200, 400, 800, 1000, 1000]);
        let linear = Growth::Linear { base: ms(200), step: ms(300) };
        assert_eq!(delays(&plan(linear, Jitter::None), 6), [0, 200, 500, 800, 1000, 1000]);
        assert_eq!(delays(&plan(Growth::None, Jitter::None), 3), [0, 0, 0]);
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
        let mut next = |up_for| streak.next_delay(&plan, up_for, &mut rng).as_millis();
        assert_eq!([next(ms(0)), next(ms(0)), next(ms(0)), next(ms(60_000)), next(ms(0))], [0, 200, 300, 0, 200]);
    }

    #[test]
    fn no_number_of_restarts_overflows() {
        let plan = plan(Growth::Exponential { base: ms(1), factor: 100.0 }, Jitter::None);
        let mut streak = Streak { restarts: u32::MAX };
        assert_eq!(streak.next_delay(&plan, ms(0), &mut Rng::derive(1, &[])), ms(1000));
    }
}

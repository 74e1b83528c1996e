//! How long a start may take, learned from those that came up.
//!
//! A deadline that is given by hand has to be generous, so a start that hangs is found late. What starts have taken is a better measure: an
//! upper envelope of it, which rises at once and falls slowly, times a margin. A start that did not come up in time may have been killed too
//! soon, so the next one may take longer, up to what is declared: what was learned never keeps a unit down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// So many starts have to come up before anything is known.
const STARTS_MIN: u32 = 5;

/// A start may take so many times what the others took.
const MARGIN: u32 = 4;

/// But no less than this.
const LEAST: Duration = Duration::from_secs(5);

/// What the envelope falls by with each start that took less, in per cent.
const FADE: u32 = 10;

/// What is known of the starts of a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartTimes {
    /// How many came up.
    starts: u32,
    /// What they take.
    envelope: Duration,
}

impl StartTimes {
    /// A start came up after this time.
    pub fn came_up(&mut self, after: Duration) {
        self.starts = self.starts.saturating_add(1);
        self.envelope = after.max(self.envelope / 100 * (100 - FADE));
    }

    /// A start had this time and did not come up in it.
    pub fn was_late(&mut self, time: Duration) {
        self.envelope = self.envelope.max(time);
    }

    /// How long the next start may take, which is no longer than `timeout`.
    #[must_use]
    pub fn deadline(&self, timeout: Duration) -> Duration {
        if self.starts < STARTS_MIN { timeout } else { self.envelope.saturating_mul(MARGIN).max(LEAST).min(timeout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::exit::ExitCause;
    use crate::base::rng::Rng;
    use crate::base::time::Mono;
    use crate::policy::Machine as _;
    use crate::policy::lifecycle::{Input, Lifecycle, State};

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_deadline_follows_what_starts_take() {
        let (mut times, timeout) = (StartTimes::default(), secs(300));
        for _ in 0..4 {
            times.came_up(secs(3));
            assert_eq!(times.deadline(timeout), timeout, "too little is known");
        }
        times.came_up(secs(2));
        assert_eq!(times.deadline(timeout), secs(12) / 100 * 90);
        times.came_up(secs(20));
        assert_eq!(times.deadline(timeout), secs(80), "it rises at once");
        for _ in 0..50 {
            times.came_up(Duration::from_millis(10));
        }
        assert_eq!(times.deadline(timeout), secs(5), "and falls, but not to nothing");
        assert_eq!(times.deadline(secs(2)), secs(2), "and never beyond what is declared");
    }

    #[test]
    fn a_unit_learns_from_its_starts_if_it_is_to() {
        let unit = |learned| format!("unit: u\nexec: x\nreadiness: {{notify: true, timeout: 1h, learned: {learned}}}\n");
        for (learned, wanted) in [("true", secs(40)), ("false", secs(3600))] {
            let plan = crate::plan::plan_of(&[("units/u.yaml", &unit(learned))]).units["u"].clone();
            let mut life = Lifecycle::new(plan, Rng::derive(1, &[]));
            let (mut now, mut out) = (Mono(0), Vec::new());
            for _ in 0..6 {
                for input in [Input::Start { hold_back: false }, Input::GateOpened, Input::Spawned] {
                    life.step(now, input, &mut out);
                }
                let deadline = life.deadline();
                now = now + secs(10);
                life.step(now, Input::Ready, &mut out);
                life.step(now, Input::Stop, &mut out);
                life.step(now, Input::Exited { cause: ExitCause::Code(0), leftovers: false, cpu: Duration::ZERO }, &mut out);
                assert_eq!(life.state(), State::Stopped);
                if life.start_times().starts == 6 {
                    assert_eq!(deadline, Some(Mono(50_000_000_000) + wanted), "{learned}");
                }
            }
        }
    }

    #[test]
    fn what_has_become_slower_comes_up_in_the_end() {
        let (mut times, timeout) = (StartTimes::default(), secs(300));
        for _ in 0..10 {
            times.came_up(secs(1));
        }
        // From now on it takes four minutes.
        let mut failed = 0;
        while times.deadline(timeout) < secs(240) {
            times.was_late(times.deadline(timeout));
            failed += 1;
        }
        assert_eq!(failed, 3);
        times.came_up(secs(240));
        assert_eq!(times.deadline(timeout), timeout);
    }
}

//! How often a unit is listened to. What comes faster is put together, of each kind the last, and told when its time has come.

use std::time::Duration;

use super::budget::Budget;
use crate::base::time::Mono;
use crate::plan::RestartBudget;

/// So many notifications may come at once, and so many in each second. Of what comes faster the last of each kind counts.
pub const NOTICES: RestartBudget = RestartBudget { restarts: 50, period: Duration::from_secs(1) };

/// So often a unit may name another main process at once, and in each ten seconds. Of what comes faster the last counts.
pub const MAINS: RestartBudget = RestartBudget { restarts: 10, period: Duration::from_secs(10) };

/// How often something may happen; what comes faster waits for its turn, and is done once then.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    rate: RestartBudget,
    budget: Budget,
    /// When what waits has its turn.
    due: Option<Mono>,
}

impl Turns {
    /// At this rate.
    #[must_use]
    pub fn new(rate: RestartBudget) -> Self {
        Self { rate, budget: Budget::default(), due: None }
    }

    /// Something has come at `now`: whether it has its turn. If not, it will at [`Turns::due`], with all that comes until then.
    pub fn come(&mut self, now: Mono) -> bool {
        if self.due.is_none() {
            let wait = self.budget.take(now, self.rate);
            self.due = Some(now + wait);
        }
        let has_turn = self.due.is_some_and(|due| due <= now);
        if has_turn {
            self.due = None;
        }
        has_turn
    }

    /// When what waits has its turn.
    #[must_use]
    pub const fn due(&self) -> Option<Mono> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_through_at_its_rate_and_a_trickle_at_once() {
        let mut turns = Turns::new(NOTICES);
        let start = Mono(0) + Duration::from_secs(100);
        let mut through = 0;
        for nth in 0..200_000 {
            through += u32::from(turns.come(start + Duration::from_micros(50) * nth));
        }
        assert!((500..=551).contains(&through), "{through} of 200,000 in ten seconds");
        assert!(turns.due().is_some(), "the last of them is not forgotten");
        let mut turns = Turns::new(NOTICES);
        assert!((0..1000).all(|nth| turns.come(start + Duration::from_millis(25) * nth)));
        assert_eq!(turns.due(), None);
    }
}

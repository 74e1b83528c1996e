//! How many restarts the whole machine may make.
//!
//! The generic cell rate algorithm (ITU-T I.371): a restart may come as soon as its *theoretical arrival time* is less than a period ahead. So as
//! many restarts as fit into a period may come at once, then one after each part of it, and nothing but one point in time has to be kept.

use std::time::Duration;

use crate::base::time::Mono;
use crate::plan::RestartBudget;

/// What is left of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// When the budget would be whole again.
    whole_at: Mono,
}

impl Budget {
    /// Takes a restart out of the budget at `now`: how long it has to wait.
    pub fn take(&mut self, now: Mono, plan: RestartBudget) -> Duration {
        let each = plan.period / plan.restarts.max(1);
        self.whole_at = self.whole_at.max(now) + each;
        (self.whole_at - now).saturating_sub(plan.period)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAN: RestartBudget = RestartBudget { restarts: 10, period: Duration::from_secs(10) };

    #[test]
    fn a_burst_is_free_and_then_each_waits_for_its_part() {
        let (mut budget, now) = (Budget::default(), Mono(0) + Duration::from_secs(100));
        let mut waits = || budget.take(now, PLAN).as_secs();
        assert_eq!([(); 13].map(|()| waits()), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(budget.take(now + Duration::from_secs(13), PLAN).as_secs(), 0, "time brings it back");
    }

    proptest! {
        #[test]
        fn no_period_sees_more_than_twice_the_budget(gaps in proptest::collection::vec(0_u64..3_000, 1..300)) {
            let (mut budget, mut now, mut starts) = (Budget::default(), Mono(0), Vec::new());
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                starts.push(now + budget.take(now, PLAN));
            }
            starts.sort();
            for (at, start) in starts.iter().enumerate() {
                let within = starts[at..].iter().take_while(|other| **other - *start < PLAN.period).count();
                prop_assert!(within <= 20, "{within}");
            }
        }
    }
}

//! When and how often a probe is made, and what makes it fail.

use std::time::Duration;

use crate::base::breaker::BreakerPlan;
use crate::base::choice::ProbeRole;

/// When a probe is made, and how its outcomes count.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Its name.
    pub name: String,
    /// What it is asked for.
    pub role: ProbeRole,
    /// How often it is made.
    pub period: Duration,
    /// How often while it wants care; none: no more often.
    pub min_period: Option<Duration>,
    /// How long it waits at first.
    pub initial_delay: Duration,
    /// So many failures in a row make it failing.
    pub failure_threshold: u32,
    /// So many successes in a row make it passing.
    pub success_threshold: u32,
    /// While it is open the probe is not made.
    pub breaker: Option<BreakerPlan>,
}

#[cfg(feature = "daemon")]
impl From<&crate::plan::ProbePlan> for Timing {
    fn from(plan: &crate::plan::ProbePlan) -> Self {
        Self {
            name: plan.name.clone(),
            role: plan.role,
            period: plan.period,
            min_period: plan.min_period,
            initial_delay: plan.initial_delay,
            failure_threshold: plan.failure_threshold,
            success_threshold: plan.success_threshold,
            breaker: plan.breaker.clone(),
        }
    }
}

/// How probes and other looks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sparing {
    /// Everything is looked at so many times more seldom.
    pub slowdown: u32,
    /// Readiness probes so many times.
    pub readiness: u32,
    /// Probes that are only to observe are not made.
    pub no_observation: bool,
}

impl Default for Sparing {
    fn default() -> Self {
        Self { slowdown: 1, readiness: 1, no_observation: false }
    }
}

impl Sparing {
    /// How many times more seldom a probe is made; none: not at all.
    #[must_use]
    pub const fn of(self, role: ProbeRole) -> Option<u32> {
        match role {
            ProbeRole::Startup | ProbeRole::Liveness => Some(self.slowdown),
            ProbeRole::Readiness => Some(self.readiness),
            ProbeRole::Observe if self.no_observation => None,
            ProbeRole::Observe => Some(self.slowdown),
        }
    }
}

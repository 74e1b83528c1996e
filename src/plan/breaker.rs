//! From the `breaker` of a declaration to that of a plan.

use std::time::Duration;

use serde::Serialize;

use super::resolve::or;
use crate::base::breaker::{BreakerPlan, Window};
use crate::spec::breaker::{BreakerSpec, DEFAULT_OPEN, WindowSpec};

const DEFAULT_CONSECUTIVE: u32 = 5;
const DEFAULT_WINDOW: WindowSpec = WindowSpec::Time(Duration::from_secs(600));
const DEFAULT_MAX_EJECTED: f64 = 0.5;

/// The breaker of a unit's restarts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestartBreaker {
    /// When it opens.
    #[serde(flatten)]
    pub plan: BreakerPlan,
    /// The share of a unit's instances that may be kept from being started at a time.
    pub max_ejected: f64,
}

pub(super) fn restart_breaker(spec: &BreakerSpec) -> RestartBreaker {
    RestartBreaker { plan: breaker(spec), max_ejected: or(&spec.max_ejected, DEFAULT_MAX_EJECTED, |share| share.0) }
}

/// The plan of a breaker through which one at a time is tried, for as long as that takes.
pub(super) fn breaker(spec: &BreakerSpec) -> BreakerPlan {
    let declared = BreakerPlan::default();
    BreakerPlan {
        window: match or(&spec.window, DEFAULT_WINDOW, |&window| window) {
            WindowSpec::Calls(calls) => Window::Calls(calls),
            WindowSpec::Time(time) => Window::Time(time),
        },
        failure_rate: or(&spec.failure_rate, declared.failure_rate, |share| share.0),
        slow_rate: spec.slow_rate.as_ref().map(|share| share.0),
        slow_after: or(&spec.slow_after, declared.slow_after, |time| time.0),
        minimum: or(&spec.minimum, declared.minimum, |count| count.to_u32()),
        consecutive: Some(or(&spec.consecutive, DEFAULT_CONSECUTIVE, |count| count.to_u32())),
        open_for: or(&spec.open_for, DEFAULT_OPEN.0, |time| time.0),
        factor: or(&spec.factor, declared.factor, |factor| factor.0),
        max_open: or(&spec.max_open, DEFAULT_OPEN.1, |time| time.0),
        permits: 1,
        half_open_for: Duration::MAX,
        metrics_only: or(&spec.metrics_only, false, |flag| flag.0),
    }
}

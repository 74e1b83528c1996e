//! Circuit breakers as they are declared and shown. What they do is in [`policy::breaker`](crate::policy::breaker).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Which calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last so many.
    Calls(u32),
    /// Those of the last so much time, to a tenth of it.
    Time(Duration),
}

/// When a breaker opens, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakerPlan {
    /// Which calls count. Default: those of the last 30 seconds.
    pub window: Window,
    /// It opens when this share of them has failed, above 0 to 1. Default 0.5.
    pub failure_rate: f64,
    /// It opens when this share of them was slow, above 0 to 1; `None`: slowness is no reason. Default `None`.
    pub slow_rate: Option<f64>,
    /// A call that takes longer is slow. Default 1 s.
    pub slow_after: Duration,
    /// Rates mean nothing of fewer calls than this, at least 1. Default 10.
    pub minimum: u32,
    /// It also opens after so many failures one after the other; `None`: rates alone decide. Default `None`.
    pub consecutive: Option<u32>,
    /// How long it stays open for the first time. Default 5 s.
    pub open_for: Duration,
    /// What the time is multiplied by with each opening in a row, at least 1. Default 2.
    pub factor: f64,
    /// The longest it stays open. Default 5 min.
    pub max_open: Duration,
    /// How many calls are let through half-open, all of which must succeed; at least 1. Default 1.
    pub permits: u32,
    /// How long these may take; one that has not come back by then has failed. Default 10 s.
    pub half_open_for: Duration,
    /// Whether it only judges, and refuses nothing. Default false.
    pub metrics_only: bool,
}

impl Default for BreakerPlan {
    fn default() -> Self {
        Self {
            window: Window::Time(Duration::from_secs(30)),
            failure_rate: 0.5,
            slow_rate: None,
            slow_after: Duration::from_secs(1),
            minimum: 10,
            consecutive: None,
            open_for: Duration::from_secs(5),
            factor: 2.0,
            max_open: Duration::from_secs(300),
            permits: 1,
            half_open_for: Duration::from_secs(10),
            metrics_only: false,
        }
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    #[default]
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls are let through.
    HalfOpen,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The state as shown and as metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

//! How a unit is probed: every default filled in.

use std::time::Duration;

use serde::Serialize;

use crate::base::choice::ProbeRole;
pub use crate::spec::watchdog::DetectorKind;

/// One probe of a unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProbePlan {
    /// Its name, unique in its unit.
    pub name: String,
    /// What it is asked for.
    pub role: ProbeRole,
    /// What it looks at.
    pub kind: ProbeKind,
    /// How often it runs.
    pub period: Duration,
    /// How long one run may take; then it has failed.
    pub timeout: Duration,
    /// How long after the start, or the end of the startup probes, it waits.
    pub initial_delay: Duration,
    /// So many failures in a row make it failing.
    pub failure_threshold: u32,
    /// So many successes in a row make it passing.
    pub success_threshold: u32,
}

/// The signs of life a unit gives by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WatchdogPlan {
    /// Silence for so long is too long, whatever is known of the unit.
    pub timeout: Duration,
    /// How shorter silence is judged.
    pub detector: DetectorKind,
    /// The suspicion from which on a unit hangs, for a detector that counts in that.
    pub threshold: f64,
}

/// What a probe looks at.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// A GET of this URL answers with a status from 200 to 399.
    Http(String),
    /// A connection to this `host:port` succeeds.
    Tcp(String),
    /// This program ends as Nagios' plugins do: 0 ok, 1 degraded, 2 failed, anything else unknown.
    Command(Vec<String>),
    /// The main process is there, and neither a zombie, stopped nor stuck in the kernel.
    Process,
}

impl ProbeKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Command(_) => "command",
            Self::Process => "process",
        }
    }
}

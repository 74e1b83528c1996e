//! How the machine and this process stand, and when neither could look at anything.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::pressure::Pressures;
use crate::base::time::{Wall, approx_duration, seconds};

/// What kept everything from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StallCause {
    /// The machine was suspended.
    Suspended,
    /// This process did not run.
    Lag,
    /// Everything waited for memory.
    Memory,
    /// Everything waited for input and output.
    Io,
}

impl fmt::Display for StallCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Suspended => "the machine was suspended",
            Self::Lag => "the brain did not run",
            Self::Memory => "everything waited for memory",
            Self::Io => "everything waited for input and output",
        })
    }
}

/// The machine or this process stands still: what probes find then says nothing of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Why.
    pub cause: StallCause,
    /// Since when.
    pub since: Wall,
}

/// Everything goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallOver {
    /// What it began with.
    pub cause: StallCause,
    /// From the beginning of the first time something stood still to the end of the last.
    #[serde(with = "seconds")]
    pub after: Duration,
    /// For how long nothing counted of what probes found.
    #[serde(with = "seconds")]
    pub blind: Duration,
}

impl Stall {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}: what probes find meanwhile does not count", self.cause)
    }
}

impl StallOver {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("probes count again: {} for {} within {}", self.cause, approx_duration(self.blind), approx_duration(self.after))
    }
}

/// How the machine and this process stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// How much is waited for what.
    pub pressure: Pressures,
    /// The share of the memory that is available, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_available: Option<f64>,
    /// How late a timer of the brain was at worst in the last ten seconds.
    #[serde(with = "seconds")]
    pub lag: Duration,
    /// Whether the machine or the brain stands still, on and off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Stall>,
    /// How long nothing of what probes found counted, since the brain started.
    #[serde(with = "seconds")]
    pub blind: Duration,
}

//! How much is waited for processors, memory and disks: Linux' pressure stall information (PSI).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::optional_seconds;

/// Who waits for such a share of the time, is under pressure.
pub const STRAINED: f64 = 0.15;

/// How much is waited for one resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// The share of the last ten seconds in which something waited for it, from 0 to 1 (`some avg10`).
    pub some: f64,
    /// The same, but everything that had something to do waited (`full avg10`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<f64>,
    /// For how long everything has waited since the machine was started (`full total`).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
    pub stood_still: Option<Duration>,
}

/// How much is waited for each resource; what the kernel does not tell is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressures {
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Pressure>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Pressure>,
    /// Input and output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<Pressure>,
}

impl Pressures {
    /// Each that is known, with its name.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Pressure)> {
        let all = [("cpu", self.cpu), ("memory", self.memory), ("io", self.io)];
        all.into_iter().filter_map(|(name, pressure)| Some((name, pressure?)))
    }
}

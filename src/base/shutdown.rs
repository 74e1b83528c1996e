//! How long a stop may take.

use std::time::Duration;

use serde::Serialize;

/// How long a stop may take before the child is killed, with everything that is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownTimeout {
    /// It is not asked, but killed.
    BrutalKill,
    /// So long.
    After(Duration),
    /// As long as it takes.
    Infinity,
}

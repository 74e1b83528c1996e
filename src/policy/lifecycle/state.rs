//! The states of a unit's life.

use serde::{Deserialize, Serialize};

/// Where a unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing of it runs.
    Stopped,
    /// Its restart is held back.
    Backoff,
    /// It waits for the units it requires, or for its turn.
    Waiting,
    /// Its process is being made.
    Spawning,
    /// Its process runs and is not ready yet.
    Activating,
    /// It is in operation.
    Active,
    /// It was asked to end.
    Stopping,
    /// It is being killed.
    Killing,
    /// Its main process has ended; what it left behind is being ended.
    Cleaning,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Stopped,
        Self::Backoff,
        Self::Waiting,
        Self::Spawning,
        Self::Activating,
        Self::Active,
        Self::Stopping,
        Self::Killing,
        Self::Cleaning,
    ];

    /// The state as shown and as metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Backoff => "backoff",
            Self::Waiting => "waiting",
            Self::Spawning => "spawning",
            Self::Activating => "activating",
            Self::Active => "active",
            Self::Stopping => "stopping",
            Self::Killing => "killing",
            Self::Cleaning => "cleaning",
        }
    }
}

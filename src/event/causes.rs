//! Why things happen to units.

use serde::{Deserialize, Serialize};

/// Why a unit is started again; the `cause` label of the restart metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartCause {
    /// It had ended by itself.
    Exit,
    /// Its start had failed.
    StartFailed,
    /// It had failed too often, and its supervisor has waited (`retry_after`).
    Late,
    /// A sibling's end concerned it.
    Sibling,
    /// An operator asked for it.
    Operator,
    /// It was stopped under pressure, and that is over.
    Rested,
}

/// How the processes of a unit were made to stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseMeans {
    /// By its cgroup: nothing of it runs, and it cannot tell.
    Cgroup,
    /// By SIGSTOP to every process that was found: their parents may see it.
    Signal,
}

/// Why a unit that was paused is not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeCause {
    /// An operator asked for it.
    Operator,
    /// It is to end, and may do so in good order.
    Stop,
    /// It has ended.
    Exit,
    /// It stood still under pressure, and that is over.
    Degradation,
}

impl RestartCause {
    /// The cause as shown and as metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exit => "exit",
            Self::StartFailed => "start_failed",
            Self::Late => "late",
            Self::Sibling => "sibling",
            Self::Operator => "operator",
            Self::Rested => "rested",
        }
    }
}

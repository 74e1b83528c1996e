//! Notifications that do not count.

use serde::{Deserialize, Serialize};

/// Why a notification (sd_notify(3)) was not told for itself; the `reason` label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeDrop {
    /// It did not come from a process of the unit whose notifications count.
    Foreign,
    /// They came too fast: of each kind the last one counts.
    TooMany,
}

impl NoticeDrop {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::TooMany => "too_many",
        }
    }

    pub(super) fn text(self, pid: Option<u32>) -> String {
        match self {
            Self::Foreign => {
                let who = pid.map_or_else(|| "a process that cannot be told".into(), |pid| format!("process {pid}"));
                format!("a notification of {who} does not count: it may not speak for the unit (`notify_access`)")
            }
            Self::TooMany => {
                "notifies too often: what comes faster than 50 a second is put together, and of each kind the last counts".into()
            }
        }
    }
}

//! Values that operators have set for a while, beside what the files say.

use serde::{Deserialize, Serialize};

use crate::base::text::HIDDEN;
use crate::base::time::Wall;

/// A value that an operator has set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The unit or supervisor; `daemon` for the daemon.
    pub target: String,
    /// The keys that lead to it: `limits.memory_max`.
    pub key: String,
    /// The value, as it would be written in a file.
    pub value: String,
    /// When it was set.
    pub set: Wall,
    /// Until when; none: until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
    /// Who has set it: a user id.
    pub uid: u32,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An override counts no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverrideEnded {
    /// Which.
    #[serde(flatten)]
    pub ended: Override,
    /// Why.
    pub why: OverrideEnd,
}

/// Why an override counts no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverrideEnd {
    /// Its time was over.
    Expired,
    /// An operator took it back.
    Unset,
    /// Another one has taken its place.
    Replaced,
    /// What it was for is not declared any more.
    TargetGone,
    /// With what the files say now it is at fault.
    Faulty,
}

/// Keys whose values everybody may see who may see events: those under which there is no place for a secret. Of others it is told that they are
/// set, and not to what.
const OPEN: [&str; 42] = [
    "after",
    "aggregation",
    "auto_shutdown",
    "binds",
    "children",
    "cpu_affinity",
    "degradation",
    "description",
    "group",
    "health",
    "instances",
    "intensity",
    "io_priority",
    "isolation",
    "limits",
    "listen",
    "logs",
    "may_command",
    "nice",
    "notify_access",
    "on_launcher_death",
    "on_root_failure",
    "oom_score_adj",
    "optional",
    "period",
    "requires",
    "restart",
    "restart_budget",
    "retry_after",
    "rlimits",
    "scheduler",
    "shutdown",
    "significant",
    "start",
    "start_limit",
    "strategy",
    "success_exit",
    "tier",
    "umask",
    "user",
    "wants",
    "watchdog",
];

impl Override {
    /// As it is told to everybody: without a value that may be a secret.
    #[must_use]
    pub fn told(self) -> Self {
        let top = self.key.split('.').next().unwrap_or_default();
        if OPEN.contains(&top) { self } else { Self { value: HIDDEN.into(), ..self } }
    }

    pub(super) fn text(&self) -> String {
        let until = self.until.map(|until| format!(" until {until}")).unwrap_or_default();
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{} set to {}{until} (by user {}){reason}", self.key, self.value, self.uid)
    }
}

impl OverrideEnded {
    pub(super) fn text(&self) -> String {
        let why = match self.why {
            OverrideEnd::Expired => "its time is over",
            OverrideEnd::Unset => "taken back",
            OverrideEnd::Replaced => "set anew",
            OverrideEnd::TargetGone => "it is not declared any more",
            OverrideEnd::Faulty => "it does not go with what the files say now",
        };
        format!("{} is not {} any more: {why}", self.ended.key, self.ended.value)
    }
}

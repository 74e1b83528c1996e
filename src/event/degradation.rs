//! What the daemon does without under pressure.

use serde::{Deserialize, Serialize};

use crate::base::choice::DegradationStep;
use crate::base::time::Wall;

/// A step down the ladder, or back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradationStepped {
    /// How many steps are taken now; 0: none.
    pub step: usize,
    /// How many there are.
    pub of: usize,
    /// The one that was taken, or undone.
    pub what: DegradationStep,
    /// Whether it was taken.
    pub down: bool,
    /// Why.
    pub why: String,
}

impl DegradationStepped {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { step, of, what, down, why } = self;
        if *down {
            return format!("degradation step {step} of {of}, {what}: {why}");
        }
        // Of a ladder that is not declared any more there are none.
        let left = if *of == 0 { String::new() } else { format!(", degradation step {step} of {of}") };
        format!("{what} is over{left}: {why}")
    }
}

/// How the ladder stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradationStatus {
    /// How many steps are taken; 0: none.
    pub step: usize,
    /// How many there are; 0: nothing is declared.
    pub of: usize,
    /// Those that are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<DegradationStep>,
    /// Since when it stands so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Wall>,
    /// Why the last one was taken or undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl DegradationStatus {
    /// How it stands, for people: `step 2 of 4 (slow_sampling, fewer_probes): …`. None if nothing is declared.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        if self.of == 0 && self.step == 0 {
            return None;
        }
        let taken: Vec<_> = self.taken.iter().map(|step| step.as_str()).collect();
        let taken = if taken.is_empty() { String::new() } else { format!(" ({})", taken.join(", ")) };
        let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        Some(format!("step {} of {}{taken}{why}", self.step, self.of))
    }
}

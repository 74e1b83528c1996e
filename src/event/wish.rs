//! What operators asked for and what must outlive everything, and how the store that remembers it stands.

use serde::{Deserialize, Serialize};

use crate::base::time::Wall;

/// How an operator wants a unit or supervisor to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// As the plan says.
    Started,
    /// Stopped, whatever its siblings do, until somebody starts it.
    Stopped,
}

/// What an operator asked of a unit or supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Counts wishes: of two for the same target the one with the higher number is the later.
    pub number: u64,
    /// What is wanted.
    pub desired: Desired,
    /// The user id of the one who asked.
    pub uid: u32,
    /// When.
    pub at: Wall,
    /// Why, if that was said.
    pub why: Option<String>,
}

impl Wish {
    /// Whether the target is to stay stopped.
    #[must_use]
    pub fn is_stop(&self) -> bool {
        self.desired == Desired::Stopped
    }
}

/// How the store stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// Why it cannot be written now.
    pub failing: Option<StoreFailure>,
    /// What it was recovered from, if this brain found it damaged.
    pub restored: Option<StoreRestored>,
    /// How many wishes it holds.
    pub wishes: usize,
    /// How many changes wait to be written.
    pub pending: usize,
    /// How many transactions were committed since the brain started.
    pub commits: u64,
    /// How often something could not be written since the brain started.
    pub failures: u64,
    /// How many backups were made since the brain started.
    pub backups: u64,
}

/// Why the store cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFailure {
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Wall,
}

/// What a damaged store was recovered from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreRestored {
    /// What was wrong.
    pub why: String,
    /// The backup it was recovered from, 1 being the newest; `None`: there was no good one, and the store began anew.
    pub generation: Option<u32>,
    /// When that backup was made.
    pub of: Option<Wall>,
}

impl std::fmt::Display for StoreRestored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.generation, self.of) {
            (Some(generation), Some(of)) => write!(f, "recovered from generation {generation}, of {of}: {}", self.why),
            _ => write!(f, "began anew, for want of a good backup: {}", self.why),
        }
    }
}

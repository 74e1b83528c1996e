//! What a look has found of several things.

use crate::base::outcome::{Outcome, Value};

/// What was found of several things.
#[derive(Default)]
pub(super) struct Found {
    /// Numbers.
    pub(super) values: Vec<Value>,
    /// What is not as it should be.
    pub(super) faults: Vec<String>,
    /// What could not be found out.
    pub(super) unknown: Vec<String>,
}

impl Found {
    /// A fault is worse than not to know.
    pub(super) fn outcome(self) -> Outcome {
        let outcome = match (&self.faults[..], &self.unknown[..]) {
            ([], []) => Outcome::ok(""),
            ([], unknown) => Outcome::unknown(unknown.join("; ")),
            (faults, _) => Outcome::failed(faults.join("; ")),
        };
        Outcome { values: self.values, ..outcome }
    }
}

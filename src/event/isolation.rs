//! What a unit is kept from, and what it is told.

use serde::{Deserialize, Serialize};

use crate::base::exit::Signal;
use crate::base::id::UnitId;

/// A unit runs without something of what it was to be kept from, as `best_effort` allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationIncomplete {
    /// The unit.
    pub unit: UnitId,
    /// What is missing, each with why.
    pub missing: Vec<String>,
}

/// Secrets of a unit have changed, or could not be read anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretsRenewed {
    /// The unit.
    pub unit: UnitId,
    /// Their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What it was sent; without any it is started again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// Why they could not be read; the unit keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a unit is kept from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationStatus {
    /// The keys of its `isolation` that keep it from something.
    pub keys: Vec<String>,
    /// What is missing of it, each with why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
}

impl IsolationIncomplete {
    /// As a sentence without its subject.
    #[must_use]
    pub fn text(&self) -> String {
        format!("runs less isolated than declared, as best_effort allows: {}", self.missing.join("; "))
    }
}

impl SecretsRenewed {
    /// As a sentence without its subject.
    #[must_use]
    pub fn text(&self) -> String {
        if let Some(why) = &self.failed {
            return format!("keeps the secrets it has: {why}");
        }
        let (names, are) = (self.secrets.join(", "), if self.secrets.len() == 1 { "secret" } else { "secrets" });
        if self.signals.is_empty() {
            return format!("{are} {names} changed; it is started again");
        }
        let signals: Vec<_> = self.signals.iter().map(ToString::to_string).collect();
        format!("{are} {names} changed; it has the new ones, and got {}", signals.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_read_as_sentences() {
        let renewed = |secrets: &[&str], signals: &[Signal], failed: Option<&str>| {
            let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
            SecretsRenewed { unit: "u".into(), secrets, signals: signals.to_vec(), failed: failed.map(str::to_owned) }.text()
        };
        assert_eq!(renewed(&["a"], &[], None), "secret a changed; it is started again");
        assert_eq!(renewed(&["a", "b"], &[Signal::HUP], None), "secrets a, b changed; it has the new ones, and got SIGHUP");
        assert_eq!(renewed(&[], &[], Some("no")), "keeps the secrets it has: no");
        let missing = vec!["landlock: no".into(), "private_network: no".into()];
        let text = IsolationIncomplete { unit: "u".into(), missing }.text();
        assert_eq!(text, "runs less isolated than declared, as best_effort allows: landlock: no; private_network: no");
    }
}

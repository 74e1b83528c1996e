//! What an examination of a machine finds: how bad it is, what was found, why it matters, and what helps.

use serde::Serialize;

use crate::base::choice::choices;

choices! {
    /// How bad a finding is.
    Severity {
        /// As it should be.
        Ok = "ok",
        /// Worth knowing; nothing has to be done.
        Note = "note",
        /// It works, but not as well, or not for long.
        Warning = "warning",
        /// It does not work.
        Error = "error",
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it belongs to: `kernel`, `cgroup`, `files` and so on.
    pub group: &'static str,
    /// What was looked at, a name for programs that stays the same.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// Why that matters. Empty if all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What helps: a command, or a line for a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    #[must_use]
    pub fn ok(group: &'static str, check: &'static str, found: impl Into<String>) -> Self {
        Self { group, check, severity: Severity::Ok, found: found.into(), why: String::new(), cure: None }
    }

    /// Something that is not.
    #[must_use]
    pub fn new(severity: Severity, group: &'static str, check: &'static str, found: impl Into<String>, why: impl Into<String>) -> Self {
        Self { group, check, severity, found: found.into(), why: why.into(), cure: None }
    }

    /// With what helps.
    #[must_use]
    pub fn cure(self, cure: impl Into<String>) -> Self {
        Self { cure: Some(cure.into()), ..self }
    }
}

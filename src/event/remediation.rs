//! What remedies do.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::UnitStatus;
use crate::base::choice::{Choice as _, RemediationMode};
use crate::base::id::{SupervisorId, UnitId};
use crate::base::time::{approx_duration, optional_seconds};

/// A step of the remediation of a unit or a probe, or the end of all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remediation {
    /// The unit.
    pub unit: UnitId,
    /// The probe; none: it is the unit's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
    /// What has happened.
    pub stage: RemediationStage,
    /// The step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whether it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RemediationMode>,
    /// What is wrong; of a step that has ended, what came of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Of a step that has ended: whether it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// Of a step that is taken: what the unit was doing before. Of one that has ended: what it has printed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
    pub after: Option<Duration>,
}

/// What has happened to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemediationStage {
    /// It would have been taken, but is not to be.
    Withheld,
    /// It is being taken.
    Started,
    /// It was taken, or could not be.
    Ended,
    /// It was passed over: its budget is used up.
    PassedOver,
    /// No step is left.
    Exhausted,
    /// It was well for long enough, or is not wanted any more: the steps begin anew.
    Over,
}

impl RemediationStage {
    /// The stage as metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::Started => "started",
            Self::Ended => "ended",
            Self::PassedOver => "passed_over",
            Self::Exhausted => "exhausted",
            Self::Over => "over",
        }
    }
}

impl Remediation {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let of = self.probe.as_ref().map(|probe| format!(" of probe {probe}")).unwrap_or_default();
        let (step, action) = (self.step.unwrap_or_default(), self.action.as_deref().unwrap_or_default());
        let file = self.file.as_ref().map(|file| format!("; see {}", file.display())).unwrap_or_default();
        let why = &self.why;
        match self.stage {
            RemediationStage::Withheld => format!("remedy {step}{of} would be `{action}`: {why}"),
            RemediationStage::Started => format!("remedy {step}{of}: `{action}`, because of {why}{file}"),
            RemediationStage::Ended => {
                let (how, after) = (if self.success == Some(true) { "done" } else { "failed" }, self.after.unwrap_or_default());
                let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                format!("remedy {step}{of} {how} after {}{why}{file}", approx_duration(after))
            }
            RemediationStage::PassedOver => format!("remedy {step}{of} (`{action}`) is passed over: {why}"),
            RemediationStage::Exhausted => format!("no remedy{of} is left: somebody has to look at it"),
            RemediationStage::Over => format!("remedies{of} begin anew"),
        }
    }
}

/// What a remedy is told: a script on its stdin, a webhook as the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemedyContext {
    /// The version of this document.
    pub version: u32,
    /// When the step was taken.
    pub time: String,
    /// The unit.
    pub unit: UnitId,
    /// Its supervisor.
    pub supervisor: Option<SupervisorId>,
    /// The probe that fails; none: the unit does.
    pub probe: Option<String>,
    /// What is wrong.
    pub why: String,
    /// The step, from 1.
    pub step: usize,
    /// What it does.
    pub action: String,
    /// Whether it is taken.
    pub mode: RemediationMode,
    /// The unit's main process.
    pub pid: Option<u32>,
    /// What that was doing.
    pub evidence: Option<PathBuf>,
    /// How the unit stands.
    pub status: Option<UnitStatus>,
}

impl RemedyContext {
    /// The version of the document that is written.
    pub const VERSION: u32 = 1;

    /// Its JSON Schema.
    #[must_use]
    #[cfg(feature = "daemon")]
    pub fn schema() -> serde_json::Value {
        let optional = |kind: &str, about: &str| serde_json::json!({"type": [kind, "null"], "description": about});
        serde_json::json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "ms-supervisor remedy context",
            "description": "What a remedy is told: a script on its stdin, a webhook as the body.",
            "type": "object",
            "required": ["version", "time", "unit", "why", "step", "action", "mode"],
            "properties": {
                "version": {"const": Self::VERSION, "description": "The version of this document."},
                "time": {"type": "string", "format": "date-time", "description": "When the step was taken."},
                "unit": {"type": "string", "description": "The unit."},
                "supervisor": optional("string", "Its supervisor."),
                "probe": optional("string", "The probe that fails; null: the unit does."),
                "why": {"type": "string", "description": "What is wrong."},
                "step": {"type": "integer", "minimum": 1, "description": "The step, from 1."},
                "action": {"type": "string", "description": "What it does."},
                "mode": {"enum": RemediationMode::words().collect::<Vec<_>>(), "description": "Whether it is taken."},
                "pid": optional("integer", "The unit's main process."),
                "evidence": optional("string", "The file that says what that was doing."),
                "status": optional("object", "How the unit stands, as `status --json` shows it."),
            },
            "additionalProperties": false,
        })
    }
}

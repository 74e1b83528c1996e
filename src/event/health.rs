//! What the probes of a unit have found.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::breaker::BreakerState;
use crate::base::choice::{HealthLevel, ProbeRole};
use crate::base::outcome::{Outcome, Value, Verdict};
use crate::base::time::{Wall, seconds};

/// How well a part of the tree is, and which leaf decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// How well.
    pub level: HealthLevel,
    /// The unit or supervisor because of which it is not better.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub by: Option<String>,
    /// What is wrong there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
}

impl HealthStatus {
    /// Why it is not better, for people: `: web: probe http: took 2s`. Empty if there is nothing to say.
    #[must_use]
    pub fn because(&self) -> String {
        let parts = self.by.iter().chain(&self.why).map(|part| format!(": {part}"));
        parts.collect()
    }
}

/// How a probe stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Its name.
    pub name: String,
    /// What it is asked for.
    pub role: ProbeRole,
    /// What it looks at: `http`, `tcp` and so on.
    pub kind: String,
    /// `pending`, `passing` or `failing`.
    pub standing: String,
    /// Since when.
    pub since: Wall,
    /// What it found last.
    pub verdict: Verdict,
    /// The same in words.
    pub text: String,
    /// How its breaker stands, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub breaker: Option<BreakerState>,
    /// Numbers it found.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub values: Vec<Value>,
    /// How long it took.
    #[serde(with = "seconds")]
    pub took: Duration,
    /// How often it has run since the brain started, by verdict in the order of [`Verdict::ALL`].
    pub runs: [u64; 4],
    /// How long all of them took.
    #[serde(with = "seconds")]
    pub busy: Duration,
    /// How often it began later than a tenth of its period, or not at all because it still ran.
    pub late: u64,
}

impl ProbeStatus {
    /// A probe that has said nothing yet.
    #[must_use]
    pub fn new(name: String, role: ProbeRole, kind: &str) -> Self {
        Self {
            name,
            role,
            kind: kind.into(),
            standing: "pending".into(),
            since: Wall(0),
            verdict: Verdict::Unknown,
            text: String::new(),
            breaker: None,
            values: Vec::new(),
            took: Duration::ZERO,
            runs: [0; 4],
            busy: Duration::ZERO,
            late: 0,
        }
    }

    /// It has run.
    pub fn found(&mut self, outcome: Outcome, took: Duration) {
        for (count, verdict) in self.runs.iter_mut().zip(Verdict::ALL) {
            *count += u64::from(verdict == outcome.verdict);
        }
        self.busy = self.busy.saturating_add(took);
        (self.verdict, self.text, self.values, self.took) = (outcome.verdict, outcome.text, outcome.values, took);
    }

    /// What it was asked about is gone: it knows nothing, but what is counted stays.
    pub fn forget(&mut self) {
        let fresh = Self::new(std::mem::take(&mut self.name), self.role, &self.kind);
        *self = Self { runs: self.runs, busy: self.busy, late: self.late, ..fresh };
    }

    /// Whether it has found something that decides nothing by itself: it was slow, or fails and is only to observe.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        self.verdict == Verdict::Degraded || self.role == ProbeRole::Observe && self.standing == "failing"
    }

    /// What it found, for people: `probe web: no answer`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let text = if self.text.is_empty() { self.verdict.as_str() } else { &self.text };
        format!("probe {}: {text}", self.name)
    }
}

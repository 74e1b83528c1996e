//! What a probe has found.

use serde::{Deserialize, Serialize};

/// Whether what was probed is well, in Nagios' four words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is well.
    Ok,
    /// It works, but something about it wants attention (WARNING).
    Degraded,
    /// It does not work (CRITICAL).
    Failed,
    /// That could not be found out.
    #[default]
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Degraded, Self::Failed, Self::Unknown];

    /// The verdict as shown and as metric label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A number that a probe has found besides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// The number.
    pub value: f64,
    /// Its unit, as Nagios' plugins write them: `s`, `B`, `%`, `c`; often none.
    pub unit: String,
    /// What it may be, in that unit.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// No less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// No more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Limits {
    /// Whether there is no limit.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }

    /// Whether there is a limit.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        !self.is_none()
    }

    /// Whether this is too little or too much.
    #[must_use]
    pub fn are_passed_by(&self, value: f64) -> bool {
        self.min.is_some_and(|min| value < min) || self.max.is_some_and(|max| value > max)
    }
}

impl Value {
    /// One without limits.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        Self { name: name.into(), value, unit: unit.into(), limits: Limits::default() }
    }

    /// The same with the most it may be.
    #[must_use]
    pub fn at_most(mut self, max: Option<f64>) -> Self {
        self.limits.max = max;
        self
    }

    /// The same with the least it may be.
    #[must_use]
    pub fn at_least(mut self, min: Option<f64>) -> Self {
        self.limits.min = min;
        self
    }
}

/// What one probe has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Whether it is well.
    pub verdict: Verdict,
    /// One short line for a person.
    pub text: String,
    /// Numbers.
    pub values: Vec<Value>,
}

impl Outcome {
    /// It is well.
    #[must_use]
    pub fn ok(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, text: text.into(), values: Vec::new() }
    }

    /// It works, but wants attention.
    #[must_use]
    pub fn degraded(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Degraded, ..Self::ok(text) }
    }

    /// It does not work.
    #[must_use]
    pub fn failed(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::ok(text) }
    }

    /// That could not be found out.
    #[must_use]
    pub fn unknown(text: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unknown, ..Self::ok(text) }
    }
}

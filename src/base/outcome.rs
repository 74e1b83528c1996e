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

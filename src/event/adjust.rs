//! Limits that follow the pressure: what they were changed to, and why.

use serde::{Deserialize, Serialize};

use crate::base::limit::ControlFile;
use crate::base::quantity::format_size;

/// A limit was changed, because it follows the pressure, or does not any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitAdjusted {
    /// The unit or supervisor.
    pub target: String,
    /// The limit, by its key.
    pub limit: String,
    /// What it was: bytes, or a weight.
    pub was: u64,
    /// What it is.
    pub is: u64,
    /// What is declared.
    pub declared: u64,
    /// Why.
    pub why: AdjustCause,
}

/// Why a limit was changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustCause {
    /// Something of it waited for this share of the last ten seconds, from 0 to 1.
    Pressure(f64),
    /// It was calm for long; this share is the last.
    Calm(f64),
    /// Something else is declared.
    Replanned,
}

impl LimitAdjusted {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { limit, was, is, declared, why, .. } = self;
        let is_memory = limit == ControlFile::MemoryHigh.limit();
        let show = |value: &u64| if is_memory { format_size(*value) } else { value.to_string() };
        let what = if is_memory { "memory" } else { "a processor" };
        let waited = |share: &f64| format!("something of it waited for {what} in {:.1} % of the last 10 s", share * 100.0);
        let why = match why {
            AdjustCause::Pressure(share) => waited(share),
            AdjustCause::Calm(share) => format!("it is calm, {}", waited(share)),
            AdjustCause::Replanned => "something else is declared".into(),
        };
        let verb = if is > was { "raised" } else { "lowered" };
        format!("{limit} {verb} from {} to {} (declared {}): {why}", show(was), show(is), show(declared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_what_was_measured() {
        let change = LimitAdjusted {
            target: "web".into(),
            limit: "memory_high".into(),
            was: 256 << 20,
            is: 384 << 20,
            declared: 256 << 20,
            why: AdjustCause::Pressure(0.342),
        };
        insta::assert_snapshot!(change.text(), @"memory_high raised from 256.0 MiB to 384.0 MiB (declared 256.0 MiB): something of it waited for memory in 34.2 % of the last 10 s");
        let weight = LimitAdjusted { limit: "cpu_weight".into(), was: 150, is: 120, declared: 100, why: AdjustCause::Calm(0.0), ..change };
        insta::assert_snapshot!(weight.text(), @"cpu_weight lowered from 150 to 120 (declared 100): it is calm, something of it waited for a processor in 0.0 % of the last 10 s");
        let json = serde_json::to_string(&weight).unwrap();
        assert_eq!(serde_json::from_str::<LimitAdjusted>(&json).unwrap(), weight);
    }
}

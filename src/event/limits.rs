//! Limits of units and supervisors: what became of them, and what happened at them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::id::UnitId;
use crate::base::quantity::format_size;
use crate::base::time::{approx_duration, seconds};

/// Limits were changed while what they are for runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsChanged {
    /// The unit or supervisor.
    pub target: String,
    /// What holds now: `memory_max=67108864`.
    pub limits: Vec<String>,
}

/// The kernel does not take a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRefused {
    /// The unit or supervisor.
    pub target: String,
    /// The limit, by its key in the declaration.
    pub limit: String,
    /// What was to hold.
    pub wanted: String,
    /// Why it does not.
    pub why: String,
}

/// Somebody else has changed a limit; it was set again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitDrifted {
    /// The unit or supervisor.
    pub target: String,
    /// The limit.
    pub limit: String,
    /// What is to hold.
    pub wanted: String,
    /// What was found.
    pub found: String,
}

/// Declared limits that have no effect here, all for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsUnavailable {
    /// The limits, by their keys.
    pub limits: Vec<String>,
    /// The units and supervisors; of many the first.
    pub targets: Vec<String>,
    /// How many there are.
    pub count: usize,
    /// Why.
    pub why: String,
    /// What can be done about it.
    pub cure: String,
}

impl LimitsUnavailable {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let more = self.count.saturating_sub(self.targets.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let verb = if self.limits.len() == 1 { "has" } else { "have" };
        format!("{} of {}{more} {verb} no effect: {}; {}", self.limits.join(", "), self.targets.join(", "), self.why, self.cure)
    }
}

/// The kernel has killed a process of a unit because memory was short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKilled {
    /// The unit.
    pub unit: UnitId,
    /// The process, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub victim: Option<OomVictim>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// How many were killed.
    pub count: u64,
    /// Where memory was short.
    pub short: OomPlace,
    /// The most memory the unit had, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// A process that was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomVictim {
    /// Its process id.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
}

/// Where memory was short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OomPlace {
    /// The unit was at its own limit.
    Unit,
    /// A supervisor above it was at its limit, or a cgroup above them.
    Above(String),
    /// The machine has no more.
    Host,
    /// The kernel does not tell.
    Unknown,
}

impl OomKilled {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let who = match (&self.victim, &self.unknown) {
            (Some(victim), _) if self.count > 1 => {
                format!("{} processes, the last of them {} (pid {})", self.count, victim.name, victim.pid)
            }
            (Some(victim), _) => format!("{} (pid {})", victim.name, victim.pid),
            (None, unknown) => {
                let processes = if self.count == 1 { "a process of it".into() } else { format!("{} processes of it", self.count) };
                unknown.as_ref().map_or_else(|| processes.clone(), |why| format!("{processes} ({why})"))
            }
        };
        let memory = self.memory.map(|memory| format!(", it had {}", format_size(memory))).unwrap_or_default();
        format!("out of memory: the kernel killed {who}; {}{memory}", self.short)
    }
}

impl std::fmt::Display for OomPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unit => f.write_str("memory_max of the unit was reached"),
            Self::Above(name) => write!(f, "the limit of {name} was reached"),
            Self::Host => f.write_str("the machine had no more"),
            Self::Unknown => f.write_str("which limit was reached is not known"),
        }
    }
}

/// What stands in [`LimitCleared::limit`] when it was no limit that was reached; a probe measures the same by this name.
pub const MEMORY_PRESSURE: &str = "memory_pressure";

/// A unit or supervisor is at a limit. Told once, until it has been below for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitReached {
    /// The unit or supervisor.
    pub target: String,
    /// How much it uses: processes and threads, or bytes.
    pub used: Option<u64>,
    /// The limit; `None`: it is one above.
    pub limit: Option<u64>,
    /// Of memory: the share of the last ten seconds in which something of it waited for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<f64>,
}

impl LimitReached {
    /// That no process or thread can be started, for people.
    #[must_use]
    pub fn tasks_text(&self) -> String {
        let used = self.used.map(|used| format!("{used} processes and threads; ")).unwrap_or_default();
        let limit = self.limit.map_or_else(|| "the limit of a supervisor above it".into(), |limit| format!("tasks_max ({limit})"));
        format!("{used}{limit} is reached: no more can be started")
    }

    /// That memory is reclaimed, for people.
    #[must_use]
    pub fn memory_text(&self) -> String {
        let used = self.used.map(|used| format!("{} of memory; ", format_size(used))).unwrap_or_default();
        let limit = self.limit.map_or_else(|| "memory_high above it".into(), |limit| format!("memory_high ({})", format_size(limit)));
        let pressure = self.pressure.map(|share| format!(", it waits for memory {:.0} % of the time", share * 100.0)).unwrap_or_default();
        format!("{used}{limit} is reached: it is slowed down{pressure}")
    }

    /// That it waits for memory, for people.
    #[must_use]
    pub fn pressure_text(&self) -> String {
        let share = self.pressure.map_or_else(|| "often".into(), |share| format!("{:.0} % of the time", share * 100.0));
        let used = self.used.map(|used| format!("; it has {}", format_size(used))).unwrap_or_default();
        let limit = self.limit.map(|limit| format!(" and may have {}", format_size(limit))).unwrap_or_default();
        format!("waits for memory {share}{used}{limit}")
    }
}

/// That is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitCleared {
    /// The unit or supervisor.
    pub target: String,
    /// The limit, by its key; or [`MEMORY_PRESSURE`].
    pub limit: String,
    /// How often it was hit.
    pub count: u64,
    /// From the first time to the last.
    #[serde(with = "seconds")]
    pub after: Duration,
}

impl LimitCleared {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { limit, count, after, .. } = self;
        if limit == MEMORY_PRESSURE {
            return format!("does not wait for memory any more, as it did within {}", approx_duration(*after));
        }
        format!("below {limit} again, which it has hit {count} times within {}", approx_duration(*after))
    }
}

impl LimitsChanged {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("limits changed: {}", self.limits.join(", "))
    }
}

impl LimitRefused {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} cannot be {}: {}", self.limit, self.wanted, self.why)
    }
}

impl LimitDrifted {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{} was {} instead of {}: somebody else has changed it; set again", self.limit, self.found, self.wanted)
    }
}

/// How a declared limit of a unit or supervisor stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// The limit, by its key.
    pub limit: String,
    /// What is to hold, as the kernel writes it.
    pub wanted: String,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What is declared, if something else is to hold because the limit follows the pressure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
}

/// What a cgroup uses, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupUse {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// The most memory it ever had.
    pub memory_peak: Option<u64>,
    /// Swap space, in bytes.
    pub swap: Option<u64>,
    /// Processor time in seconds.
    pub cpu: Option<f64>,
    /// For how long `cpu_max` has kept it from running, in seconds.
    pub throttled: Option<f64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// Bytes read from block devices.
    pub read: Option<u64>,
    /// Bytes written to them.
    pub written: Option<u64>,
    /// How many processes were killed because memory was short.
    pub oom_kills: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_memory_is_told_with_what_is_known() {
        let pressed = LimitReached { target: "a".into(), used: Some(60 << 20), limit: Some(64 << 20), pressure: Some(0.15) };
        assert_eq!(pressed.pressure_text(), "waits for memory 15 % of the time; it has 60.0 MiB and may have 64.0 MiB");
        let unknown = LimitReached { used: None, limit: None, pressure: None, ..pressed };
        assert_eq!(unknown.pressure_text(), "waits for memory often");
        let over = |limit: &str| LimitCleared { target: "a".into(), limit: limit.into(), count: 3, after: Duration::from_secs(5) }.text();
        assert_eq!(over(MEMORY_PRESSURE), "does not wait for memory any more, as it did within 5.0s");
        assert_eq!(over("memory_high"), "below memory_high again, which it has hit 3 times within 5.0s");
    }
}

//! What is seen of processes that somebody else starts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::exit::ExitCause;
use crate::base::id::UnitId;
use crate::base::quantity::format_size;
use crate::base::time::{Wall, approx_duration, optional_seconds, seconds};

/// What processes used when they were last looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// When that was.
    pub at: Wall,
    /// CPU time in user mode.
    #[serde(with = "seconds")]
    pub user: Duration,
    /// CPU time in the kernel.
    #[serde(with = "seconds")]
    pub system: Duration,
    /// The resident set, in bytes. Pages that processes share are counted once for each.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors, of processes that let us look.
    pub descriptors: u64,
}

impl ProcessSample {
    /// Adds what another one uses.
    pub fn add(&mut self, other: &Self) {
        self.at = self.at.max(other.at);
        self.user = self.user.saturating_add(other.user);
        self.system = self.system.saturating_add(other.system);
        self.resident = self.resident.saturating_add(other.resident);
        self.threads = self.threads.saturating_add(other.threads);
        self.descriptors = self.descriptors.saturating_add(other.descriptors);
    }

    /// For people: `12 MiB, 3 threads, 14 descriptors, 1.2s CPU`.
    #[must_use]
    pub fn text(&self) -> String {
        let cpu = self.user.saturating_add(self.system).as_secs_f64();
        let (threads, descriptors) = (counted(self.threads, "thread"), counted(self.descriptors, "descriptor"));
        format!("{}, {threads}, {descriptors}, {cpu:.1}s CPU", format_size(self.resident))
    }
}

/// What a unit that is only watched stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// What it looks for, for people.
    pub wanted: String,
    /// So many have to be there.
    pub needed: u32,
    /// So many are.
    pub matches: u64,
    /// The command line of the oldest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// Since when there are too few, after there were enough.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gone_since: Option<Wall>,
    /// What all of them together use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sample: Option<ProcessSample>,
}

/// A process was found that a unit watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessFound {
    /// The unit.
    pub unit: UnitId,
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// How long it had run by then.
    #[serde(with = "seconds")]
    pub after: Duration,
    /// So many more were found, and are told of with this one.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub others: usize,
}

/// A process that a unit watches has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessGone {
    /// The unit.
    pub unit: UnitId,
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// How it ended; none: it runs on, but has become something else that does not fit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cause: Option<ExitCause>,
    /// How long it had run.
    #[serde(with = "seconds")]
    pub after: Duration,
    /// So many are left.
    pub left: u64,
    /// So many more have ended, and are told of with this one.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub others: usize,
    /// What it used when it was last looked at: now there is nothing left to look at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<ProcessSample>,
}

/// As many processes as a unit needs are there: for the first time, or again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitFound {
    /// The unit.
    pub unit: UnitId,
    /// The oldest of them.
    pub pid: u32,
    /// So many are there.
    pub matches: u64,
    /// How long there were too few; none: nothing was missed before.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "optional_seconds")]
    pub gone: Option<Duration>,
}

/// Of the processes that a unit watches there are too few now. Until [`UnitFound`] comes, that is one trouble.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitLost {
    /// The unit.
    pub unit: UnitId,
    /// So many are left.
    pub left: u64,
    /// So many have to be there.
    pub needed: u32,
}

impl ProcessFound {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { pid, command, after, others, .. } = self;
        format!("found pid {pid}, which has run for {}: {command}{}", approx_duration(*after), and_others(*others))
    }
}

impl ProcessGone {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { pid, command, cause, after, left, others, last, .. } = self;
        let how = cause.map_or_else(|| "has become something else".into(), |cause| format!("has ended: {cause}"));
        let last = last.map(|last| format!("; it used {}", last.text())).unwrap_or_default();
        format!("pid {pid} {how} after {}, {left} left: {command}{last}{}", approx_duration(*after), and_others(*others))
    }
}

impl UnitFound {
    /// The same for people.
    #[must_use]
    pub fn text(&self) -> String {
        let there = format!("{} there, the oldest is pid {}", processes(self.matches), self.pid);
        match self.gone {
            Some(gone) => format!("back after {}: {there}", approx_duration(gone)),
            None => there,
        }
    }
}

impl UnitLost {
    /// The same for people: `gone: no process is there, at least 1 has to be`.
    #[must_use]
    pub fn text(&self) -> String {
        let have = if self.needed == 1 { "has" } else { "have" };
        format!("gone: {} there, at least {} {have} to be", processes(self.left), self.needed)
    }
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!("; and {others} more") }
}

fn processes(count: u64) -> String {
    match count {
        0 => "no process is".into(),
        1 => "1 process is".into(),
        count => format!("{count} processes are"),
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

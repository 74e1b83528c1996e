//! How the kernel treats a process: in its own numbers, ready for the system calls.

use serde::{Deserialize, Serialize};

use super::choice::choices;

choices! {
    /// How the kernel shares out processor time (sched(7)).
    SchedulerPolicy = Other {
        /// The usual one, by niceness.
        Other = "other",
        /// The usual one, for what never waits for people.
        Batch = "batch",
        /// Only what nobody else wants.
        Idle = "idle",
        /// Real time: it runs until it waits for something, or one of a higher priority wants to.
        Fifo = "fifo",
        /// Real time, taking turns with those of the same priority.
        Rr = "rr",
    }
}

choices! {
    /// Who is served first by a disk (ionice(1)). It has an effect with the I/O schedulers `bfq` and `mq-deadline`, and none with `none` and `kyber`.
    IoClass = BestEffort {
        /// Before all others.
        RealTime = "real_time",
        /// As all others.
        BestEffort = "best_effort",
        /// After all others.
        Idle = "idle",
    }
}

/// What there is to set of a process besides its niceness. What is `None` stays as it is inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// Policy and real-time priority, as sched_setscheduler(2) takes them.
    pub scheduler: Option<(i32, i32)>,
    /// As ioprio_set(2) takes it.
    pub io_priority: Option<i32>,
    /// The processors it may run on, a bit for each, as sched_setaffinity(2) takes them.
    pub affinity: Option<Vec<u64>>,
    /// Resource limits: number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// How much the kernel likes to kill it when memory is short.
    pub oom_score_adj: Option<i32>,
}

impl Scheduling {
    /// Whether everything stays as it is inherited.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl SchedulerPolicy {
    /// The number in linux/sched.h.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Other => 0,
            Self::Fifo => 1,
            Self::Rr => 2,
            Self::Batch => 3,
            Self::Idle => 5,
        }
    }

    /// Whether it has priorities of its own.
    #[must_use]
    pub const fn is_real_time(self) -> bool {
        matches!(self, Self::Fifo | Self::Rr)
    }
}

impl IoClass {
    /// The number in linux/ioprio.h, with a level.
    #[must_use]
    pub const fn number(self, level: i32) -> i32 {
        let class = match self {
            Self::RealTime => 1,
            Self::BestEffort => 2,
            Self::Idle => 3,
        };
        (class << 13) | level
    }
}

/// Resource limits by name, with their numbers on every architecture that Rust's tier 1 and 2 Linux targets use, except MIPS and SPARC.
pub const RLIMITS: [(&str, u32); 16] = [
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

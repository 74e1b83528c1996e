//! The choices declarations offer, each with its words and what they mean.
//!
//! A choice is written once: the macro gives the type, its word in YAML and JSON, and the sentence that explains it.

/// A closed set of words.
pub trait Choice: Copy + 'static {
    /// Every value with its word and its meaning, in the order they are shown.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// The value called `word`.
    #[must_use]
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == word).map(|&(value, ..)| value)
    }

    /// Every word.
    fn words() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|&(_, word, _)| word)
    }
}

/// Makes a [`Choice`]: `Value = "word"` for each value, with its meaning as doc comment; `Name = Value` names the default.
macro_rules! choices {
    ($(#[doc = $about:literal])+ $name:ident $(= $default:ident)? { $($(#[doc = $doc:literal])+ $value:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[doc = $doc])+ #[serde(rename = $word)] $value),+
        }

        impl $crate::base::choice::Choice for $name {
            const ALL: &'static [(Self, &'static str, &'static str)] = &[$((Self::$value, $word, concat!($($doc),+))),+];
        }

        impl $name {
            /// Its word, as it is written in declarations.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }
        }

        $(impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        })?

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

#[cfg(feature = "daemon")]
pub(crate) use choices;

choices! {
    /// Whom a child's end concerns (OTP's restart strategy).
    Strategy = OneForOne {
        /// Only the child itself.
        OneForOne = "one_for_one",
        /// All its siblings: they stop, then all start again.
        OneForAll = "one_for_all",
        /// The siblings after it: they stop, then it and they start again.
        RestForOne = "rest_for_one",
    }
}

choices! {
    /// Whether a supervisor's children start one after the other.
    StartOrder {
        /// Each child waits until the one before it is up.
        Ordered = "ordered",
        /// All at once, each waiting only for what it requires.
        Parallel = "parallel",
    }
}

choices! {
    /// When a child that ended is started again (OTP's restart type).
    RestartType = Permanent {
        /// Always.
        Permanent = "permanent",
        /// After an abnormal end only.
        Transient = "transient",
        /// Never.
        Temporary = "temporary",
    }
}

choices! {
    /// Whether the end of significant children ends their supervisor (OTP's automatic shutdown).
    ///
    /// Only a child that ended by itself and is not started again counts: not one that was stopped on request, for a sibling's sake, or
    /// because the restart intensity was reached.
    AutoShutdown = Never {
        /// It does not.
        Never = "never",
        /// The end of any significant child does.
        AnySignificant = "any_significant",
        /// The end of the last significant child does.
        AllSignificant = "all_significant",
    }
}

choices! {
    /// Whether a step of a remediation is taken.
    RemediationMode = Observe {
        /// It is only told what would be done.
        Observe = "observe",
        /// It is looked whether it could be done, and told.
        DryRun = "dry_run",
        /// It is done.
        Enforce = "enforce",
    }
}

choices! {
    /// What a step of a remediation starts again.
    RestartScope = Unit {
        /// The unit.
        Unit = "unit",
        /// The unit, and then all that require it or bind to it.
        Dependents = "dependents",
        /// Its supervisor, with everything below it.
        Branch = "branch",
    }
}

choices! {
    /// What the daemon does without under pressure.
    DegradationStep {
        /// Probes, logs and measurements are looked at several times more seldom: 4 times, or as often as `{slow_sampling: N}` says.
        SlowSampling = "slow_sampling",
        /// Probes that are only to observe are not made, and readiness probes at the slow rate; startup and liveness probes go on.
        FewerProbes = "fewer_probes",
        /// Units that are `optional` and have come up stand still.
        PauseOptional = "pause_optional",
        /// Units that are `optional` are stopped.
        StopOptional = "stop_optional",
    }
}

choices! {
    /// The kinds of failure that are told apart.
    FailureClass = Crash {
        /// It ended, and not well.
        Crash = "crash",
        /// It did not become ready: it ended before, or took too long.
        Start = "start",
        /// It could not even be started: no such program, user or file.
        Config = "config",
        /// Its watchdog heard nothing of it.
        Hang = "hang",
        /// A startup or liveness probe failed.
        Probe = "probe",
        /// The kernel killed it, or a process of it, because memory was short.
        Oom = "oom",
    }
}

choices! {
    /// How much of a delay is left to chance (Marc Brooker, "Exponential Backoff And Jitter", 2015).
    Jitter = Full {
        /// Between zero and the delay.
        Full = "full",
        /// Between half the delay and the delay.
        Equal = "equal",
        /// The delay as computed.
        None = "none",
    }
}

choices! {
    /// How a unit's output gets to its log file.
    LogMode = Direct {
        /// stdout and stderr are the log file itself.
        Direct = "direct",
        /// Through a pipe the supervisor empties.
        Pipe = "pipe",
        /// Through a pipe, line by line to systemd's journal, with fields.
        Journald = "journald",
        /// Nowhere: /dev/null.
        None = "none",
    }
}

choices! {
    /// What happens when a unit's logs have reached their `max_total`, or cannot be written.
    LogOverflow = DropOldest {
        /// The oldest output is dropped, what cannot be written at all too; a gap record says how much. The unit never waits.
        DropOldest = "drop_oldest",
        /// The pipe is not read until there is room: the unit waits in its next write. Needs mode `pipe`.
        Block = "block",
        /// Every process of the unit is stopped until there is room.
        Pause = "pause",
    }
}

choices! {
    /// Where a unit's stderr goes.
    LogStderr = Joined {
        /// Where its stdout goes: one log, in the order in which it was written.
        Joined = "joined",
        /// Directly into a log of its own, `UNIT+stderr.log`, with the same bounds. For modes `direct` and `pipe`.
        Separate = "separate",
    }
}

choices! {
    /// What a probe is asked for.
    ProbeRole = Liveness {
        /// Whether the unit has come up. Nothing else is asked before; failing it is started again.
        Startup = "startup",
        /// Whether it is alive. Failing, it is started again.
        Liveness = "liveness",
        /// Whether it may be given work. Failing, it runs on, but is not ready: nothing that requires it starts.
        Readiness = "readiness",
        /// Nothing: it is only shown.
        Observe = "observe",
    }
}

choices! {
    /// How well something is; the worst is the last.
    HealthLevel = Healthy {
        /// As it should be.
        Healthy = "healthy",
        /// It works, but something wants attention.
        Degraded = "degraded",
        /// It does not work.
        Unhealthy = "unhealthy",
    }
}

choices! {
    /// What a unit writes to.
    LogStream {
        /// Its standard output.
        Stdout = "stdout",
        /// Its standard error.
        Stderr = "stderr",
    }
}

impl LogStream {
    /// Which of the two the log of this name holds, where they are apart.
    #[must_use]
    pub fn of_log(log: &str) -> Self {
        if super::id::UnitId::of_log(log).1 { Self::Stderr } else { Self::Stdout }
    }
}

choices! {
    /// How rotated files are compressed.
    LogCompress = Zstd {
        /// With zstd in its seekable format, some seconds after the rotation; the newest stays as it is.
        Zstd = "zstd",
        /// They stay as they are.
        None = "none",
    }
}

choices! {
    /// What happens to units that run on when the whole daemon was killed and is started again.
    OnLauncherDeath = Adopt {
        /// They are supervised again, as they run.
        Adopt = "adopt",
        /// They are stopped, and started anew.
        Stop = "stop",
    }
}

choices! {
    /// What happens when the root supervisor gives up.
    OnRootFailure = Keep {
        /// Keep what still runs and report the node as degraded.
        Keep = "keep",
        /// Stop everything and exit, so that systemd decides.
        Exit = "exit",
    }
}

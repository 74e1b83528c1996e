//! How things end: the exit of a process as the kernel tells it, and OTP's exit reasons.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::time::seconds;

/// A signal by number, shown by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(pub i32);

/// Linux's standard signals on every architecture that Rust's tier 1 and 2 Linux targets use, except MIPS and SPARC.
const NAMES: [(&str, i32); 31] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGSTKFLT", 16),
    ("SIGCHLD", 17),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPWR", 30),
    ("SIGSYS", 31),
];

impl Signal {
    /// Asks a daemon to reload.
    pub const HUP: Self = Self(1);
    /// Asks a process to end.
    pub const TERM: Self = Self(15);
    /// Ends a process; it cannot refuse.
    pub const KILL: Self = Self(9);

    /// The signal called `name`: `SIGTERM`, `TERM`, `term`, `15`, `SIGRTMIN+3`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let upper = name.trim().to_ascii_uppercase();
        if let Ok(number) = upper.parse() {
            return (1..=64).contains(&number).then_some(Self(number));
        }
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(offset) = bare.strip_prefix("RTMIN") {
            let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
            return (0..=30).contains(&offset).then_some(Self(34 + offset));
        }
        NAMES.iter().find(|(known, _)| known[3..] == *bare).map(|&(_, number)| Self(number))
    }

    /// Every name [`Signal::parse`] knows, for help texts.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|&(name, _)| name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.pad(name),
            None if self.0 >= 34 => write!(f, "SIGRTMIN+{}", self.0 - 34),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the kernel says about the end of a process (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It called exit with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether the kernel wrote a core dump.
        core: bool,
    },
    /// Nobody was there to hear it; never guessed.
    Unknown,
}

impl ExitCause {
    /// Decodes a raw wait status as wait(2) returns it.
    #[must_use]
    pub fn from_wait_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 { Self::Code((status >> 8) & 0xff) } else { Self::Signal { signal: Signal(signal), core: status & 0x80 != 0 } }
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { signal, core: false } => write!(f, "{signal}"),
            Self::Signal { signal, core: true } => write!(f, "{signal} (core dumped)"),
            Self::Unknown => f.write_str("exit unknown"),
        }
    }
}

/// What a process and the children it waited for have used (getrusage(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode.
    #[serde(with = "seconds")]
    pub user: Duration,
    /// CPU time in the kernel.
    #[serde(with = "seconds")]
    pub system: Duration,
    /// The largest resident set at any moment, in bytes. 0 if it was never larger than the launcher's own: the kernel counts
    /// the moment before exec(3) in, when the process still was the launcher's image.
    pub max_rss: u64,
    /// Page faults that needed the disk.
    pub major_faults: u64,
    /// Context switches it asked for.
    pub voluntary_switches: u64,
    /// Context switches the scheduler forced on it.
    pub involuntary_switches: u64,
}

/// Why a child of a supervisor ended, in OTP's terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// It had done its work.
    Normal,
    /// It was asked to stop, or a supervisor reached its restart intensity.
    Shutdown,
    /// OTP's `{shutdown, Term}`: a clean end with a remark.
    ShutdownWith(Arc<str>),
    /// It was killed.
    Killed,
    /// Anything else: an error, a panic, an unexpected exit.
    Error(Arc<str>),
}

impl ExitReason {
    /// An abnormal end described by `text`.
    #[must_use]
    pub fn error(text: impl fmt::Display) -> Self {
        Self::Error(text.to_string().into())
    }

    /// Whether OTP counts this end as clean: normal, shutdown, {shutdown, Term}.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::ShutdownWith(remark) => write!(f, "shutdown: {remark}"),
            Self::Killed => f.write_str("killed"),
            Self::Error(text) => f.write_str(text),
        }
    }
}

/// So that a supervised future or actor can end for a reason of its choice: `return Err(ExitReason::Shutdown.into())`.
impl std::error::Error for ExitReason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_many_names() {
        for (name, number) in [("SIGTERM", 15), ("term", 15), ("15", 15), ("SIGRTMIN+3", 37), ("RTMIN", 34)] {
            assert_eq!(Signal::parse(name), Some(Signal(number)), "{name}");
        }
        for bad in ["", "SIGFOO", "0", "65", "RTMIN+31", "RTMIN-1"] {
            assert_eq!(Signal::parse(bad), None, "{bad}");
        }
        assert_eq!(Signal(9).to_string(), "SIGKILL");
        assert_eq!(Signal(37).to_string(), "SIGRTMIN+3");
    }

    #[cfg(feature = "daemon")]
    #[test]
    fn signal_numbers_are_this_kernels() {
        for (name, number) in NAMES {
            let known = nix::sys::signal::Signal::try_from(number).map(|signal| signal.as_str().to_owned());
            assert_eq!(known.as_deref(), Ok(name));
        }
    }

    #[test]
    fn wait_statuses_decode() {
        assert_eq!(ExitCause::from_wait_status(3 << 8).to_string(), "exit code 3");
        assert_eq!(ExitCause::from_wait_status(9).to_string(), "SIGKILL");
        assert_eq!(ExitCause::from_wait_status(11 | 0x80).to_string(), "SIGSEGV (core dumped)");
    }
}

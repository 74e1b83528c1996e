//! What can go wrong, and what people ask for.

use std::fmt;
use std::sync::Arc;

/// Something that happens to a node at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// When, in milliseconds after the start.
    pub(crate) at: u64,
    /// To whom.
    pub(crate) node: Arc<str>,
    pub(crate) what: What,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It ends with success.
    Finish,
    /// It ends with an error.
    Crash,
    /// Somebody kills it.
    Kill,
    /// Its next starts fail, so many.
    FailStarts(u32),
    /// Its next start finds nothing to run.
    Ignore,
    /// It does not end any more when it is asked to, if its supervisor would kill it then.
    Hang,
    /// Somebody asks its supervisor to start it.
    Start,
    /// Somebody asks its supervisor to stop it.
    Stop { hold: bool },
    /// Somebody asks its supervisor to stop and start it.
    Restart,
    /// Somebody asks its supervisor to forget it.
    Delete,
    /// Somebody asks its supervisor for another one like it.
    Add,
}

impl What {
    /// Every one, for random cases.
    pub(super) const ALL: [Self; 12] = [
        Self::Finish,
        Self::Crash,
        Self::Kill,
        Self::FailStarts(1),
        Self::Ignore,
        Self::Hang,
        Self::Start,
        Self::Stop { hold: false },
        Self::Stop { hold: true },
        Self::Restart,
        Self::Delete,
        Self::Add,
    ];
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finish => "ends with success",
            Self::Crash => "crashes",
            Self::Kill => "is killed",
            Self::FailStarts(1) => "fails its next start",
            Self::FailStarts(times) => return write!(f, "fails its next {times} starts"),
            Self::Ignore => "finds nothing to run at its next start",
            Self::Hang => "hangs when stopped, from now on",
            Self::Start => "is to be started (request)",
            Self::Stop { hold: false } => "is to be stopped (request)",
            Self::Stop { hold: true } => "is to be stopped and held (request)",
            Self::Restart => "is to be restarted (request)",
            Self::Delete => "is to be deleted (request)",
            Self::Add => "gets one more of its kind (request)",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9}  {} {}", stamp_ms(self.at), self.node, self.what)
    }
}

/// Milliseconds as seconds: `12.345s`.
pub(crate) fn stamp_ms(millis: u64) -> String {
    format!("{}.{:03}s", millis / 1000, millis % 1000)
}

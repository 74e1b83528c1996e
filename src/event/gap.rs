//! Bytes of a log that are gone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::time::Wall;

/// Bytes of a log that were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The stream offset of the first of them.
    pub start: u64,
    /// The stream offset behind the last.
    pub end: u64,
    /// When the first was written, as exactly as the time index knows.
    pub from: Wall,
    /// When the last was written.
    pub to: Wall,
    /// Why they were dropped.
    pub why: GapReason,
}

/// Why bytes of a log were dropped; the `reason` label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The unit's logs had reached their `max_total`.
    Quota,
    /// The logs of all units had reached the daemon's `max_total`.
    Total,
    /// There was no room on the disk.
    DiskFull,
    /// The output could not be written.
    WriteFailed,
    /// The unit wrote more than its `rate_limit`.
    RateLimit,
}

impl GapReason {
    const ALL: [Self; 5] = [Self::Quota, Self::Total, Self::DiskFull, Self::WriteFailed, Self::RateLimit];

    /// The reason with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Total => "total",
            Self::DiskFull => "disk_full",
            Self::WriteFailed => "write_failed",
            Self::RateLimit => "rate_limit",
        }
    }

    /// What it means, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Quota => "the unit's quota was reached",
            Self::Total => "the quota of all logs was reached",
            Self::DiskFull => "no space left on device",
            Self::WriteFailed => "it could not be written",
            Self::RateLimit => "it wrote more than its rate limit",
        }
    }
}

impl Gap {
    /// How many bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl fmt::Display for Gap {
    /// The line that stands for what is gone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&gap_line(self.bytes(), self.from, self.to, self.why))
    }
}

/// The same for what had no room while there was no brain.
#[must_use]
pub fn spill_gap_line(bytes: u64, from: Wall, to: Wall, over_limit: bool) -> String {
    gap_line(bytes, from, to, if over_limit { GapReason::Quota } else { GapReason::DiskFull })
}

/// The line that tells of bytes that are gone, without a newline.
#[must_use]
pub fn gap_line(bytes: u64, from: Wall, to: Wall, why: GapReason) -> String {
    format!("[ms-supervisor: {bytes} bytes dropped, {from} to {to}: {}]", why.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_read_as_a_line() {
        let gap = Gap { start: 10, end: 522, from: Wall(1_700_000_000_000), to: Wall(1_700_000_060_000), why: GapReason::Quota };
        assert_eq!(
            gap.to_string(),
            "[ms-supervisor: 512 bytes dropped, 2023-11-14T22:13:20.000Z to 2023-11-14T22:14:20.000Z: the unit's quota was reached]"
        );
        for reason in GapReason::ALL {
            assert_eq!(GapReason::from_word(reason.as_str()), Some(reason));
        }
    }
}

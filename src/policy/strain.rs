//! Whether something waits for memory so long that it is worth a word, although its limit does not say so.

use std::time::Duration;

use super::episode::{Episode, Turn};
use crate::base::pressure::STRAINED;
use crate::base::time::Mono;

/// So much time is looked at at the least.
const WINDOW: Duration = Duration::from_secs(1);

/// How long one unit or supervisor waits for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strain {
    /// When it was looked at last, and for how long it had waited by then.
    last: Option<(Mono, Duration)>,
    episode: Episode,
}

/// What one look has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// The kernel has said so by itself.
    pub rang: bool,
    /// For how long it has waited in all, where the kernel says nothing by itself.
    pub total: Option<Duration>,
}

impl Strain {
    /// Takes note of a look. `known`: something else tells of it already.
    pub fn looked(&mut self, now: Mono, waited: Waited, known: bool) -> Option<Turn> {
        let is_strained = waited.total.is_some_and(|total| self.has_waited(now, total)) | waited.rang;
        self.episode.seen(now, u64::from(is_strained && !known))
    }

    /// Whether it has waited for long since it was looked at last. One moment says nothing: looks that are too close count as one.
    fn has_waited(&mut self, now: Mono, total: Duration) -> bool {
        let before = *self.last.get_or_insert((now, total));
        let after = now.since(before.0);
        if after < WINDOW {
            return false;
        }
        self.last = Some((now, total));
        total.saturating_sub(before.1) >= after.mul_f64(STRAINED)
    }

    /// The same for another run, whose counters begin anew.
    #[must_use]
    pub const fn of_next_run(self) -> Self {
        Self { last: None, episode: self.episode }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Mono {
        Mono(0) + Duration::from_secs(second)
    }

    fn total(millis: u64) -> Waited {
        Waited { rang: false, total: Some(Duration::from_millis(millis)) }
    }

    const RANG: Waited = Waited { rang: true, total: None };

    #[test]
    fn what_the_kernel_says_is_told_once() {
        let mut strain = Strain::default();
        assert_eq!(strain.looked(at(1), Waited::default(), false), None);
        assert_eq!(strain.looked(at(2), RANG, false), Some(Turn::Begun));
        assert_eq!(strain.looked(at(3), RANG, false), None);
        assert_eq!(strain.looked(at(12), Waited::default(), false), None);
        let over = Turn::Over { count: 2, after: Duration::from_secs(1) };
        assert_eq!(strain.looked(at(13), Waited::default(), false), Some(over));
    }

    #[test]
    fn what_is_told_otherwise_is_not_told_again() {
        let mut strain = Strain::default();
        assert_eq!(strain.looked(at(1), RANG, true), None);
        assert_eq!(strain.looked(at(20), Waited::default(), false), None);
    }

    #[test]
    fn where_the_kernel_says_nothing_the_time_it_waited_does() {
        let mut strain = Strain::default();
        assert_eq!(strain.looked(at(1), total(90_000), false), None, "that was long ago");
        assert_eq!(strain.looked(at(2), total(90_149), false), None);
        assert_eq!(strain.looked(at(3), total(90_299), false), Some(Turn::Begun));
        let mut strain = strain.of_next_run();
        assert_eq!(strain.looked(at(4), total(7), false), None, "it is told already");
        let mut other = Strain::default();
        other.looked(at(1), total(0), false);
        // Looks may be further apart.
        assert_eq!(other.looked(at(5), total(500), false), None);
        assert_eq!(other.looked(at(5) + Duration::from_millis(100), total(600), false), None, "that is no time to speak of");
        assert_eq!(other.looked(at(9), total(1100), false), Some(Turn::Begun));
    }
}

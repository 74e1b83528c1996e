//! Which rotated files go: those that are older than declared, and the oldest of all while there are more than declared.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::id::UnitId;
use crate::base::time::Wall;

/// Below this part of its quota, in percent, a log has room again.
const ROOM_AT: u64 = 90;

/// A rotated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Whose log it belongs to.
    pub unit: UnitId,
    /// Where in the log it ends. To remove it means to remove everything before that.
    pub end: u64,
    /// Bytes it takes.
    pub bytes: u64,
    /// When its newest byte was written.
    pub written: Wall,
    /// How long it is kept after that.
    pub keep_for: Option<Duration>,
    /// Whether it may go for the sake of others: not where the unit is to wait for room rather than to lose anything.
    pub yields: bool,
}

/// What is to be removed of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// What is older than declared, up to this end.
    Old(u64),
    /// What is beyond the quota of all logs, up to this end.
    Beyond(u64),
}

/// What goes of `archives`, when the files that are being written take `live` bytes and all together may take `max_total`; and whether
/// that is still too much after it.
#[must_use]
pub fn retain(archives: &[Archive], live: u64, max_total: u64, now: Wall) -> (Vec<(UnitId, Removal)>, bool) {
    let is_old = |archive: &&Archive| {
        let age = u128::try_from(now.0.saturating_sub(archive.written.0)).unwrap_or(0);
        archive.keep_for.is_some_and(|keep| age > keep.as_millis())
    };
    let (old, mut rest): (Vec<_>, Vec<_>) = archives.iter().partition(is_old);
    let mut removals: Vec<_> = furthest(&old).into_iter().map(|(unit, end)| (unit, Removal::Old(end))).collect();
    let mut used = rest.iter().fold(live, |sum, archive| sum.saturating_add(archive.bytes));
    rest.retain(|archive| archive.yields);
    // Of a log the earlier bytes go first, whatever its files' times say.
    rest.sort_by_key(|archive| (archive.written, archive.end));
    let mut beyond = Vec::new();
    let mut oldest = rest.into_iter();
    while used > max_total
        && let Some(archive) = oldest.next()
    {
        used = used.saturating_sub(archive.bytes);
        beyond.push(archive);
    }
    removals.extend(furthest(&beyond).into_iter().map(|(unit, end)| (unit, Removal::Beyond(end))));
    (removals, used > max_total)
}

/// The last end of each unit.
fn furthest(archives: &[&Archive]) -> BTreeMap<UnitId, u64> {
    let mut ends = BTreeMap::new();
    for archive in archives {
        let end = ends.entry(archive.unit.clone()).or_insert(0);
        *end = archive.end.max(*end);
    }
    ends
}

/// Whether a log that takes `used` of `quota` bytes is full. One that was full is so until there is some room.
#[must_use]
pub const fn is_full(was_full: bool, used: u64, quota: u64) -> bool {
    if was_full { used > quota / 100 * ROOM_AT } else { used > quota }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(unit: &str, end: u64, bytes: u64, written: i64) -> Archive {
        Archive { unit: unit.into(), end, bytes, written: Wall(written), keep_for: None, yields: true }
    }

    #[test]
    fn the_oldest_of_all_goes_first() {
        let archives = [archive("a", 10, 10, 1), archive("a", 20, 10, 5), archive("b", 30, 30, 2), archive("b", 60, 30, 6)];
        let check = |live, max_total, expect: &[(&str, Removal)], over| {
            let (removals, left) = retain(&archives, live, max_total, Wall(100));
            let removals: Vec<_> = removals.iter().map(|(unit, removal)| (unit.as_str(), *removal)).collect();
            assert_eq!((removals.as_slice(), left), (expect, over), "{live} of {max_total}");
        };
        check(0, 80, &[], false);
        check(1, 80, &[("a", Removal::Beyond(10))], false);
        check(11, 80, &[("a", Removal::Beyond(10)), ("b", Removal::Beyond(30))], false);
        check(90, 80, &[("a", Removal::Beyond(20)), ("b", Removal::Beyond(60))], true);
    }

    #[test]
    fn age_counts_by_unit_and_waiting_units_lose_nothing() {
        let week = Some(Duration::from_secs(7 * 86_400));
        let day = 86_400_000;
        let archives = [
            Archive { keep_for: week, ..archive("a", 10, 10, 0) },
            Archive { keep_for: week, ..archive("a", 20, 10, 2 * day) },
            Archive { yields: false, ..archive("b", 99, 50, 0) },
        ];
        assert_eq!(retain(&archives, 0, 1000, Wall(7 * day)), (vec![], false));
        assert_eq!(retain(&archives, 0, 1000, Wall(8 * day)), (vec![("a".into(), Removal::Old(10))], false));
        let (removals, over) = retain(&archives, 0, 5, Wall(8 * day));
        assert_eq!((removals, over), (vec![("a".into(), Removal::Old(10)), ("a".into(), Removal::Beyond(20))], true));
        // The clock was set back: nothing is old.
        assert_eq!(retain(&archives, 0, 1000, Wall(-5)), (vec![], false));
    }

    #[test]
    fn a_full_log_needs_some_room() {
        for (was, used, is) in [(false, 100, false), (false, 101, true), (true, 100, true), (true, 91, true), (true, 90, false)] {
            assert_eq!(is_full(was, used, 100), is, "{was} {used}");
        }
    }
}

//! What is asked of several logs, answered piece by piece.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::index::Times;
use super::{Follow, Line, LogError, LogReader, Pattern};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::os::clock;

/// How many lines are shown when it is not said how many.
const LINES: usize = 100;

/// How many blocks are searched before the asker hears that there is nothing yet.
const BLOCKS: usize = 64;

/// What is wanted of the logs.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// How many past lines of each unit.
    pub lines: Option<usize>,
    /// Lines from this time on, as exactly as the index knows.
    pub since: Option<Wall>,
    /// Lines up to this time, as exactly as the index knows.
    pub until: Option<Wall>,
    /// Only lines that match.
    pub grep: Option<Pattern>,
    /// Lines from these stream offsets on, for units that have one here.
    pub from: BTreeMap<UnitId, u64>,
    /// Whether to go on with what is to come.
    pub follow: bool,
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The log: a unit's, or that of its stderr.
    pub log: UnitId,
    /// When it had surely arrived, as exactly as is known.
    pub time: Wall,
    /// The line.
    pub line: Line,
}

/// Reads several logs side by side. Blocks.
#[derive(Debug)]
pub struct Feed {
    logs: Vec<Log>,
    grep: Option<Pattern>,
    follow: bool,
}

#[derive(Debug)]
struct Log {
    name: UnitId,
    follow: Follow,
    times: Times,
    /// What was read and not given out yet: of another log of the same unit there is something older.
    held: VecDeque<Found>,
    /// The stream offset where the past ends.
    end: u64,
    /// Nothing more is to be read of it.
    over: bool,
}

impl Feed {
    /// Looks where in each log the answer begins. The past of logs of the same unit, which stand side by side in `logs`, comes in the
    /// order in which it was written, as exactly as is known.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn open(directory: &Path, logs: &[UnitId], query: Query) -> Result<Self, LogError> {
        let open = |name: &UnitId| {
            let mut reader = LogReader::open(directory, name.as_str());
            let range = reader.range()?;
            let end = match query.until {
                Some(until) => reader.until(until)?,
                None => range.end,
            };
            let start = match (query.from.get(name), query.since) {
                (Some(offset), _) => *offset,
                (None, Some(since)) => reader.since(since)?,
                // A search goes through everything there is.
                (None, None) if !query.follow && query.lines.is_none() && (query.grep.is_some() || query.until.is_some()) => range.start,
                (None, None) => reader.tail(query.lines.unwrap_or(LINES))?,
            };
            let start = if start == range.start { reader.with_gap(start) } else { start };
            let times = Times::open(directory, name.as_str());
            let (name, follow) = (name.clone(), reader.follow(start));
            Ok(Log { name, follow, times, held: VecDeque::new(), end, over: false })
        };
        Ok(Self { logs: logs.iter().map(open).collect::<Result<_, _>>()?, follow: query.follow, grep: query.grep })
    }

    /// Where each log stands: what comes next begins there.
    pub fn places(&self) -> impl Iterator<Item = (&UnitId, u64)> {
        self.logs.iter().map(|log| (&log.name, log.follow.offset()))
    }

    /// The next lines of each log, none if nothing was found so far; and whether it is worth asking again at once.
    pub fn round(&mut self) -> (Vec<Found>, bool) {
        let (mut found, mut more) = (Vec::new(), false);
        let of_one = |a: &Log, b: &Log| UnitId::of_log(a.name.as_str()).0 == UnitId::of_log(b.name.as_str()).0;
        for logs in self.logs.chunk_by_mut(of_one) {
            for log in logs.iter_mut().filter(|log| !log.over && log.held.is_empty()) {
                more |= log.read(self.follow, self.grep.as_ref());
            }
            merge(logs, self.follow, &mut found);
            // The past comes one unit after the other, and a bounded number of bytes at once.
            if !self.follow && (more || !found.is_empty()) {
                return (found, true);
            }
        }
        let more = more || !found.is_empty() || self.logs.iter().any(|log| !log.over && log.follow.grown());
        (found, more && !self.is_over())
    }

    /// Whether everything was read that was asked for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.logs.iter().all(|log| log.over && log.held.is_empty())
    }
}

/// Gives out what is held, the oldest first, as long as no older line can come.
fn merge(logs: &mut [Log], follow: bool, out: &mut Vec<Found>) {
    loop {
        let is_open = |log: &Log| !follow && !log.over && log.held.is_empty();
        let first = logs.iter().enumerate().filter_map(|(at, log)| Some((log.held.front()?.time, at))).min();
        let Some((_, at)) = first.filter(|_| !logs.iter().any(is_open)) else { return };
        out.extend(logs.get_mut(at).and_then(|log| log.held.pop_front()));
    }
}

impl Log {
    /// Reads until there is something to give out, within bounds; whether there is more.
    fn read(&mut self, follow: bool, grep: Option<&Pattern>) -> bool {
        let (mut lines, mut more) = (Vec::new(), true);
        for _ in 0..BLOCKS {
            more = self.round(follow, grep, &mut lines);
            if !more || !lines.is_empty() {
                break;
            }
        }
        if lines.last().is_some_and(|line| self.times.reached(line.end).is_none()) {
            self.times.refresh();
        }
        let now = clock::wall();
        let own = |line: Line| Found { log: self.name.clone(), time: self.times.reached(line.end).unwrap_or(now), line };
        self.held.extend(lines.into_iter().map(own));
        more
    }

    /// Reads one block; whether there is more.
    fn round(&mut self, follow: bool, grep: Option<&Pattern>, out: &mut Vec<Line>) -> bool {
        let end = self.end;
        let wanted = |line: &Line| follow || line.offset < end;
        let polled = match grep {
            Some(pattern) => self.follow.poll_matching(pattern),
            None => self.follow.poll(),
        };
        match polled {
            Ok(lines) => {
                out.extend(lines.into_iter().filter(wanted));
                if !follow && (self.follow.offset() >= end || !self.follow.grown()) {
                    self.over = true;
                    let matches = |line: &Line| grep.is_none_or(|pattern| pattern.is_match(line.text.as_bytes()));
                    out.extend(self.follow.rest().filter(wanted).filter(matches));
                }
            }
            Err(error) => {
                self.over = true;
                let at = self.follow.offset();
                out.push(Line { offset: at, end: at, text: format!("[ms-supervisor: {error}]"), gap: None });
            }
        }
        !self.over && self.follow.grown()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::event::GapReason;
    use crate::os::logfile::{Index, live_path, remove_archives, rotate_pipe};
    use crate::plan::LogsPlan;

    fn write(directory: &Path, unit: &str, text: &str) {
        let path = live_path(directory, unit);
        std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(feed: &mut Feed) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let (found, more) = feed.round();
            lines.extend(found.into_iter().map(|found| format!("{} {} {}", found.log, found.line.offset, found.line.text)));
            if !more {
                return lines;
            }
        }
    }

    fn open(directory: &Path, query: Query) -> Feed {
        Feed::open(directory, &["a".into(), "b".into()], query).unwrap()
    }

    #[test]
    fn the_last_lines_of_each_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a", "one\ntwo\nthree\n");
        write(directory.path(), "b", "x\nunfinished");
        let mut feed = open(directory.path(), Query { lines: Some(2), ..Query::default() });
        write(directory.path(), "a", "too late\n");
        assert_eq!(read(&mut feed), ["a 4 two", "a 8 three", "b 0 x", "b 2 unfinished"]);
        assert!(feed.is_over());
    }

    #[test]
    fn two_logs_of_a_unit_are_one_past() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        for second in 1..=3 {
            for log in ["a", "a+stderr"] {
                write(dir, log, &format!("{log} {second}\n"));
                let end = std::fs::metadata(live_path(dir, log)).unwrap().len();
                Index::observe(dir, log, Wall(second * 1000 + i64::from(log == "a")), end, 0).unwrap();
            }
        }
        write(dir, "b", "b\n");
        let logs = ["a".into(), "a+stderr".into(), "b".into()];
        let mut feed = Feed::open(dir, &logs, Query::default()).unwrap();
        let expected =
            ["a+stderr 0 a+stderr 1", "a 0 a 1", "a+stderr 11 a+stderr 2", "a 4 a 2", "a+stderr 22 a+stderr 3", "a 8 a 3", "b 0 b"];
        assert_eq!(read(&mut feed), expected);
        let (found, _) = Feed::open(dir, &logs, Query::default()).unwrap().round();
        assert_eq!((found[0].time, found[1].time), (Wall(1000), Wall(1001)));
    }

    #[test]
    fn what_comes_is_followed_in_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a", "one\ntw");
        let mut feed = open(directory.path(), Query { lines: Some(0), follow: true, ..Query::default() });
        assert_eq!(read(&mut feed), [""; 0]);
        write(directory.path(), "b", "x\n");
        assert_eq!(read(&mut feed), ["b 0 x"]);
        assert!(!feed.is_over());
        let from = BTreeMap::from([(UnitId::from("a"), 4), ("b".into(), 2)]);
        let mut feed = open(directory.path(), Query { follow: true, from, ..Query::default() });
        write(directory.path(), "a", "o\n");
        assert_eq!(read(&mut feed), ["a 4 two"]);
        assert_eq!(feed.places().map(|(_, at)| at).collect::<Vec<_>>(), [8, 2]);
    }

    #[test]
    fn times_and_patterns_choose() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        for (second, text) in [(1, "good 1\nbad 1\n"), (2, "good 2\nbad 2\n"), (3, "good 3\nbad 3\n")] {
            write(dir, "a", text);
            Index::observe(dir, "a", Wall(second * 1000), u64::try_from(second).unwrap() * 13, 0).unwrap();
        }
        let at = |second: i64| Some(Wall(second * 1000));
        let bad = Some(Pattern::new("^bad").unwrap());
        assert_eq!(read(&mut open(dir, Query { grep: bad.clone(), ..Query::default() })), ["a 7 bad 1", "a 20 bad 2", "a 33 bad 3"]);
        assert_eq!(read(&mut open(dir, Query { grep: bad.clone(), since: at(1), until: at(2), ..Query::default() })), ["a 20 bad 2"]);
        assert_eq!(read(&mut open(dir, Query { until: at(1), ..Query::default() })), ["a 0 good 1", "a 7 bad 1"]);
        assert_eq!(read(&mut open(dir, Query { grep: bad, lines: Some(2), ..Query::default() })), ["a 33 bad 3"]);
    }

    #[test]
    fn what_was_dropped_is_told_once_and_what_was_old_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path();
        for round in 0..4 {
            write(dir, "a", &format!("line {round}\n"));
            rotate_pipe(dir, "a", &LogsPlan::default()).unwrap();
        }
        remove_archives(dir, "a", 7, None).unwrap();
        assert_eq!(read(&mut open(dir, Query::default())), ["a 7 line 1", "a 14 line 2", "a 21 line 3"]);
        remove_archives(dir, "a", 21, Some(GapReason::Quota)).unwrap();
        let lines = read(&mut open(dir, Query::default()));
        assert!(lines[0].starts_with("a 7 [ms-supervisor: 14 bytes dropped, "), "{lines:?}");
        assert_eq!(lines[1..], ["a 21 line 3"]);
        assert_eq!(read(&mut open(dir, Query { lines: Some(1), ..Query::default() }))[1..], ["a 21 line 3"]);
        // Who comes back with an offset that is gone is told, too.
        let from = BTreeMap::from([(UnitId::from("a"), 14)]);
        let lines = read(&mut open(dir, Query { from, ..Query::default() }));
        assert!(lines[0].starts_with("a 14 [ms-supervisor: 7 bytes dropped, "), "{lines:?}");
    }

    #[test]
    fn a_log_that_cannot_be_read_says_so() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.log.00000000000000000000.5.zst"), "nonsense").unwrap();
        let lines = read(&mut open(directory.path(), Query { grep: Some(Pattern::new("x").unwrap()), ..Query::default() }));
        assert!(lines.len() == 1 && lines[0].starts_with("a 0 [ms-supervisor: cannot read "), "{lines:?}");
    }
}

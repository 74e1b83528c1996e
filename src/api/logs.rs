//! Units' logs as a stream.

use std::path::Path as FilePath;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::unfold;
use serde::Deserialize;

use super::dto::LogLine;
use super::refusal::Refusal;
use super::routes::App;
use super::targets::Known;
use super::wire::{Format, last_event_id, respond};
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::os::logfile::{Follow, Line, LogError, LogReader};
use crate::plan::{Child, LogMode, Plan};

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// How many lines are shown when it is not said how many.
const LINES: usize = 100;

/// What is asked of `GET /v1/logs`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// How many past lines of each unit are wanted.
    lines: Option<usize>,
    /// Lines from this time on (milliseconds since the epoch), as exactly as the index knows.
    since: Option<i64>,
    /// Lines from this stream offset on; for one unit.
    offset: Option<u64>,
    /// Whether to go on with what is to come.
    #[serde(default)]
    follow: bool,
}

type Asked = Result<Query<LogsQuery>, QueryRejection>;

/// The logs of every unit.
pub(super) async fn all(State(app): State<App>, headers: HeaderMap, query: Asked) -> Result<Response, Refusal> {
    let units = app.node.tree.plan().units.keys().cloned().collect();
    stream(app, units, query?.0, &headers).await
}

/// The logs of some units, named with commas between them; a supervisor's name stands for everything below it.
pub(super) async fn some(
    State(app): State<App>,
    Path(targets): Path<String>,
    headers: HeaderMap,
    query: Asked,
) -> Result<Response, Refusal> {
    let plan = app.node.tree.plan();
    let targets: Vec<_> = targets.split(',').map(str::to_owned).collect();
    let named = Known::of_plan(&plan).resolve(&targets)?;
    let mut units: Vec<UnitId> = Vec::new();
    let mut open: Vec<_> = named.iter().rev().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        match plan.supervisors.get(name) {
            Some(supervisor) => open.extend(supervisor.children.iter().rev().map(Child::as_str)),
            None if units.iter().any(|unit| unit.as_str() == name) => {}
            None => units.push(name.into()),
        }
    }
    stream(app, units, query?.0, &headers).await
}

async fn stream(app: App, units: Vec<UnitId>, query: LogsQuery, headers: &HeaderMap) -> Result<Response, Refusal> {
    let units = with_logs(&app.node.tree.plan(), units)?;
    let format = Format::asked(headers);
    let resume = last_event_id(headers);
    let directory = app.node.context.directories.logs.clone();
    let opened = tokio::task::spawn_blocking(move || Feed::open(&directory, &units, query, resume));
    let feed = opened.await.map_err(Refusal::internal)?.map_err(Refusal::internal)?;
    let lines = unfold(feed, move |mut feed| async move {
        loop {
            let round = tokio::task::spawn_blocking(move || {
                let lines = feed.round();
                (feed, lines)
            });
            let lines;
            (feed, lines) = round.await.ok()?;
            if !lines.is_empty() {
                let text = lines.iter().map(|line| format.frame(line.offset, line)).collect::<String>();
                return Some((text, feed));
            }
            if feed.is_over() {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    });
    Ok(respond(format, lines, app.closing))
}

fn with_logs(plan: &Plan, mut units: Vec<UnitId>) -> Result<Vec<UnitId>, Refusal> {
    units.retain(|unit| plan.units.get(unit).is_some_and(|unit| unit.logs.mode != LogMode::None));
    if units.is_empty() {
        return Err(Refusal::bad_request("none of these units has a log: they are declared with `logs: none`"));
    }
    Ok(units)
}

/// Reads several logs side by side. Blocks.
struct Feed {
    logs: Vec<Log>,
    follow: bool,
}

struct Log {
    unit: UnitId,
    follow: Follow,
    /// The stream offset where the past ends.
    end: u64,
    /// The offset of a line the client has already.
    seen: Option<u64>,
    /// Nothing more is to be read of it.
    over: bool,
}

impl Feed {
    fn open(directory: &FilePath, units: &[UnitId], query: LogsQuery, resume: Option<u64>) -> Result<Self, LogError> {
        let open = |unit: &UnitId| {
            let mut reader = LogReader::open(directory, unit.as_str());
            let end = reader.range()?.end;
            let start = match (resume.or(query.offset), query.since) {
                (Some(offset), _) => offset,
                (None, Some(since)) => reader.since(Wall(since))?,
                (None, None) => reader.tail(query.lines.unwrap_or(LINES))?,
            };
            Ok(Log { unit: unit.clone(), follow: reader.follow(start), end, seen: resume, over: false })
        };
        Ok(Self { logs: units.iter().map(open).collect::<Result<_, _>>()?, follow: query.follow })
    }

    /// The next lines of each log; none when there is nothing new.
    fn round(&mut self) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for log in self.logs.iter_mut().filter(|log| !log.over) {
            log.round(self.follow, &mut lines);
            // The past comes one log after the other, and a bounded number of bytes at once.
            if !lines.is_empty() && !self.follow {
                break;
            }
        }
        lines
    }

    fn is_over(&self) -> bool {
        self.logs.iter().all(|log| log.over)
    }
}

impl Log {
    fn round(&mut self, follow: bool, out: &mut Vec<LogLine>) {
        let (unit, seen, end) = (self.unit.as_str().to_owned(), self.seen, self.end);
        let own = |line: Line| LogLine { unit: unit.clone(), offset: line.offset, text: line.text };
        let wanted = |line: &Line| seen != Some(line.offset) && (follow || line.offset < end);
        match self.follow.poll() {
            Ok(lines) => {
                out.extend(lines.into_iter().filter(wanted).map(own));
                if !follow && (self.follow.offset() >= end || !self.follow.grown()) {
                    self.over = true;
                    out.extend(self.follow.rest().filter(wanted).map(own));
                }
            }
            Err(error) => {
                self.over = true;
                out.push(LogLine { unit, offset: self.follow.offset(), text: format!("ms-supervisor: {error}") });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests make files")]

    use std::io::Write as _;

    use super::*;

    fn write(directory: &FilePath, unit: &str, text: &str) {
        let path = crate::os::logfile::live_path(directory, unit);
        std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn read(feed: &mut Feed) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let round = feed.round();
            if round.is_empty() {
                return lines;
            }
            lines.extend(round.into_iter().map(|line| format!("{} {} {}", line.unit, line.offset, line.text)));
        }
    }

    fn open(directory: &FilePath, query: LogsQuery, resume: Option<u64>) -> Feed {
        Feed::open(directory, &["a".into(), "b".into()], query, resume).unwrap()
    }

    #[test]
    fn the_last_lines_of_each_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a", "one\ntwo\nthree\n");
        write(directory.path(), "b", "x\nunfinished");
        let mut feed = open(directory.path(), LogsQuery { lines: Some(2), ..LogsQuery::default() }, None);
        write(directory.path(), "a", "too late\n");
        assert_eq!(read(&mut feed), ["a 4 two", "a 8 three", "b 0 x", "b 2 unfinished"]);
        assert!(feed.is_over());
    }

    #[test]
    fn what_comes_is_followed_in_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a", "one\ntw");
        let mut feed = open(directory.path(), LogsQuery { lines: Some(0), follow: true, ..LogsQuery::default() }, None);
        assert_eq!(read(&mut feed), [""; 0]);
        write(directory.path(), "b", "x\n");
        assert_eq!(read(&mut feed), ["b 0 x"]);
        assert!(!feed.is_over());
        let mut feed = open(directory.path(), LogsQuery { follow: true, ..LogsQuery::default() }, Some(0));
        write(directory.path(), "a", "o\n");
        assert_eq!(read(&mut feed), ["a 4 two"]);
    }
}

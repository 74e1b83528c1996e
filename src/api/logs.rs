//! Units' logs as a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::unfold;
use serde::Deserialize;

use super::dto::{LogLine, LogMark};
use super::refusal::Refusal;
use super::routes::App;
use super::targets::Known;
use super::wire::{Format, last_event_id, respond};
use crate::base::choice::LogStream;
use crate::base::id::UnitId;
use crate::base::time::Wall;
use crate::os::logfile::{self, Feed, Pattern};
use crate::plan::{LogMode, LogStderr, Plan};

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(200);

/// What is asked of `GET /v1/logs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// How many past lines of each unit are wanted.
    lines: Option<usize>,
    /// Lines from this time on (milliseconds since the epoch), as exactly as the index knows.
    since: Option<i64>,
    /// Lines up to this time.
    until: Option<i64>,
    /// Only lines of this stream, `stdout` or `stderr`, where units keep them apart.
    stream: Option<LogStream>,
    /// Only lines that match this regular expression.
    grep: Option<String>,
    /// Lines from this stream offset on; for one unit.
    offset: Option<u64>,
    /// The same for several units: `UNIT:OFFSET,…`.
    from: Option<String>,
    /// Whether to go on with what is to come.
    #[serde(default)]
    follow: bool,
    /// Whether to say first where each log stands, so that who is cut off can ask for what comes after.
    #[serde(default)]
    marks: bool,
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
    let units = plan.units_below(&Known::of_plan(&plan).resolve(&targets)?);
    stream(app, units, query?.0, &headers).await
}

async fn stream(app: App, units: Vec<UnitId>, query: LogsQuery, headers: &HeaderMap) -> Result<Response, Refusal> {
    let logs = log_names(&app.node.tree.plan(), &units, query.stream)?;
    let format = Format::asked(headers);
    let seen = last_event_id(headers);
    let marks = query.marks;
    let wanted = query.wanted(&logs, seen)?;
    let directory = app.node.context.directories.logs.clone();
    let opened = tokio::task::spawn_blocking(move || Feed::open(&directory, &logs, wanted));
    let feed = opened.await.map_err(Refusal::internal)?.map_err(Refusal::internal)?;
    let first = if marks { feed.places().map(|(unit, mark)| mark_text(format, unit, mark)).collect() } else { String::new() };
    let lines = unfold((feed, first), move |(mut feed, first)| async move {
        if !first.is_empty() {
            return Some((first, (feed, String::new())));
        }
        loop {
            let round = tokio::task::spawn_blocking(move || {
                let round = feed.round();
                (feed, round)
            });
            let (lines, more);
            (feed, (lines, more)) = round.await.ok()?;
            // The client has this one.
            let news = lines.iter().filter(|found| seen != Some(found.line.offset));
            let text = news.map(|found| format.frame(found.line.offset, &LogLine::from(found.clone()))).collect::<String>();
            if !text.is_empty() {
                return Some((text, (feed, String::new())));
            }
            if feed.is_over() {
                return None;
            }
            if !more {
                tokio::time::sleep(POLL).await;
            }
        }
    });
    Ok(respond(format, lines, app.closing))
}

fn mark_text(format: Format, log: &UnitId, mark: u64) -> String {
    format.frame(mark, &LogMark { log: log.as_str().to_owned(), mark })
}

fn log_names(plan: &Plan, units: &[UnitId], stream: Option<LogStream>) -> Result<Vec<UnitId>, Refusal> {
    let units: Vec<_> = units.iter().filter_map(|unit| plan.units.get(unit)).collect();
    let logs: Vec<UnitId> = units.iter().flat_map(|unit| unit.log_files()).map(|(log, _)| log).collect();
    if logs.is_empty() {
        return Err(if units.iter().any(|unit| unit.logs.mode == LogMode::Journald) {
            Refusal::bad_request("what these units write goes to the journal").help("journalctl MS_UNIT=NAME shows it")
        } else if units.iter().all(|unit| unit.watch.is_some()) {
            Refusal::bad_request("these units were not started by us: what they write is not ours")
        } else {
            Refusal::bad_request("none of these units has a log: they are declared with `logs: none`")
        });
    }
    let Some(stream) = stream else { return Ok(logs) };
    if units.iter().all(|unit| unit.logs.stderr == LogStderr::Joined) {
        let refusal = Refusal::bad_request("none of these units keeps its stderr apart from its stdout");
        return Err(refusal.help("`logs: {stderr: separate}` in its declaration does that, from its next start on"));
    }
    Ok(logs.into_iter().filter(|log| LogStream::of_log(log.as_str()) == stream).collect())
}

impl LogsQuery {
    fn wanted(self, units: &[UnitId], seen: Option<u64>) -> Result<logfile::Query, Refusal> {
        let mut from = BTreeMap::new();
        for place in self.from.iter().flat_map(|places| places.split(',')) {
            let read = place.split_once(':').and_then(|(unit, at)| Some((UnitId::from(unit), at.parse().ok()?)));
            let (unit, at) = read.ok_or_else(|| Refusal::bad_request(format!("`{place}` is not UNIT:OFFSET")))?;
            from.insert(unit, at);
        }
        if let Some(offset) = seen.or(self.offset) {
            from.extend(units.iter().map(|unit| (unit.clone(), offset)));
        }
        let grep = self.grep.as_deref().map(Pattern::new).transpose().map_err(Refusal::bad_request)?;
        let (since, until) = (self.since.map(Wall), self.until.map(Wall));
        Ok(logfile::Query { lines: self.lines, since, until, grep, from, follow: self.follow })
    }
}

//! `logs` without a daemon: the files are read where they are.
#![expect(clippy::disallowed_methods, reason = "looks for the log files there are, and waits between two looks")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::Session;
use super::args::LogsArgs;
use super::declarations::load;
use super::exit::{Ending, Exit, Failure};
use super::logs::print;
use crate::api::dto::LogLine;
use crate::api::targets::Known;
use crate::base::choice::LogStream;
use crate::base::id::UnitId;
use crate::os::clock;
use crate::os::logfile::{Feed, Pattern, Query};

/// How often logs that are followed are looked at.
const POLL: Duration = Duration::from_millis(200);

pub(super) fn logs(session: &mut Session, args: &LogsArgs) -> Ending {
    let directories = session.directories()?;
    eprintln!("no daemon answers; reading the files in {}", directories.logs.display());
    let mut logs = logs_of(session, args, &directories.logs)?;
    if let Some(stream) = args.stream {
        logs.retain(|log| LogStream::of_log(log.as_str()) == stream);
    }
    let now = clock::wall();
    let query = Query {
        lines: args.lines,
        since: args.since.map(|since| since.wall(now)),
        until: args.until.map(|until| until.wall(now)),
        // It was read when the command line was.
        grep: args.grep.as_deref().and_then(|text| Pattern::new(text).ok()),
        follow: args.follow,
        ..Query::default()
    };
    let mut feed = Feed::open(&directories.logs, &logs, query).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    loop {
        let (found, more) = feed.round();
        for line in found {
            print(session, args, &LogLine::from(line))?;
        }
        if feed.is_over() {
            return Ok(Exit::Done);
        }
        if !more {
            session.out.flush()?;
            std::thread::sleep(POLL);
        }
    }
}

/// What is meant: by the declarations, if there are any, else by the files there are.
fn logs_of(session: &Session, args: &LogsArgs, logs: &Path) -> Result<Vec<UnitId>, Failure> {
    let there = files(logs);
    if args.units.is_empty() {
        return Ok(there.into_iter().collect());
    }
    let (plan, _) = load(session)?;
    if let Some(plan) = &plan
        && let Ok(named) = Known::of_plan(plan).resolve(&args.units)
    {
        let units = plan.units_below(&named);
        return Ok(units.iter().filter_map(|unit| plan.units.get(unit)).flat_map(|unit| unit.log_files()).map(|(log, _)| log).collect());
    }
    let is_meant = |log: &UnitId, name: &str| {
        let unit = UnitId::from(UnitId::of_log(log.as_str()).0);
        unit.as_str() == name || unit.template() == name
    };
    let mut meant = Vec::new();
    for name in &args.units {
        let before = meant.len();
        meant.extend(there.iter().filter(|unit| is_meant(unit, name)).cloned());
        if meant.len() == before {
            return Err(Failure::new(Exit::Unknown, format!("there is no log of `{name}` in {}", logs.display())));
        }
    }
    Ok(meant)
}

/// Every log that is there.
fn files(logs: &Path) -> BTreeSet<UnitId> {
    let names = std::fs::read_dir(logs).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str().and_then(|name| name.strip_suffix(".log")).map(UnitId::from)).collect()
}

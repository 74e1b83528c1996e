//! `logs`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::args::LogsArgs;
use super::exit::{Ending, Exit, Failure};
use super::{Session, offline};
use crate::api::client::{Client, ClientError, escape};
use crate::api::dto::{LogItem, LogLine};
use crate::base::choice::{Choice as _, LogStream};
use crate::base::text::visible;
use crate::base::time::{Mono, Wall, parse_duration};
use crate::os::clock;
use crate::os::logfile::Pattern;

/// For how long a daemon that has gone may take to come back while its logs are followed. A new brain takes less than a second; a
/// daemon that was stopped does not come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked for meanwhile.
const AGAIN: Duration = Duration::from_millis(50);

/// A point in time, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A point in time.
    At(Wall),
    /// So long ago.
    Ago(Duration),
}

pub(super) fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(Since::At(Wall(stamp.as_millisecond())));
    }
    parse_duration(text).map(Since::Ago).map_err(|why| format!("{why}; a time is written like 2026-11-22T10:00:00Z"))
}

pub(super) fn parse_grep(text: &str) -> Result<String, String> {
    Pattern::new(text).map(|_| text.to_owned())
}

pub(super) fn parse_stream(text: &str) -> Result<LogStream, String> {
    LogStream::from_word(text).ok_or_else(|| "it is stdout or stderr".to_owned())
}

impl Since {
    pub(super) fn wall(self, now: Wall) -> Wall {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => Wall(now.0.saturating_sub_unsigned(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}

pub(super) fn logs(session: &mut Session, args: &LogsArgs) -> Ending {
    let client = session.raw_client()?;
    let mut reading = Reading { path: path(args, clock::wall()), places: BTreeMap::new(), away: None };
    match client.block_on(reading.run(session, &client, args)) {
        Err(Gone::Nobody) => offline::logs(session, args),
        Err(Gone::Failed(failure)) => Err(failure),
        Ok(exit) => Ok(exit),
    }
}

fn path(args: &LogsArgs, now: Wall) -> String {
    let units = if args.units.is_empty() {
        String::new()
    } else {
        format!("/{}", args.units.iter().map(|unit| escape(unit)).collect::<Vec<_>>().join(","))
    };
    let mut path = format!("/v1/logs{units}?follow={0}&marks={0}", args.follow);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={value}"));
        }
    };
    add("lines", args.lines.map(|lines| lines.to_string()));
    add("since", args.since.map(|since| since.wall(now).0.to_string()));
    add("until", args.until.map(|until| until.wall(now).0.to_string()));
    add("stream", args.stream.map(|stream| stream.as_str().to_owned()));
    add("grep", args.grep.as_deref().map(escape));
    path
}

/// Why reading from the daemon has ended.
enum Gone {
    /// There never was a daemon.
    Nobody,
    Failed(Failure),
}

impl<T: Into<Failure>> From<T> for Gone {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

/// What is read, and how far.
struct Reading {
    path: String,
    /// What comes next of each unit, for the daemon that takes over when this one goes.
    places: BTreeMap<String, u64>,
    /// Since when there is no daemon.
    away: Option<Mono>,
}

impl Reading {
    async fn run(&mut self, session: &mut Session, client: &Client, args: &LogsArgs) -> Result<Exit, Gone> {
        loop {
            let ended = self.read(session, client, args).await;
            let failure = match ended {
                Ok(()) if !args.follow => return Ok(Exit::Done),
                Ok(()) => Failure::new(Exit::Failed, "the daemon has closed the stream"),
                Err(Gone::Failed(failure)) if args.follow && failure.exit == Exit::Failed && self.knows_places() => failure,
                Err(gone) => return Err(gone),
            };
            let now = clock::mono();
            let since = *self.away.get_or_insert(now);
            if now - since >= PATIENCE {
                return Err(failure.into());
            }
            session.out.flush()?;
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn knows_places(&self) -> bool {
        !self.places.is_empty()
    }

    async fn read(&mut self, session: &mut Session, client: &Client, args: &LogsArgs) -> Result<(), Gone> {
        let places: Vec<_> = self.places.iter().map(|(unit, at)| format!("{}:{at}", escape(unit))).collect();
        let path = if places.is_empty() { self.path.clone() } else { format!("{}&from={}", self.path, places.join(",")) };
        let mut lines = match client.lines(&path).await {
            Ok(lines) => lines,
            Err(ClientError::NoDaemon(_)) if !self.knows_places() => return Err(Gone::Nobody),
            Err(ClientError::NoDaemon(_)) => return Ok(()),
            Err(error) => return Err(Failure::from(error).into()),
        };
        self.away = None;
        loop {
            if !lines.has_line() {
                session.out.flush()?;
            }
            let Some(text) = lines.next().await.map_err(Failure::from)? else { return Ok(()) };
            let item: LogItem = serde_json::from_str(&text)
                .map_err(|error| Failure::new(Exit::Failed, format!("cannot read the daemon's answer: {error}")))?;
            match item {
                LogItem::Mark(mark) => drop(self.places.insert(mark.log, mark.mark)),
                LogItem::Line(line) => {
                    print(session, args, &line)?;
                    if args.follow {
                        self.places.insert(line.log().as_str().to_owned(), line.end);
                    }
                }
            }
        }
    }
}

/// Shows a line.
pub(super) fn print(session: &mut Session, args: &LogsArgs, line: &LogLine) -> Result<(), Failure> {
    if args.json {
        let json = serde_json::to_string(line).map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))?;
        session.out.line(&json)?;
        return Ok(());
    }
    // As it is for files and for other programs.
    let text = if session.out.is_terminal() { visible(&line.text) } else { line.text.as_str().into() };
    let time = if args.timestamps { format!("{} ", session.out.look.dim(&line.time)) } else { String::new() };
    if args.units.len() == 1 && args.units[0] == line.unit {
        // The one unit that was asked for needs no name before each line.
        session.out.line(&format!("{time}{text}"))?;
    } else {
        let log = session.out.look.dim(&format!("{:12} |", line.log()));
        session.out.line(&format!("{time}{log} {text}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_ages() {
        let since = |text: &str| parse_since(text).unwrap().wall(Wall(1_700_000_000_000)).0;
        assert_eq!(since("10m"), 1_700_000_000_000 - 600_000);
        assert_eq!(since("2023-11-14T22:13:20Z"), 1_700_000_000_000);
        assert_eq!(since("2023-11-14T23:13:20.5+01:00"), 1_700_000_000_500);
        assert!(parse_since("yesterday").unwrap_err().contains("2026-11-22T10:00:00Z"));
    }

    #[test]
    fn what_is_wanted_is_in_the_path() {
        let args = LogsArgs {
            units: vec!["a".into(), "b c".into()],
            follow: true,
            lines: Some(5),
            since: None,
            until: None,
            grep: None,
            stream: None,
            timestamps: false,
            json: false,
        };
        assert_eq!(path(&args, Wall(0)), "/v1/logs/a,b%20c?follow=true&marks=true&lines=5");
        let second = Some(Since::Ago(Duration::from_secs(1)));
        let args = LogsArgs { units: vec![], follow: false, lines: None, since: second, until: second, grep: Some("a&b".into()), ..args };
        assert_eq!(path(&args, Wall(5000)), "/v1/logs?follow=false&marks=false&since=4000&until=4000&grep=a%26b");
    }
}

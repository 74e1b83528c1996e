//! `logs`.

use std::time::Duration;

use super::Session;
use super::args::LogsArgs;
use super::exit::{Ending, Exit, Failure};
use crate::api::client::{Client, escape};
use crate::api::dto::LogLine;
use crate::base::time::{Wall, parse_duration};
use crate::os::clock;

/// Since when lines are wanted.
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

impl Since {
    fn wall(self, now: Wall) -> Wall {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => Wall(now.0.saturating_sub_unsigned(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}

pub(super) fn logs(session: &mut Session, args: &LogsArgs) -> Ending {
    let client = session.client()?;
    let path = path(args, clock::wall());
    client.block_on(print(session, &client, args, &path))
}

fn path(args: &LogsArgs, now: Wall) -> String {
    let units = if args.units.is_empty() {
        String::new()
    } else {
        format!("/{}", args.units.iter().map(|unit| escape(unit)).collect::<Vec<_>>().join(","))
    };
    let begin = match args.since {
        Some(since) => format!("since={}", since.wall(now).0),
        None => format!("lines={}", args.lines),
    };
    format!("/v1/logs{units}?{begin}&follow={}", args.follow)
}

async fn print(session: &mut Session, client: &Client, args: &LogsArgs, path: &str) -> Ending {
    let mut lines = client.lines(path).await?;
    loop {
        if !lines.has_line() {
            session.out.flush()?;
        }
        let Some(line) = lines.next().await? else { break };
        if args.json {
            session.out.line(&line)?;
            continue;
        }
        let line: LogLine =
            serde_json::from_str(&line).map_err(|error| Failure::new(Exit::Failed, format!("cannot read the daemon's answer: {error}")))?;
        // The one unit that was asked for needs no name before each line.
        if args.units.len() == 1 && args.units[0] == line.unit {
            session.out.line(&line.text)?;
        } else {
            let unit = session.out.look.dim(&format!("{:12} |", line.unit));
            session.out.line(&format!("{unit} {}", line.text))?;
        }
    }
    if args.follow { Err(Failure::new(Exit::Failed, "the daemon has closed the stream")) } else { Ok(Exit::Done) }
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
        let args = LogsArgs { units: vec!["a".into(), "b c".into()], follow: true, lines: 5, since: None, json: false };
        assert_eq!(path(&args, Wall(0)), "/v1/logs/a,b%20c?lines=5&follow=true");
        let args = LogsArgs { units: vec![], follow: false, since: Some(Since::Ago(Duration::from_secs(1))), ..args };
        assert_eq!(path(&args, Wall(5000)), "/v1/logs?since=4000&follow=false");
    }
}

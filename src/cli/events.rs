//! `events`.

use std::time::Duration;

use super::args::EventsArgs;
use super::exit::{Ending, Exit, Failure};
use super::{Session, render};
use crate::api::client::{Client, ClientError, Lines, escape};
use crate::event::{Envelope, event_text};

/// How often and how long a daemon that has gone is looked for: its brain may be starting again.
const RETRIES: u32 = 50;
const RETRY: Duration = Duration::from_millis(100);

pub(super) fn events(session: &mut Session, args: &EventsArgs) -> Ending {
    let client = session.client()?;
    client.block_on(follow(session, &client, args))
}

/// Prints events; goes on after the last one printed when a followed daemon comes back.
async fn follow(session: &mut Session, client: &Client, args: &EventsArgs) -> Ending {
    let (mut seen, mut connected, mut retries) = (None, false, 0);
    loop {
        let before = seen;
        let result = match client.lines(&path(args, seen)).await {
            Ok(lines) => {
                connected = true;
                print(session, lines, args, &mut seen).await
            }
            Err(error) => Err(error.into()),
        };
        if seen != before {
            retries = 0;
        }
        match result {
            Ok(()) if !args.follow => return Ok(Exit::Done),
            // It was there before, so it may come back.
            Ok(()) | Err(Interrupted::Client(ClientError::NoDaemon(_) | ClientError::Broken(_)))
                if args.follow && connected && retries < RETRIES =>
            {
                retries += 1;
                tokio::time::sleep(RETRY).await;
            }
            Ok(()) => return Err(Failure::new(Exit::Failed, "the daemon has closed the stream")),
            Err(Interrupted::Client(error)) => return Err(error.into()),
            Err(Interrupted::Failure(failure)) => return Err(failure),
        }
    }
}

/// Why no more events come: the connection may be made again, the output not.
enum Interrupted {
    Client(ClientError),
    Failure(Failure),
}

impl From<ClientError> for Interrupted {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<std::io::Error> for Interrupted {
    fn from(error: std::io::Error) -> Self {
        Self::Failure(error.into())
    }
}

async fn print(session: &mut Session, mut lines: Lines, args: &EventsArgs, seen: &mut Option<u64>) -> Result<(), Interrupted> {
    loop {
        if !lines.has_line() {
            session.out.flush()?;
        }
        let Some(line) = lines.next().await? else { return Ok(()) };
        let event: Envelope = serde_json::from_str(&line).map_err(|error| ClientError::Broken(error.to_string()))?;
        *seen = Some(event.sequence);
        if args.json {
            session.out.line(&line)?;
        } else {
            let stamp = session.out.look.dim(&format!("{:>7} {}", event.sequence, render::local_time(event.time)));
            let subject = event.event.subject().filter(|subject| !subject.is_empty()).unwrap_or("daemon");
            session.out.line(&format!("{stamp} {subject:12} | {}", event_text(&event.event)))?;
        }
    }
}

fn path(args: &EventsArgs, seen: Option<u64>) -> String {
    let mut path = format!("/v1/events?follow={}", args.follow);
    match (seen, args.from) {
        (Some(seen), _) => path.push_str(&format!("&from={}", seen + 1)),
        (None, Some(from)) => path.push_str(&format!("&from={from}")),
        (None, None) => path.push_str(&format!("&last={}", args.last.unwrap_or(50))),
    }
    if let Some(unit) = &args.unit {
        path.push_str(&format!("&about={}", escape(unit)));
    }
    path
}

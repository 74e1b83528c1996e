//! `start`, `stop`, `restart`, `pause`, `resume`, `signal` and `rotate`.

use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use super::Session;
use super::exit::{Ending, Exit};
use super::status::units_below;
use crate::api::client::{Client, ClientError};
use crate::api::dto::{ActionRequest, ActionResponse, HeartbeatRequest, SignalRequest, Status, TargetResult};
use crate::api::targets::Known;
use crate::base::exit::Signal;

/// How often progress is shown.
const PROGRESS: Duration = Duration::from_millis(250);

/// More targets than this are counted, not listed, when all went well.
const LISTED_MAX: usize = 20;

/// What is done to targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Start => ("start", "starting", "started"),
            Self::Stop => ("stop", "stopping", "stopped"),
            Self::Restart => ("restart", "restarting", "restarted"),
        }
    }
}

pub(super) fn ask(session: &mut Session, verb: Verb, targets: Vec<String>, reason: Option<String>) -> Ending {
    let client = session.client()?;
    let (command, _, done) = verb.words();
    let path = format!("/v1/{command}");
    let request = ActionRequest { targets, reason };
    let response: ActionResponse = client.block_on(async {
        let answer = client.post(&path, &request);
        if !std::io::stderr().is_terminal() {
            return answer.await;
        }
        tokio::select! {
            answer = answer => answer,
            never = progress(&client, verb, &request.targets) => match never {},
        }
    })?;
    tell(session, done, &response.results)
}

pub(super) fn signal(session: &mut Session, signal: Signal, targets: Vec<String>, whole: bool) -> Ending {
    let client = session.client()?;
    let request = SignalRequest { targets, signal: signal.to_string(), whole };
    let response: ActionResponse = client.block_on(client.post("/v1/signal", &request))?;
    tell(session, "signalled", &response.results)
}

/// Says nothing if all is well: it may be called often.
pub(super) fn heartbeat(session: &mut Session, targets: Vec<String>, sequence: Option<u64>) -> Ending {
    let client = session.client()?;
    let response: ActionResponse = client.block_on(client.post("/v1/heartbeat", &HeartbeatRequest { targets, sequence }))?;
    let refused: Vec<_> = response.results.into_iter().filter(|result| !result.ok).collect();
    tell(session, "heard", &refused)
}

pub(super) fn pause(session: &mut Session, pause: bool, targets: Vec<String>) -> Ending {
    let client = session.client()?;
    let (path, done) = if pause { ("/v1/pause", "paused") } else { ("/v1/resume", "goes on") };
    let response: ActionResponse = client.block_on(client.post(path, &ActionRequest { targets, reason: None }))?;
    tell(session, done, &response.results)
}

pub(super) fn rotate(session: &mut Session, targets: Vec<String>) -> Ending {
    let client = session.client()?;
    let response: ActionResponse = client.block_on(client.post("/v1/rotate", &ActionRequest { targets, reason: None }))?;
    tell(session, "rotated", &response.results)
}

/// Shows on the terminal how far it is; what is shown goes when the answer is there.
async fn progress(client: &Client, verb: Verb, targets: &[String]) -> std::convert::Infallible {
    let _cleared = ClearedLine;
    loop {
        tokio::time::sleep(PROGRESS).await;
        // Without a status there is no progress to show; the answer itself tells what is wrong.
        let status: Result<Status, ClientError> = client.fetch("/v1/status").await;
        let Ok(status) = status else { continue };
        let Ok(named) = Known::of_status(&status).resolve(targets) else { continue };
        let units = units_below(&status, &named);
        if units.len() > 1 {
            let (_, doing, _) = verb.words();
            eprint!("\r\x1b[K{doing}: {} of {} units", done_of(verb, &status, &units), units.len());
            drop(std::io::stderr().flush());
        }
    }
}

/// How many of `units` are where they should get.
fn done_of(verb: Verb, status: &Status, units: &BTreeSet<String>) -> usize {
    let done = |state: &str| match verb {
        Verb::Start | Verb::Restart => state == "active",
        Verb::Stop => state == "stopped",
    };
    status.units.iter().filter(|unit| units.contains(unit.unit.as_str()) && done(&unit.state)).count()
}

/// Clears the terminal's line when dropped.
struct ClearedLine;

impl Drop for ClearedLine {
    fn drop(&mut self) {
        eprint!("\r\x1b[K");
    }
}

fn tell(session: &mut Session, done: &str, results: &[TargetResult]) -> Ending {
    let failed: Vec<_> = results.iter().filter(|result| !result.ok).collect();
    let went_well: Vec<_> = results.iter().filter(|result| result.ok).collect();
    if went_well.len() > LISTED_MAX {
        session.out.line(&format!("{done} {} units and supervisors", went_well.len()))?;
    } else {
        for result in went_well {
            session.out.line(&format!("{}: {}", result.target, result.message.as_deref().unwrap_or(done)))?;
        }
    }
    session.out.flush()?;
    for result in &failed {
        eprintln!("error: {}: {}", result.target, result.message.as_deref().unwrap_or("it failed"));
    }
    let mut forgettable = results.iter().filter_map(|result| Some((result, result.not_remembered.as_deref()?))).peekable();
    let remembered = forgettable.peek().is_none();
    for (result, why) in forgettable {
        let what = if result.ok { "done" } else { "asked for" };
        eprintln!("warning: {}: {what}, but not remembered: {why}", result.target);
    }
    if !remembered {
        eprintln!("  help: it holds until the daemon ends, and is written down as soon as that can be; `status` tells how that stands");
    }
    Ok(match (failed.is_empty(), remembered) {
        (false, _) => Exit::Failed,
        (true, false) => Exit::NotRemembered,
        (true, true) => Exit::Done,
    })
}

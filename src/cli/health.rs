//! `health`: how the node is, in one line, as a monitoring plugin says it.
//!
//! The manners are those of Nagios' plugins, which container runtimes understand as well: the exit code judges, the line tells why, and
//! what stands behind `|` is for graphs.

use std::fmt;
use std::time::Duration;

use super::Session;
use super::exit::{Ending, Exit};
use crate::api::client::{Client, ClientError};
use crate::api::dto::Status;
use crate::base::choice::HealthLevel;
use crate::base::time::{approx_duration, format_duration};

/// For `--help`.
pub(super) const HELP: &str = "Exit codes of this command, as Nagios and its kin have them:
  0  OK        all is well
  1  WARNING   it works, but something wants attention
  2  CRITICAL  something does not work, or no daemon answers
  3  UNKNOWN   the daemon may not be asked, or its answer cannot be read";

/// The longest line, so that it fits where others show it.
const LINE_MAX: usize = 1000;

/// How it is. The greater the worse, but for `Unknown`, which is only said when nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Ok = 0,
    Warning = 1,
    Critical = 2,
    Unknown = 3,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

pub(super) fn health(session: &mut Session, patience: Duration) -> Ending {
    let (grade, text, numbers) = match asked(session, patience) {
        Ok(status) => {
            let (grade, text) = judge(&status);
            (grade, text, perfdata(&status))
        }
        Err((grade, why)) => (grade, why, String::new()),
    };
    session.out.line(&line(grade, &text, &numbers))?;
    Ok(Exit::Judged(grade as u8))
}

/// What the daemon says; or what it means that it does not.
fn asked(session: &Session, patience: Duration) -> Result<Status, (Grade, String)> {
    // Whatever keeps us from asking is no verdict on the daemon.
    let client: Client = session.client().map_err(|failure| (Grade::Unknown, failure.message().to_owned()))?;
    let answer = client.block_on(async {
        let answer = tokio::time::timeout(patience, client.fetch("/v1/status")).await;
        answer.map_err(|_| (Grade::Critical, format!("the daemon has not answered for {}", format_duration(patience))))
    })?;
    answer.map_err(|error| (grade_of(&error), error.to_string()))
}

const fn grade_of(error: &ClientError) -> Grade {
    match error {
        ClientError::NoDaemon(_) | ClientError::Broken(_) => Grade::Critical,
        ClientError::NotPermitted(_) | ClientError::Refused { .. } => Grade::Unknown,
    }
}

/// How the node is, and why it is no better: the worst first.
fn judge(status: &Status) -> (Grade, String) {
    let daemon = &status.daemon;
    let mut findings: Vec<(Grade, String)> = Vec::new();
    let reason = daemon.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match daemon.state.as_str() {
        "running" => {}
        "starting" => findings.push((Grade::Warning, "the tree is starting".into())),
        other => findings.push((Grade::Critical, format!("the daemon is {other}{reason}"))),
    }
    if let Some(health) = status.health.get("root") {
        let grade = match health.level {
            HealthLevel::Healthy => Grade::Ok,
            HealthLevel::Degraded => Grade::Warning,
            HealthLevel::Unhealthy => Grade::Critical,
        };
        // While everything starts nothing is up yet, which is no fault.
        let grade = if daemon.state == "starting" { grade.min(Grade::Warning) } else { grade };
        if grade > Grade::Ok {
            findings.push((grade, format!("{}{}", health.level, health.because())));
        }
    }
    if let Some(failing) = &daemon.store.failing {
        findings.push((Grade::Warning, format!("the store cannot be used: {}", failing.why)));
    }
    if let Some(stall) = daemon.host.stall {
        findings.push((Grade::Warning, format!("probes count for nothing, on and off: {}", stall.text())));
    }
    if let Some(sentence) = daemon.degradation.sentence().filter(|_| daemon.degradation.step > 0) {
        findings.push((Grade::Warning, format!("degradation {sentence}")));
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.0));
    let grade = findings.first().map_or(Grade::Ok, |finding| finding.0);
    let ready = status.units.iter().filter(|unit| unit.ready).count();
    let up = approx_duration(daemon.now.since(daemon.started));
    let tail = format!("{ready} of {} units active, up {up}", status.units.len());
    let texts = findings.into_iter().map(|(_, text)| text).chain([tail]);
    (grade, texts.collect::<Vec<_>>().join("; "))
}

/// The numbers behind the bar: `label=value[unit];warn;crit;min;max`, where `c` is a counter.
fn perfdata(status: &Status) -> String {
    let count = |is: fn(&crate::event::UnitStatus) -> bool| status.units.iter().filter(|unit| is(unit)).count();
    let all = status.units.len();
    let restarts: u64 = status.units.iter().map(|unit| unit.restarts).sum();
    let up = status.daemon.now.since(status.daemon.started).as_secs();
    format!(
        "units={all};;;0 active={};;;0;{all} failed={};;;0;{all} held={};;;0;{all} restarts={restarts}c uptime={up}s;;;0 lag={:.3}s;;;0",
        count(|unit| unit.ready),
        count(|unit| unit.state == "failed"),
        count(|unit| unit.held),
        status.daemon.host.lag.as_secs_f64(),
    )
}

/// One line, whatever is in the text: a bar in it would begin the numbers.
fn line(grade: Grade, text: &str, numbers: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).map(|c| if c == '|' { '/' } else { c }).collect();
    let shown: String = clean.chars().take(LINE_MAX).collect();
    let more = if clean.chars().nth(LINE_MAX).is_some() { "…" } else { "" };
    let numbers = if numbers.is_empty() { String::new() } else { format!(" | {numbers}") };
    format!("MS-SUPERVISOR {grade} - {shown}{more}{numbers}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;
    use crate::event::{HealthStatus, StoreFailure};

    fn status(state: &str, level: HealthLevel) -> Status {
        let mut status = crate::cli::render::tests::status();
        status.daemon.state = state.into();
        status.daemon.reason = None;
        status.daemon.store = crate::event::StoreStatus::default();
        status.daemon.host = crate::event::HostStatus::default();
        status.daemon.degradation = crate::event::DegradationStatus::default();
        let by = (level > HealthLevel::Healthy).then(|| "redis".to_owned());
        status.health.insert("root".into(), HealthStatus { level, why: by.as_ref().map(|_| "exit | code\n1".into()), by });
        status
    }

    #[test]
    fn the_worst_decides() {
        let check = |status: &Status, grade: Grade| assert_eq!(judge(status).0, grade, "{:?}", judge(status));
        check(&status("running", HealthLevel::Healthy), Grade::Ok);
        check(&status("running", HealthLevel::Degraded), Grade::Warning);
        check(&status("running", HealthLevel::Unhealthy), Grade::Critical);
        check(&status("starting", HealthLevel::Unhealthy), Grade::Warning);
        check(&status("degraded", HealthLevel::Degraded), Grade::Critical);
        check(&status("stopping", HealthLevel::Healthy), Grade::Critical);
        let mut full = status("running", HealthLevel::Healthy);
        full.daemon.store.failing = Some(StoreFailure { why: "no space".into(), since: Wall(0) });
        check(&full, Grade::Warning);
        full.health.insert("root".into(), HealthStatus { level: HealthLevel::Unhealthy, by: None, why: None });
        let (grade, text) = judge(&full);
        assert_eq!(grade, Grade::Critical);
        assert!(text.starts_with("unhealthy; the store cannot be used: no space; "), "{text}");
    }

    #[test]
    fn a_line_is_one_line_with_numbers() {
        let status = status("running", HealthLevel::Unhealthy);
        let (grade, text) = judge(&status);
        let line = line(grade, &text, &perfdata(&status));
        assert!(line.starts_with("MS-SUPERVISOR CRITICAL - unhealthy: redis: exit / code 1; 1 of 4 units active, up "), "{line}");
        assert_eq!(line.matches('|').count(), 1, "{line}");
        let (_, numbers) = line.split_once(" | ").unwrap();
        for (label, value) in numbers.split(' ').map(|number| number.split_once('=').unwrap()) {
            let value = value.split(';').next().unwrap().trim_end_matches(['c', 's']);
            assert!(!label.is_empty() && value.parse::<f64>().is_ok(), "{label}={value}");
        }
        assert!(numbers.contains("units=4;;;0 active=1;;;0;4 "), "{numbers}");
        assert!(super::line(Grade::Ok, &"x".repeat(5000), "").len() < 1100);
    }

    #[test]
    fn silence_is_critical_and_a_closed_door_is_unknown() {
        assert_eq!(grade_of(&ClientError::NoDaemon("/s".into())), Grade::Critical);
        assert_eq!(grade_of(&ClientError::Broken("x".into())), Grade::Critical);
        assert_eq!(grade_of(&ClientError::NotPermitted("/s".into())), Grade::Unknown);
    }
}

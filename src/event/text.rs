//! Events as plain sentences.

use super::{Event, PauseMeans, RestartCause, ResumeCause};
use crate::base::breaker::BreakerState;
use crate::base::exit::Usage;
use crate::base::quantity::format_size;
use crate::base::time::approx_duration;

/// What has happened, as a sentence without its subject.
#[must_use]
pub fn event_text(event: &Event) -> String {
    match event {
        Event::DaemonStarted { .. }
        | Event::BrainEnded { .. }
        | Event::KeeperLost { .. }
        | Event::DaemonUpgraded { .. }
        | Event::UpgradeFailed { .. }
        | Event::DaemonReady { .. }
        | Event::DaemonStopping { .. }
        | Event::DaemonDegraded { .. }
        | Event::PlanApplied { .. }
        | Event::ReloadRefused { .. }
        | Event::CommandReceived { .. } => daemon_text(event),
        Event::OverrideSet(set) => set.text(),
        Event::OverrideEnded(ended) => ended.text(),
        Event::StoreFailed { .. } | Event::StoreRecovered { .. } | Event::StoreRestored(_) | Event::StoreBackupFailed { .. } => {
            store_text(event)
        }
        Event::IsolationIncomplete(_) | Event::SecretsRenewed(_) => isolation_text(event),
        Event::WishForgotten { why, .. } => format!("what an operator asked of it is forgotten: {why}"),
        Event::EventsDropped { count } => format!("{count} events were lost: they came faster than they could be recorded"),
        Event::ChildTerminated { .. } | Event::SupervisorUp { .. } | Event::IntensityReached { .. } | Event::SupervisorEnded { .. } => {
            supervisor_text(event)
        }
        Event::UnitStarting { cause: None, .. } => "starting".into(),
        Event::UnitStarting { cause: Some(cause), .. } => format!("starting again, because {}", cause_text(*cause)),
        Event::UnitHeldBack { delay, .. } => format!("restart held back for {}", approx_duration(*delay)),
        Event::UnitActive { pid, after, .. } => format!("started, pid {pid}, after {}", approx_duration(*after)),
        Event::UnitAdopted { pid, .. } => format!("found running, pid {pid}"),
        Event::UnitStartFailed { reason, .. } => format!("start failed: {reason}"),
        Event::UnitExited { cause, expected, after, usage, .. } => {
            let how = if *expected { "ended as asked" } else { "exited" };
            format!("{how}: {cause} after {}, {}", approx_duration(*after), usage_text(usage))
        }
        Event::ProbeChanged { .. }
        | Event::UnitUnwell { .. }
        | Event::UnitUnready { .. }
        | Event::UnitReady { .. }
        | Event::BreakerChanged { .. }
        | Event::HealthChanged { .. } => health_text(event),
        Event::UnitUnbound { from, .. } => format!("ending until {from}, which it binds to, is up again"),
        Event::UnitGivenUp { cause, reason, .. } => format!("stays down, as `restart.on` says for `{cause}`: {reason}"),
        Event::Remediation(remediation) => remediation.text(),
        Event::ObserverStalled(stall) => stall.text(),
        Event::ObserverRecovered(over) => over.text(),
        Event::DegradationStepped(stepped) => stepped.text(),
        Event::LimitsChanged(changed) => changed.text(),
        Event::LimitRefused(refused) => refused.text(),
        Event::LimitDrifted(drifted) => drifted.text(),
        Event::LimitAdjusted(adjusted) => adjusted.text(),
        Event::LimitsUnavailable(unavailable) => unavailable.text(),
        Event::OomKilled(killed) => killed.text(),
        Event::TasksMaxReached(reached) => reached.tasks_text(),
        Event::MemoryHighReached(reached) => reached.memory_text(),
        Event::MemoryPressure(reached) => reached.pressure_text(),
        Event::LimitCleared(cleared) => cleared.text(),
        Event::ProcessFound(_) | Event::ProcessGone(_) | Event::UnitFound(_) | Event::UnitLost(_) => watch_text(event),
        Event::UnitStopping { .. } => "stopping".into(),
        Event::UnitTimedOut { .. } => "did not stop in time; killing it".into(),
        Event::UnitStopped { .. } => "stopped".into(),
        Event::UnitSignalled { signal, .. } => format!("got {signal} from an operator"),
        Event::UnitMainChanged { .. } | Event::UnitMainRefused { .. } | Event::NotificationsDropped { .. } => notified_text(event),
        Event::UnitPaused { .. } | Event::UnitResumed { .. } => pause_text(event),
        Event::LogLost { .. }
        | Event::LogRotated { .. }
        | Event::LogDropped { .. }
        | Event::LogFull { .. }
        | Event::LogHasRoom { .. }
        | Event::LogBlocked { .. } => log_text(event),
    }
}

/// The same for the daemon as a whole.
fn daemon_text(event: &Event) -> String {
    match event {
        Event::DaemonStarted { version, generation: 0, adopted: 0 } => format!("ms-supervisor {version} started"),
        Event::DaemonStarted { version, adopted: 1, .. } => format!("ms-supervisor {version} started again, 1 unit found running"),
        Event::DaemonStarted { version, adopted, .. } => format!("ms-supervisor {version} started again, {adopted} units found running"),
        Event::BrainEnded { pid, cause, after, condemned, incident } => {
            let how = if *condemned { "had to be ended" } else { "has ended" };
            let file = incident.as_ref().map(|file| format!("; see {}", file.display())).unwrap_or_default();
            format!("the brain before this one (pid {pid}) {how} after {}: {cause}{file}", approx_duration(*after))
        }
        Event::KeeperLost { pid } => format!("the keeper (pid {pid}) has ended; it is being replaced"),
        Event::DaemonUpgraded { from, version } => format!("upgraded from {from} to {version}"),
        Event::UpgradeFailed { to, version, why } => format!("upgrade to {to} failed, {version} goes on: {why}"),
        Event::DaemonReady { after } => format!("everything is up after {}", approx_duration(*after)),
        Event::DaemonStopping { by } => format!("going down, because of {by}"),
        Event::DaemonDegraded { child, reason } => format!("degraded: gave up {child} ({reason}); what still runs is kept"),
        Event::PlanApplied { started, stopped, restarted, changed, unchanged } => {
            let counts =
                [(started, "started"), (stopped, "stopped"), (restarted, "restarted"), (changed, "changed"), (unchanged, "left alone")];
            let counts: Vec<_> = counts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
            format!("new plan applied: {}", if counts.is_empty() { "no units".into() } else { counts.join(", ") })
        }
        Event::ReloadRefused { errors: 1 } => "reload refused: 1 error; the old plan runs on".into(),
        Event::ReloadRefused { errors } => format!("reload refused: {errors} errors; the old plan runs on"),
        Event::CommandReceived { command, uid, by: Some(unit), .. } => format!("{command} asked for by user {uid}, the unit {unit}"),
        Event::CommandReceived { command, uid, .. } => format!("{command} asked for by user {uid}"),
        _ => String::new(),
    }
}

/// The same for what supervisors decide.
fn supervisor_text(event: &Event) -> String {
    match event {
        Event::ChildTerminated { child, reason, restart: true, .. } => format!("{child} ended ({reason}); restarting"),
        Event::ChildTerminated { child, reason, restart: false, .. } => format!("{child} ended ({reason}); it stays down"),
        Event::SupervisorUp { .. } => "all its children are up".into(),
        Event::IntensityReached { child, reason, retry_after: None, .. } => {
            format!("gives up: one restart too many, the last for {child} ({reason})")
        }
        Event::IntensityReached { child, reason, retry_after: Some(delay), .. } => {
            format!("one restart too many, the last for {child} ({reason}); the next is in {}", approx_duration(*delay))
        }
        Event::SupervisorEnded { reason, .. } => format!("ended: {reason}"),
        _ => String::new(),
    }
}

/// The same for what probes find.
fn health_text(event: &Event) -> String {
    match event {
        Event::ProbeChanged { probe, passing, text, .. } => {
            let found = if text.is_empty() { String::new() } else { format!(": {text}") };
            format!("probe {probe} {}{found}", if *passing { "passes" } else { "fails" })
        }
        Event::UnitUnwell { pid, why, incident, .. } => {
            let file = incident.as_ref().map(|file| format!("; see {}", file.display())).unwrap_or_default();
            format!("not well, ending pid {pid}: {why}{file}")
        }
        Event::UnitUnready { why, .. } => format!("not ready for work: {why}"),
        Event::UnitReady { .. } => "ready for work again".into(),
        Event::BreakerChanged { probe, to, calls, failed, open_for, .. } => {
            let whose = probe.as_ref().map_or_else(|| "its breaker".into(), |probe| format!("the breaker of probe {probe}"));
            match (to, open_for) {
                (BreakerState::Open, Some(time)) => {
                    format!("{whose} is open for {}: {failed} of {calls} failed", approx_duration(*time))
                }
                (BreakerState::Open, None) => format!("{whose} is open: {failed} of {calls} failed"),
                (BreakerState::HalfOpen, _) => format!("{whose} is half open: the next try decides"),
                (BreakerState::Closed, _) => format!("{whose} is closed"),
            }
        }
        Event::HealthChanged { was, health, .. } => format!("{}, was {was}{}", health.level, health.because()),
        _ => String::new(),
    }
}

/// The same for what is seen of processes that somebody else starts.
fn watch_text(event: &Event) -> String {
    match event {
        Event::ProcessFound(found) => found.text(),
        Event::ProcessGone(gone) => gone.text(),
        Event::UnitFound(found) => found.text(),
        Event::UnitLost(lost) => lost.text(),
        _ => String::new(),
    }
}

/// The same for a unit that is paused, and goes on.
fn pause_text(event: &Event) -> String {
    match event {
        Event::UnitPaused { means, rests, .. } => {
            let means = if *means == PauseMeans::Signal { " by SIGSTOP" } else { "" };
            format!("paused{means}{}", if *rests { ": it may be done without" } else { "" })
        }
        Event::UnitResumed { cause, .. } => match cause {
            ResumeCause::Operator => "goes on",
            ResumeCause::Stop => "goes on, because it is to end",
            ResumeCause::Exit => "ended while it was paused",
            ResumeCause::Degradation => "goes on: the pressure is over",
        }
        .into(),
        _ => String::new(),
    }
}

/// The same for what happens to a unit's log.
fn log_text(event: &Event) -> String {
    match event {
        Event::LogLost { why, .. } => format!("its output is lost: {why}"),
        Event::LogRotated { bytes, lost: 0, .. } => format!("log rotated, {}", format_size(*bytes)),
        Event::LogDropped { bytes, from, to, why, .. } => {
            format!("{} of its output dropped, {from} to {to}: {}", format_size(*bytes), why.text())
        }
        Event::LogFull { bytes, .. } => format!("stopped until there is room in its log, which takes {}", format_size(*bytes)),
        Event::LogHasRoom { .. } => "goes on: there is room in its log".into(),
        Event::LogBlocked { why, .. } => format!("its output is not read for now: {why}"),
        Event::LogRotated { bytes, lost, .. } => format!("log rotated, {}; {} lost", format_size(*bytes), format_size(*lost)),
        _ => String::new(),
    }
}

fn usage_text(usage: &Usage) -> String {
    let cpu = (usage.user + usage.system).as_secs_f64();
    match usage.max_rss {
        0 => format!("{cpu:.1}s CPU"),
        peak => format!("{}, {cpu:.1}s CPU", format_size(peak)),
    }
}

/// What a unit has said of itself.
fn notified_text(event: &Event) -> String {
    match event {
        Event::UnitMainChanged { pid, .. } => format!("its main process is {pid} now"),
        Event::UnitMainRefused { why, .. } => format!("has no new main process: {why}"),
        Event::NotificationsDropped { reason, pid, .. } => reason.text(*pid),
        _ => String::new(),
    }
}

fn isolation_text(event: &Event) -> String {
    match event {
        Event::IsolationIncomplete(incomplete) => incomplete.text(),
        Event::SecretsRenewed(renewed) => renewed.text(),
        _ => String::new(),
    }
}

fn store_text(event: &Event) -> String {
    match event {
        Event::StoreFailed { why } => format!("what operators ask for cannot be remembered: the store cannot be used: {why}"),
        Event::StoreRecovered { written: 1 } => "the store works again; 1 change was waiting".into(),
        Event::StoreRecovered { written } => format!("the store works again; {written} changes were waiting"),
        Event::StoreRestored(restored) => format!("store {restored}"),
        Event::StoreBackupFailed { why } => format!("the store could not be backed up: {why}"),
        _ => String::new(),
    }
}

const fn cause_text(cause: RestartCause) -> &'static str {
    match cause {
        RestartCause::Exit => "it had ended",
        RestartCause::StartFailed => "its start had failed",
        RestartCause::Late => "it had failed too often",
        RestartCause::Sibling => "a sibling had ended",
        RestartCause::Operator => "an operator asked for it",
        RestartCause::Rested => "the pressure is over",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::choice::{DegradationStep, ProbeRole};
    use crate::base::exit::{ExitCause, ExitReason, Signal};
    use crate::base::time::Wall;
    use crate::event::{
        DegradationStepped, Desired, GapReason, ProcessFound, ProcessGone, ProcessSample, Stall, StallCause, StallOver, StoreRestored,
        UnitFound, UnitLost, Wish,
    };
    use std::time::Duration;

    fn exited(cause: ExitCause, expected: bool) -> Event {
        let usage = Usage { user: Duration::from_millis(300), system: Duration::from_millis(100), max_rss: 12_897_485, ..Usage::default() };
        Event::UnitExited { run: 3, unit: "web".into(), pid: 7, cause, expected, after: Duration::from_secs(182), usage }
    }

    fn lines(events: &[Event]) -> String {
        let lines: Vec<_> = events.iter().map(|event| format!("{}: {}", event.subject().unwrap_or("-"), event_text(event))).collect();
        lines.join("\n")
    }

    #[test]
    fn what_probes_find_reads_as_sentences() {
        let events = [
            Event::ProbeChanged { unit: "web".into(), probe: "http".into(), role: ProbeRole::Liveness, passing: true, text: String::new() },
            Event::ProbeChanged {
                unit: "web".into(),
                probe: "tcp".into(),
                role: ProbeRole::Observe,
                passing: false,
                text: "no answer".into(),
            },
            Event::UnitUnwell {
                unit: "web".into(),
                pid: 7,
                why: "probe tcp: no answer".into(),
                incident: Some("incidents/web-7-1.txt".into()),
            },
            Event::UnitUnbound { unit: "web".into(), from: "db".into() },
            Event::UnitGivenUp { unit: "web".into(), cause: "exit 78".into(), reason: ExitReason::error("exit code 78") },
            Event::UnitUnready { unit: "web".into(), why: "probe tcp: no answer".into() },
            Event::UnitReady { unit: "web".into() },
            Event::ObserverStalled(Stall { cause: StallCause::Memory, since: Wall(0) }),
            Event::ObserverRecovered(StallOver { cause: StallCause::Io, after: Duration::from_secs(70), blind: Duration::from_secs(12) }),
        ];
        insta::assert_snapshot!(lines(&events));
    }

    #[test]
    fn what_is_seen_of_others_reads_as_sentences() {
        let (user, system) = (Duration::from_millis(900), Duration::from_millis(300));
        let last = ProcessSample { at: Wall(0), user, system, resident: 12 << 20, threads: 3, descriptors: 1 };
        let (unit, pid, command) = (crate::base::id::UnitId::from("sshd"), 7, String::from("sshd -D"));
        let after = Duration::from_secs(300_000);
        let killed = Some(ExitCause::Signal { signal: Signal::KILL, core: false });
        let gone =
            ProcessGone { unit: unit.clone(), pid, command: command.clone(), cause: killed, after, left: 0, others: 0, last: Some(last) };
        let events = [
            Event::ProcessFound(ProcessFound { unit: unit.clone(), pid, command: command.clone(), after, others: 0 }),
            Event::ProcessFound(ProcessFound { unit: unit.clone(), pid, command, after, others: 1000 }),
            Event::UnitFound(UnitFound { unit: unit.clone(), pid, matches: 1, gone: None }),
            Event::ProcessGone(gone.clone()),
            Event::ProcessGone(ProcessGone { cause: None, left: 4, others: 2, last: None, ..gone.clone() }),
            Event::ProcessGone(ProcessGone { cause: Some(ExitCause::Unknown), last: None, ..gone }),
            Event::UnitLost(UnitLost { unit: unit.clone(), left: 0, needed: 1 }),
            Event::UnitLost(UnitLost { unit: unit.clone(), left: 2, needed: 3 }),
            Event::UnitFound(UnitFound { unit, pid: 9, matches: 3, gone: Some(Duration::from_millis(1234)) }),
        ];
        insta::assert_snapshot!(lines(&events));
    }

    #[test]
    fn events_read_as_sentences() {
        let killed = ExitCause::Signal { signal: Signal::KILL, core: false };
        let reason = ExitReason::error("exit code 1");
        let events = [
            Event::DaemonStarted { version: "0.1.0".into(), generation: 0, adopted: 0 },
            Event::DaemonStarted { version: "0.1.0".into(), generation: 2, adopted: 12 },
            Event::KeeperLost { pid: 9 },
            Event::BrainEnded { pid: 7, cause: killed, after: Duration::from_secs(90), condemned: false, incident: None },
            Event::BrainEnded {
                pid: 8,
                cause: ExitCause::Signal { signal: Signal(6), core: true },
                after: Duration::from_secs(3),
                condemned: true,
                incident: Some("incidents/brain-8-1.txt".into()),
            },
            Event::DaemonUpgraded { from: "0.1.0".into(), version: "0.2.0".into() },
            Event::UpgradeFailed { to: "0.2.0".into(), version: "0.1.0".into(), why: "its brain has ended: exit code 70".into() },
            Event::DaemonReady { after: Duration::from_millis(1234) },
            Event::DaemonDegraded { child: "workers".into(), reason: ExitReason::Shutdown },
            Event::PlanApplied { started: 1, stopped: 0, restarted: 2, changed: 0, unchanged: 7 },
            Event::ReloadRefused { errors: 3 },
            Event::CommandReceived { command: "stop".into(), target: "web".into(), uid: 0, by: None },
            Event::UnitStarting { unit: "web".into(), cause: Some(RestartCause::Sibling) },
            Event::UnitHeldBack { unit: "web".into(), delay: Duration::from_micros(187_654) },
            Event::UnitActive { unit: "web".into(), pid: 123, after: Duration::from_millis(12) },
            Event::UnitStartFailed { unit: "web".into(), reason: ExitReason::error("cannot execute ./web: No such file or directory") },
            exited(killed, false),
            exited(ExitCause::Code(0), true),
            Event::ChildTerminated { supervisor: "workers".into(), child: "web".into(), reason: reason.clone(), restart: true },
            Event::IntensityReached { supervisor: "workers".into(), child: "web".into(), reason, retry_after: None },
            Event::UnitMainChanged { unit: "web".into(), pid: 124 },
            Event::UnitMainRefused { unit: "web".into(), why: "no pid file /run/web.pid within 30s".into() },
            Event::NotificationsDropped { unit: "web".into(), reason: crate::event::NoticeDrop::Foreign, pid: Some(7) },
            Event::UnitPaused { unit: "web".into(), means: PauseMeans::Cgroup, rests: false },
            Event::UnitPaused { unit: "web".into(), means: PauseMeans::Signal, rests: true },
            Event::UnitResumed { unit: "web".into(), cause: ResumeCause::Operator },
            Event::UnitResumed { unit: "web".into(), cause: ResumeCause::Stop },
            Event::UnitResumed { unit: "web".into(), cause: ResumeCause::Exit },
            Event::UnitResumed { unit: "web".into(), cause: ResumeCause::Degradation },
            Event::DegradationStepped(DegradationStepped {
                step: 3,
                of: 4,
                what: DegradationStep::PauseOptional,
                down: true,
                why: "memory_available is 3.1 %, less than 5.0 %".into(),
            }),
            Event::DegradationStepped(DegradationStepped {
                step: 2,
                of: 4,
                what: DegradationStep::PauseOptional,
                down: false,
                why: "the pressure is over".into(),
            }),
            Event::LogRotated { unit: "web".into(), bytes: 10 << 20, lost: 512 },
            Event::LogDropped { unit: "web".into(), bytes: 5 << 20, from: Wall(0), to: Wall(1000), why: GapReason::Quota },
            Event::LogFull { unit: "web".into(), bytes: 70 << 20 },
            Event::LogHasRoom { unit: "web".into() },
            Event::LogBlocked { unit: "web".into(), why: GapReason::Quota.text().into() },
            Event::StoreFailed { why: "the disk is full".into() },
            Event::StoreRecovered { written: 2 },
            Event::StoreRestored(StoreRestored { why: "it is damaged: x".into(), generation: Some(2), of: Some(Wall(0)) }),
            Event::StoreRestored(StoreRestored { why: "it is damaged: x".into(), generation: None, of: None }),
            Event::StoreBackupFailed { why: "the disk is full".into() },
            Event::WishForgotten {
                target: "web".into(),
                wish: Wish { number: 1, desired: Desired::Stopped, uid: 0, at: Wall(0), why: None },
                why: "the plan has not known it for 30 days".into(),
            },
        ];
        insta::assert_snapshot!(lines(&events));
    }
}

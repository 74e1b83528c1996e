//! A unit's entry in the view, and the sentences in it.

use std::sync::PoisonError;
use std::time::Duration;

use super::{Entry, Unit};
use crate::actor::confinement;
use crate::base::exit::{ExitReason, Signal};
use crate::base::id::UnitId;
use crate::base::scheduling::RLIMITS;
use crate::base::time::format_duration;
use crate::event::RestartCause;
use crate::event::{LastExit, UnitStatus};
use crate::launcher::wire::{Exit, Spawn, SpawnStep, start_error};
use crate::os::clock;
use crate::plan::UnitPlan;
use crate::policy::lifecycle::State as Life;
use crate::policy::supervisor::StartCause;

pub(super) fn entered(status: &mut UnitStatus, life: Life, waiting_for: &[UnitId]) {
    life.as_str().clone_into(&mut status.state);
    status.since = clock::wall();
    status.since_mono = clock::mono();
    status.ready = life == Life::Active;
    match life {
        Life::Waiting if waiting_for.is_empty() => status.reason = Some("waiting for its turn to start".into()),
        Life::Waiting => {
            let names: Vec<_> = waiting_for.iter().take(5).map(UnitId::as_str).collect();
            status.reason = Some(format!("waiting for {}", names.join(", ")));
        }
        Life::Spawning | Life::Activating | Life::Active => status.reason = None,
        _ => {}
    }
    if life == Life::Stopped {
        status.status = None;
    }
}

pub(super) fn exited(status: &mut UnitStatus, exit: &Exit) {
    *status.counters.exits.entry(exit.cause.into()).or_default() += 1;
    status.last_exit = Some(LastExit { cause: exit.cause, text: exit.cause.to_string(), at: exit.at_wall, usage: exit.usage });
}

pub(super) fn failed(status: &mut UnitStatus, reason: &ExitReason) {
    "failed".clone_into(&mut status.state);
    let killed = ExitReason::error(Signal::KILL);
    let reason = if *reason == ExitReason::Killed { &killed } else { reason };
    status.reason = Some(reason.to_string());
}

pub(super) fn held_back(status: &mut UnitStatus, delay: Duration) {
    // Whole milliseconds are exact enough for people.
    let delay = Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    let why = status.reason.take().unwrap_or_else(|| "it failed".into());
    status.reason = Some(format!("{why}; next try {} after that", format_duration(delay)));
}

/// Why a process could not be made, with what was tried.
pub(super) fn spawn_failure(plan: &UnitPlan, order: Option<&Spawn>, step: SpawnStep, errno: i32) -> String {
    let error = &start_error(errno);
    if let Some(why) = confinement::failure(plan, order, step, error) {
        return why;
    }
    let program = order.map_or_else(|| plan.exec[0].clone(), |order| order.program.display().to_string());
    let directory = plan.working_directory.display();
    let what = match step {
        SpawnStep::Busy => return "something of its last run is still there".into(),
        SpawnStep::NotifySocket => "make its notification socket".into(),
        SpawnStep::Pipe => "make a pipe".into(),
        SpawnStep::Clone | SpawnStep::Cgroup if error.raw_os_error() == Some(libc::EAGAIN) => {
            return "cannot make a process: there are too many (`tasks_max` of a supervisor above it, or a limit of the daemon's user)"
                .into();
        }
        SpawnStep::MakeCgroup if error.raw_os_error() == Some(libc::EAGAIN) => {
            return "cannot make a cgroup for it: there may be no more of them (`cgroup.max.descendants` of one above)".into();
        }
        SpawnStep::MakeCgroup => "make a cgroup for it".into(),
        SpawnStep::Clone => "make a process".into(),
        SpawnStep::Cgroup => "put it into its cgroup".into(),
        SpawnStep::Book => "write it into the book of the run directory".into(),
        SpawnStep::Input => "open the file its stdin is".into(),
        SpawnStep::Log => "open its log".into(),
        SpawnStep::Session => "start a session".into(),
        SpawnStep::Stdio => "connect its output".into(),
        SpawnStep::Nice => format!("set its niceness to {}", plan.nice),
        SpawnStep::Scheduler => "set its scheduling policy (real time needs root or a limit `rtprio`)".into(),
        SpawnStep::IoPriority => "set its I/O priority (the class `real_time` needs root)".into(),
        SpawnStep::Affinity => "set the processors it may run on (`cpu_affinity`)".into(),
        SpawnStep::Rlimit(number) => format!("set its resource limit `{}`", rlimit_name(number)),
        SpawnStep::OomScore => "set its `oom_score_adj` (less than that of the daemon needs root)".into(),
        SpawnStep::Groups => "set its supplementary groups".into(),
        SpawnStep::Group => format!("become its group ({})", plan.group.as_deref().unwrap_or("the user's")),
        SpawnStep::User => format!("become its user ({})", plan.user.as_deref().unwrap_or("?")),
        SpawnStep::WorkingDirectory => format!("enter its working directory {directory}"),
        SpawnStep::Exec => format!("execute {program}"),
        SpawnStep::Namespace | SpawnStep::Mount(_) | SpawnStep::Network | SpawnStep::Join | SpawnStep::Capabilities => "isolate it".into(),
        SpawnStep::NoNewPrivileges | SpawnStep::Keyring | SpawnStep::Landlock | SpawnStep::LandlockPath(_) => "isolate it".into(),
        SpawnStep::SystemCallFilter => "filter its system calls".into(),
    };
    format!("cannot {what}: {error}")
}

/// What a resource limit is called.
fn rlimit_name(number: u8) -> &'static str {
    RLIMITS.iter().find(|(_, known)| *known == u32::from(number)).map_or("?", |(name, _)| *name)
}

/// Changes an entry. The lock is held for the change only.
pub(super) fn change(entry: &Entry, change: impl FnOnce(&mut UnitStatus)) {
    change(&mut entry.lock().unwrap_or_else(PoisonError::into_inner));
}

impl Unit {
    /// Changes the entry.
    pub(super) fn change(&self, change: impl FnOnce(&mut UnitStatus)) {
        self::change(&self.entry, change);
    }

    /// Brings the entry up to date with what the actor knows.
    pub(super) fn publish(&self) {
        self.change(|status| {
            status.pid = self.process.map(|process| process.pid);
            status.started = self.process.map(|process| process.started_wall);
            status.breaker = self.driver.machine.breaker();
            status.restarts = self.note.restarts;
            status.held = self.note.held;
            (status.paused, status.rests) = (self.stands_still, self.note.rests);
            status.ready = self.driver.machine.state() == Life::Active && !self.stands_still && !self.health.is_lost();
            status.wish.clone_from(&self.note.wish);
        });
    }
}

/// A start that is a restart has a cause.
pub(super) const fn restart_cause(cause: StartCause) -> Option<RestartCause> {
    match cause {
        StartCause::First => None,
        StartCause::Exit => Some(RestartCause::Exit),
        StartCause::Retry => Some(RestartCause::StartFailed),
        StartCause::Late(_) => Some(RestartCause::Late),
        StartCause::Sibling => Some(RestartCause::Sibling),
        StartCause::Request => Some(RestartCause::Operator),
    }
}

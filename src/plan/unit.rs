//! The plan of one unit instance.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::base::command::NotifyAccess;
use crate::base::exit::Signal;
use crate::base::id::UnitId;
use crate::spec::Field;
use crate::spec::logs::LogsSpec;
use crate::spec::readiness::ReadinessSpec;
use crate::spec::response::{CauseSpec, ResponseSpec};
use crate::spec::restart::{BackoffKind, BackoffSpec, ExitValue, RestartSpec, ShutdownSpec};
use crate::spec::template::expand;
use crate::spec::unit::UnitSpec;
use crate::spec::value::{TimeLimit, Umask};
use crate::spec::watchdog::WatchdogSpec;

use super::breaker::restart_breaker;
use super::isolation::isolation;
use super::limits::limits_plan;
use super::model::{
    Backoff, EnvironmentFile, Growth, Jitter, LogCompress, LogMode, LogOverflow, LogStderr, LogsPlan, ReadinessKind, ReadinessPlan,
    RestartPlan, ShutdownPlan, ShutdownTimeout, SuccessExit, UnitPlan,
};
use super::order::Dependencies;
use super::probe::{DetectorKind, WatchdogPlan};
use super::probing;
use super::remediation::remediation;
use super::resolve::{absolute, or};
use super::response::{FailureCause, Response};
use super::scheduling::scheduling;
use super::secrets::{secrets, with_absolute_references};
use super::watch::watch_plan;

/// So many failures of a unit begin its remediation.
const DEFAULT_FAILURES: u32 = 3;
const DEFAULT_UMASK: u32 = 0o022;
const DEFAULT_BASE: Duration = Duration::from_millis(200);
const DEFAULT_STEP: Duration = Duration::from_secs(1);
const DEFAULT_FACTOR: f64 = 2.0;
const DEFAULT_BACKOFF_MAX: Duration = Duration::from_secs(30);
const DEFAULT_ADAPTIVE_MAX: Duration = Duration::from_secs(300);
const DEFAULT_MEMORY: Duration = Duration::from_secs(600);
const DEFAULT_COST: f64 = 0.05;
const DEFAULT_RESET_AFTER: Duration = Duration::from_secs(60);
const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_THRESHOLD: f64 = 8.0;
const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(30);

/// The plan of the instance `id` of `spec`, which has no faults.
pub(super) fn unit_plan(spec: &UnitSpec, id: UnitId, instance: Option<u32>, dependencies: &Dependencies, directory: &Path) -> UnitPlan {
    // A declaration whose specifiers do not expand has a diagnostic, and is never planned.
    let text = |value: &str| expand(value, id.as_str(), instance).unwrap_or_default();
    let working_directory = absolute(directory, &or(&spec.working_directory, ".".into(), |path| text(&path.0)));
    let environment = spec.environment.iter().flat_map(|variables| &variables.value.0);
    let pid_file = spec.pid_file.as_ref().map(|path| absolute(&working_directory, &text(&path.value.0)));
    UnitPlan {
        description: spec.description.as_ref().map(|text| text.value.0.clone()),
        exec: spec.exec.iter().flat_map(|exec| &exec.value.0).map(|word| text(&word.value)).collect(),
        watch: spec.watch.as_ref().map(|watch| watch_plan(&watch.value, &text, &working_directory)),
        user: spec.user.as_ref().map(|user| user.value.0.clone()),
        group: spec.group.as_ref().map(|group| group.value.0.clone()),
        environment: environment.map(|(name, value)| (name.clone(), with_absolute_references(text(&value.value), directory))).collect(),
        environment_files: environment_files(spec, &text, directory),
        umask: or(&spec.umask, DEFAULT_UMASK, |&Umask(mask)| mask),
        nice: or(&spec.nice, 0, |nice| i32::try_from(nice.0).unwrap_or(0)),
        scheduling: scheduling(spec),
        limits: limits_plan(spec.limits.as_ref().map(|limits| &limits.value)),
        requires: dependencies.requires.clone(),
        binds: dependencies.binds.clone(),
        wants: dependencies.wants.clone(),
        after: dependencies.after.clone(),
        restart: restart_plan(&or_default(&spec.restart)),
        significant: or(&spec.significant, false, |flag| flag.0),
        optional: or(&spec.optional, false, |flag| flag.0),
        shutdown: shutdown_plan(&or_default(&spec.shutdown)),
        success_exit: spec.success_exit.iter().flat_map(|exits| &exits.value.0).map(|exit| success_exit(exit.value)).collect(),
        readiness: readiness_plan(&or_default(&spec.readiness), pid_file.is_some(), &text),
        notify_access: or(&spec.notify_access, NotifyAccess::default(), |access| access.0),
        probes: probing::plans(spec, &text, &working_directory),
        working_directory,
        watchdog: spec.watchdog.as_ref().map(|watchdog| watchdog_plan(&watchdog.value)),
        pid_file,
        remediation: spec.remediation.as_ref().map(|spec| remediation(&spec.value, DEFAULT_FAILURES, &text)),
        logs: match spec.watch {
            None => logs_plan(&or_default(&spec.logs)),
            // Its output is not ours.
            Some(_) => LogsPlan { mode: LogMode::None, ..LogsPlan::default() },
        },
        isolation: spec.isolation.as_ref().map(|spec| Arc::new(isolation(&spec.value, &text, directory))),
        may_command: spec.may_command.iter().flat_map(|commands| &commands.value.0).map(|command| command.value.0).collect(),
        secrets: spec.secrets.as_ref().map(|spec| secrets(&spec.value, &text, directory)).unwrap_or_default(),
        id,
    }
}

/// A mapping that is not given is like an empty one.
fn or_default<T: Clone + Default>(field: &Field<T>) -> T {
    field.as_ref().map(|field| field.value.clone()).unwrap_or_default()
}

fn environment_files(spec: &UnitSpec, text: &impl Fn(&str) -> String, directory: &Path) -> Vec<EnvironmentFile> {
    let files = spec.environment_file.iter().flat_map(|files| &files.value.0);
    files
        .map(|file| match file.0.strip_prefix('-') {
            Some(path) => EnvironmentFile { path: absolute(directory, &text(path)), optional: true },
            None => EnvironmentFile { path: absolute(directory, &text(&file.0)), optional: false },
        })
        .collect()
}

fn restart_plan(spec: &RestartSpec) -> RestartPlan {
    let mut on: Vec<_> =
        spec.on.iter().flat_map(|on| &on.value.0).map(|(cause, response)| (cause_of(cause.value), response_to(response.value))).collect();
    on.sort_by_key(|(cause, _)| matches!(cause, FailureCause::Class(_)));
    RestartPlan {
        kind: or(&spec.kind, Default::default(), |kind| kind.0),
        backoff: backoff(&or_default(&spec.backoff)),
        on,
        breaker: spec.breaker.as_ref().map(|breaker| restart_breaker(&breaker.value)),
    }
}

const fn cause_of(spec: CauseSpec) -> FailureCause {
    match spec {
        CauseSpec::Class(class) => FailureCause::Class(class),
        CauseSpec::Exit(exit) => FailureCause::Exit(success_exit(exit)),
    }
}

const fn response_to(spec: ResponseSpec) -> Response {
    match spec {
        ResponseSpec::Restart => Response::Restart,
        ResponseSpec::After(time) => Response::After(time),
        ResponseSpec::Stop => Response::Stop,
    }
}

fn backoff(spec: &BackoffSpec) -> Backoff {
    let base = or(&spec.base, DEFAULT_BASE, |time| time.0);
    let growth = match spec.kind() {
        BackoffKind::None => Growth::None,
        BackoffKind::Linear => Growth::Linear { base, step: or(&spec.step, DEFAULT_STEP, |time| time.0) },
        BackoffKind::Adaptive => Growth::Adaptive {
            base,
            factor: or(&spec.factor, DEFAULT_FACTOR, |factor| factor.0),
            memory: or(&spec.memory, DEFAULT_MEMORY, |time| time.0),
            cost: or(&spec.cost, DEFAULT_COST, |cost| cost.0),
        },
        BackoffKind::Exponential => Growth::Exponential { base, factor: or(&spec.factor, DEFAULT_FACTOR, |factor| factor.0) },
    };
    let is_adaptive = spec.kind() == BackoffKind::Adaptive;
    Backoff {
        first: or(&spec.first, Duration::ZERO, |time| time.0),
        growth,
        max: or(&spec.max, if is_adaptive { DEFAULT_ADAPTIVE_MAX } else { DEFAULT_BACKOFF_MAX }, |time| time.0),
        jitter: or(&spec.jitter, if is_adaptive { Jitter::Equal } else { Jitter::default() }, |jitter| jitter.0),
        reset_after: or(&spec.reset_after, DEFAULT_RESET_AFTER, |time| time.0),
    }
}

fn shutdown_plan(spec: &ShutdownSpec) -> ShutdownPlan {
    let timeout = or(&spec.timeout, TimeLimit::After(DEFAULT_STOP_TIMEOUT), |&timeout| timeout);
    ShutdownPlan {
        signal: or(&spec.signal, Signal::TERM, |signal| signal.0),
        timeout: match timeout {
            TimeLimit::BrutalKill => ShutdownTimeout::BrutalKill,
            TimeLimit::After(time) => ShutdownTimeout::After(time),
            TimeLimit::Infinity => ShutdownTimeout::Infinity,
        },
    }
}

const fn success_exit(value: ExitValue) -> SuccessExit {
    match value {
        ExitValue::Code(code) => SuccessExit::Code(code),
        ExitValue::Signal(signal) => SuccessExit::Signal(signal),
    }
}

fn readiness_plan(spec: &ReadinessSpec, has_pid_file: bool, text: &impl Fn(&str) -> String) -> ReadinessPlan {
    let kind = match spec {
        ReadinessSpec { notify: Some(_), .. } => ReadinessKind::Notify,
        ReadinessSpec { tcp: Some(target), .. } => ReadinessKind::Tcp(text(&target.0)),
        ReadinessSpec { http: Some(target), .. } => ReadinessKind::Http(text(&target.0)),
        ReadinessSpec { log: Some(target), .. } => ReadinessKind::Log(text(&target.0)),
        ReadinessSpec { fd: Some(fd), .. } => ReadinessKind::Fd(i32::try_from(fd.0).unwrap_or(3)),
        _ if has_pid_file => ReadinessKind::PidFile,
        _ => ReadinessKind::None,
    };
    let timeout = or(&spec.timeout, DEFAULT_READY_TIMEOUT, |time| time.0);
    ReadinessPlan { kind, timeout, learned: or(&spec.learned, false, |flag| flag.0) }
}

fn watchdog_plan(spec: &WatchdogSpec) -> WatchdogPlan {
    WatchdogPlan {
        // Without it there is a diagnostic.
        timeout: or(&spec.timeout, Duration::MAX, |time| time.0),
        detector: or(&spec.detector, DetectorKind::default(), |kind| kind.0),
        threshold: or(&spec.threshold, DEFAULT_THRESHOLD, |threshold| threshold.0),
    }
}

fn logs_plan(spec: &LogsSpec) -> LogsPlan {
    let assumed = if or(&spec.shipped, false, |flag| flag.0) { LogMode::Pipe } else { LogMode::default() };
    let max_size = or(&spec.max_size, LogsPlan::MAX_SIZE, |size| size.0);
    let keep = or(&spec.keep, LogsPlan::KEEP, |keep| keep.to_u32());
    LogsPlan {
        mode: or(&spec.mode, assumed, |mode| mode.0),
        max_size,
        max_age: or(&spec.max_age, None, |time| Some(time.0)),
        keep,
        keep_for: or(&spec.keep_for, None, |time| Some(time.0)),
        max_total: or(&spec.max_total, LogsPlan::implied_total(max_size, keep), |size| size.0),
        overflow: or(&spec.overflow, LogOverflow::default(), |choice| choice.0),
        compress: or(&spec.compress, LogCompress::default(), |choice| choice.0),
        rate_limit: or(&spec.rate_limit, None, |rate| Some(rate.0)),
        stderr: or(&spec.stderr, LogStderr::default(), |choice| choice.0),
        timestamps: or(&spec.timestamps, false, |flag| flag.0),
    }
}

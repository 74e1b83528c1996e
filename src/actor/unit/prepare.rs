//! From a unit's plan to an order for the launcher: users, environment files and the program are looked up here.

use std::path::PathBuf;

use rustix::process::{getegid, geteuid};

use crate::actor::context::Context;
use crate::actor::limits::{Unfit, resolved};
use crate::base::id::SupervisorId;
use crate::launcher::wire::{Credentials, Output, Spawn};
use crate::os::controllers::Controllers;
use crate::os::logfile::{self, LogReader};
use crate::os::{environment, users};
use crate::plan::{LogMode, ReadinessKind, UnitPlan};

/// An order, and where in the unit's log its output will begin.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) order: Box<Spawn>,
    pub(super) log_start: Option<u64>,
    /// Limits that cannot be asked for.
    pub(super) unfit: Vec<Unfit>,
}

/// What a unit's order needs that its plan does not hold.
#[derive(Clone, Debug)]
pub(super) struct Places {
    base: Vec<(String, String)>,
    logs: PathBuf,
    notify: PathBuf,
    group: Vec<String>,
    controllers: Controllers,
}

impl Places {
    pub(super) fn new(context: &Context, plan: &UnitPlan, supervisor: &SupervisorId) -> Self {
        Self {
            base: context.environment.clone(),
            logs: context.directories.logs.clone(),
            notify: context.directories.run.join("notify").join(format!("{}.sock", plan.id)),
            group: context.limits.group(supervisor),
            controllers: context.limits.controllers().clone(),
        }
    }
}

/// Makes the order. Reads files: not for the runtime's threads.
///
/// # Errors
/// A sentence that says what cannot be had.
pub(super) fn prepare(plan: &UnitPlan, places: &Places) -> Result<Prepared, String> {
    let mut environment = places.base.clone();
    let credentials = credentials(plan, &mut environment)?;
    read_environment_files(plan, &mut environment)?;
    for (name, value) in &plan.environment {
        set(&mut environment, name, value);
    }
    set(&mut environment, "MS_UNIT", plan.id.as_str());
    if let Some(instance) = plan.id.instance() {
        set(&mut environment, "MS_INSTANCE", &instance.to_string());
    }
    let notify = plan.uses_notify().then(|| places.notify.clone());
    if let Some(socket) = &notify {
        set(&mut environment, "NOTIFY_SOCKET", &socket.to_string_lossy());
    }
    if let Some(watchdog) = &plan.watchdog {
        set(&mut environment, "WATCHDOG_USEC", &watchdog.timeout.as_micros().to_string());
    }
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let program = environment::find_program(&plan.exec[0], path, &plan.working_directory).map_err(|error| error.to_string())?;
    let (limits, unfit) = resolved(plan.limits.settings(), &places.controllers);
    let order = Spawn {
        unit: plan.id.clone(),
        run: 0,
        program,
        arguments: plan.exec.clone(),
        environment: environment.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
        directory: plan.working_directory.clone(),
        credentials,
        umask: plan.umask,
        nice: plan.nice,
        scheduling: plan.scheduling.clone(),
        group: places.group.clone(),
        limits,
        input: None,
        output: match plan.logs.mode {
            LogMode::Direct => Output::File(logfile::live_path(&places.logs, plan.id.as_str())),
            LogMode::Pipe | LogMode::Journald => Output::Pipe,
            LogMode::None => Output::Null,
        },
        stderr: plan.stderr_log().map(|log| logfile::live_path(&places.logs, log.as_str())),
        notify,
        ready_fd: match plan.readiness.kind {
            ReadinessKind::Fd(fd) => Some(fd),
            _ => None,
        },
    };
    Ok(Prepared { order: Box::new(order), log_start: log_start(plan, places)?, unfit })
}

/// Only a unit whose log is watched for readiness needs to know.
fn log_start(plan: &UnitPlan, places: &Places) -> Result<Option<u64>, String> {
    if !matches!(plan.readiness.kind, ReadinessKind::Log(_)) {
        return Ok(None);
    }
    let range = LogReader::open(&places.logs, plan.id.as_str()).range();
    range.map(|range| Some(range.end)).map_err(|error| format!("cannot read its log: {error}"))
}

/// Whom it runs as; HOME, USER, LOGNAME and SHELL follow.
fn credentials(plan: &UnitPlan, environment: &mut Vec<(String, String)>) -> Result<Option<Credentials>, String> {
    if plan.user.is_none() && plan.group.is_none() {
        return Ok(None);
    }
    let account = users::lookup(plan.user.as_deref(), plan.group.as_deref()).map_err(|error| error.to_string())?;
    // A daemon that is not root may name its own user: the same declarations then serve it and one that is root.
    let is_ours = account.is_held_without_root(geteuid().as_raw(), getegid().as_raw());
    if plan.user.is_some() {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let facts = [
            ("USER", account.name.clone()),
            ("LOGNAME", account.name),
            ("HOME", account.home.map(text)),
            ("SHELL", account.shell.map(text)),
        ];
        for (name, value) in facts {
            match value {
                Some(value) => set(environment, name, &value),
                None => environment.retain(|(known, _)| known != name),
            }
        }
    }
    Ok((!is_ours).then_some(Credentials { uid: account.uid, gid: account.gid, groups: account.groups }))
}

#[expect(clippy::disallowed_methods, reason = "read at each start of the unit, on a thread that may block")]
fn read_environment_files(plan: &UnitPlan, environment: &mut Vec<(String, String)>) -> Result<(), String> {
    for file in &plan.environment_files {
        let text = match std::fs::read_to_string(&file.path) {
            Ok(text) => text,
            Err(error) if file.optional && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read the environment file {}: {error}", file.path.display())),
        };
        let variables = environment::parse(&text).map_err(|error| format!("{}:{error}", file.path.display()))?;
        for (name, value) in variables {
            set(environment, &name, &value);
        }
    }
    Ok(())
}

fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => environment.push((name.to_owned(), value.to_owned())),
    }
}

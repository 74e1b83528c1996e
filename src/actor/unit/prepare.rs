//! From a unit's plan to an order for the launcher: users, environment files and the program are looked up here.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::secrets;
use crate::actor::confinement;
use crate::actor::context::Context;
use crate::actor::limits::{Unfit, resolved};
use crate::base::id::SupervisorId;
use crate::launcher::wire::{Credentials, Output, Spawn};
use crate::os;
use crate::os::controllers::Controllers;
use crate::os::environment;
use crate::os::logfile::{self, LogReader};
use crate::plan::{LogMode, ReadinessKind, SecretHandover, UnitPlan, ValuePart, value_parts};

/// An order, and where in the unit's log its output will begin.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) order: Box<Spawn>,
    pub(super) log_start: Option<u64>,
    /// Limits that cannot be asked for.
    pub(super) unfit: Vec<Unfit>,
    /// What it is told, to be compared.
    pub(super) sums: secrets::Sums,
}

/// What a unit's order needs that its plan does not hold.
#[derive(Clone, Debug)]
pub(super) struct Places {
    base: Vec<(String, String)>,
    logs: PathBuf,
    notify: PathBuf,
    group: Vec<String>,
    controllers: Controllers,
    /// Where what its runs are told is handed over.
    pub(super) secrets: PathBuf,
    /// Secrets are compared by sums under this key.
    pub(super) key: secrets::Key,
}

impl Places {
    pub(super) fn new(context: &Context, plan: &UnitPlan, supervisor: &SupervisorId, key: secrets::Key) -> Self {
        Self {
            base: context.environment.clone(),
            logs: context.directories.logs.clone(),
            notify: context.directories.run.join("notify").join(format!("{}.sock", plan.id)),
            group: context.limits.group(supervisor),
            controllers: context.limits.controllers().clone(),
            secrets: context.directories.run.join("credentials").join(plan.id.as_str()),
            key,
        }
    }
}

/// Makes the order for a run. Reads files: not for the runtime's threads.
///
/// # Errors
/// A sentence that says what cannot be had.
pub(super) fn prepare(plan: &UnitPlan, places: &Places, run: u64) -> Result<Prepared, String> {
    let (Variables { list: environment, .. }, credentials) = variables(plan, places, run)?;
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let program = environment::find_program(&plan.exec[0], path, &plan.working_directory).map_err(|error| error.to_string())?;
    let (limits, unfit) = resolved(plan.limits.settings(), &places.controllers);
    let handed_over = secrets::has_files(plan).then(|| secrets::directory(places, run));
    let notify = plan.uses_notify().then(|| places.notify.clone());
    let confinement = plan.isolation.as_ref().map(|isolation| {
        let mut needed = vec![("its program", program.as_path()), ("its working directory", plan.working_directory.as_path())];
        needed.extend(notify.as_deref().map(|path| ("its notification socket", path)));
        needed.extend(handed_over.as_deref().map(|path| ("the directory of its secrets", path)));
        confinement::confinement(isolation, credentials.as_ref(), &needed, handed_over.as_deref()).map(Box::new)
    });
    let confinement = confinement.transpose()?;
    // As the last thing that may fail: from here on the secrets are there.
    let log_start = log_start(plan, places)?;
    let told = told(plan, places, credentials.as_ref(), run)?;
    let order = Spawn {
        unit: plan.id.clone(),
        run,
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
        confinement,
        secrets: told.variables,
    };
    Ok(Prepared { order: Box::new(order), log_start, unfit, sums: told.sums })
}

/// Reads and hands over its secrets, if it has any.
fn told(plan: &UnitPlan, places: &Places, credentials: Option<&Credentials>, run: u64) -> Result<secrets::Told, String> {
    if !plan.has_secrets() {
        return Ok(secrets::Told::default());
    }
    let owner = credentials.map(|user| (user.uid, user.gid));
    let groups = credentials.map(|user| user.groups.clone()).unwrap_or_default();
    secrets::tell(plan, places, owner.as_ref(), &groups, run).inspect_err(|_| os::secrets::remove(&places.secrets, run))
}

/// Its environment without what is secret, and whom it runs as.
pub(super) fn variables(plan: &UnitPlan, places: &Places, run: u64) -> Result<(Variables, Option<Credentials>), String> {
    let mut variables = Variables { list: places.base.clone(), closed: BTreeSet::new() };
    let credentials = confinement::account(plan, &mut variables.list)?;
    read_environment_files(plan, &mut variables)?;
    for (name, value) in &plan.environment {
        variables.closed.remove(name);
        match plan.open_environment().find(|(open, _)| *open == name) {
            Some(_) => set(&mut variables.list, name, &plain(value)),
            // It comes with the secrets.
            None => variables.list.retain(|(known, _)| known != name),
        }
    }
    for (name, _) in plan.secrets.iter().filter(|(_, secret)| secret.handover == SecretHandover::Environment) {
        variables.list.retain(|(known, _)| known != name);
    }
    let environment = &mut variables.list;
    set(environment, "MS_UNIT", plan.id.as_str());
    if let Some(instance) = plan.id.instance() {
        set(environment, "MS_INSTANCE", &instance.to_string());
    }
    if plan.uses_notify() {
        set(environment, "NOTIFY_SOCKET", &places.notify.to_string_lossy());
    }
    if secrets::has_files(plan) {
        set(environment, "CREDENTIALS_DIRECTORY", &secrets::shown(&secrets::directory(places, run)));
    }
    if let Some(watchdog) = &plan.watchdog {
        set(environment, "WATCHDOG_USEC", &watchdog.timeout.as_micros().to_string());
    }
    Ok((variables, credentials))
}

/// Variables, and which of them are not for everybody's eyes.
pub(super) struct Variables {
    pub(super) list: Vec<(String, String)>,
    /// Those from files that not everybody may read.
    pub(super) closed: BTreeSet<String>,
}

/// A value without references, as it is meant.
fn plain(value: &str) -> String {
    let text = |part| if let ValuePart::Text(text) = part { text } else { "" };
    value_parts(value).into_iter().map(text).collect()
}

/// Only a unit whose log is watched for readiness needs to know.
fn log_start(plan: &UnitPlan, places: &Places) -> Result<Option<u64>, String> {
    if !matches!(plan.readiness.kind, ReadinessKind::Log(_)) {
        return Ok(None);
    }
    let range = LogReader::open(&places.logs, plan.id.as_str()).range();
    range.map(|range| Some(range.end)).map_err(|error| format!("cannot read its log: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "read at each start of the unit, on a thread that may block")]
fn read_environment_files(plan: &UnitPlan, environment: &mut Variables) -> Result<(), String> {
    for file in &plan.environment_files {
        let text = match std::fs::read_to_string(&file.path) {
            Ok(text) => text,
            Err(error) if file.optional && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read the environment file {}: {error}", file.path.display())),
        };
        let is_open = std::fs::metadata(&file.path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0);
        let variables = environment::parse(&text).map_err(|error| format!("{}:{error}", file.path.display()))?;
        for (name, value) in variables {
            set(&mut environment.list, &name, &value);
            if is_open {
                environment.closed.remove(&name);
            } else {
                environment.closed.insert(name);
            }
        }
    }
    Ok(())
}

/// Sets a variable, once.
pub(crate) fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => environment.push((name.to_owned(), value.to_owned())),
    }
}

//! From a unit's plan to an order for the launcher: users, environment files and the program are looked up here.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::secrets;
use crate::actor::confinement::{self, Account};
use crate::actor::context::Context;
use crate::actor::limits::{Unfit, resolved};
use crate::base::id::SupervisorId;
use crate::launcher::wire::{Credentials, Output, Spawn};
use crate::os::clock;
use crate::os::controllers::Controllers;
use crate::os::environment;
use crate::os::foreign::{self, Hangs, Purpose, Table, doing, file};
use crate::os::logfile::{self, LogReader};
use crate::os::paths::{Directories, KEEPER_SOCKET};
use crate::os::trust;
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
    /// What was handed over to it: goes with this, unless the order goes out.
    pub(super) handed_over: Option<secrets::HandedOver>,
}

/// What a unit's order needs that its plan does not hold.
#[derive(Clone, Debug)]
pub(super) struct Places {
    base: Vec<(String, String)>,
    logs: PathBuf,
    notify: PathBuf,
    group: Vec<String>,
    controllers: Controllers,
    /// The daemon's own sockets.
    closed: Vec<PathBuf>,
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
            notify: context.directories.notify_socket(&plan.id),
            group: context.limits.group(supervisor),
            controllers: context.limits.controllers().clone(),
            closed: closed(&context.directories, plan),
            secrets: context.directories.run.join("credentials").join(plan.id.as_str()),
            key,
        }
    }
}

/// How long what there is to look up may take, if the time to become ready is not shorter.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(30);

/// What is hidden from a unit that has mounts of its own: the ways to the daemon that it may not go. A socket that is made anew while the unit
/// runs can be seen; then it is asked who connects.
pub(crate) fn closed(directories: &Directories, plan: &UnitPlan) -> Vec<PathBuf> {
    let keeper = directories.run.join(KEEPER_SOCKET);
    let control = directories.control_socket().ok().filter(|_| plan.may_command.is_empty());
    control.into_iter().chain([keeper]).collect()
}

/// Looks up what there is to look up, and makes the order for a run.
///
/// # Errors
/// A sentence that says what cannot be had, or what takes too long.
pub(super) async fn look_up(plan: Arc<UnitPlan>, places: Places, run: u64) -> Result<Prepared, String> {
    let (whose, begun) = (plan.id.to_string(), clock::mono());
    let within = plan.readiness.timeout.min(LOOK_UP_WITHIN);
    let account = Account::of(&plan, places.base.clone(), (Purpose::Start, &whose, within)).await?;
    let left = within.saturating_sub(clock::mono() - begun);
    let look = foreign::look((Purpose::Start, Table::Own), &whose, left, move || prepare(&plan, &places, account, run));
    match look.await {
        // Of the whole of its time.
        Err(Hangs::Late { doing, .. }) => Err(Hangs::Late { doing, within }.to_string()),
        looked => looked.map_err(|hangs| hangs.to_string())?,
    }
}

/// Makes the order for a run. Reads files: not for the runtime's threads.
fn prepare(plan: &UnitPlan, places: &Places, account: Account, run: u64) -> Result<Prepared, String> {
    let credentials = account.credentials.clone();
    let Variables { list: environment, .. } = variables(plan, places, account, run)?;
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    doing(format_args!("looking for the program {}", plan.exec[0]));
    let program = environment::find_program(&plan.exec[0], path, &plan.working_directory).map_err(|error| error.to_string())?;
    let (limits, unfit) = resolved(plan.limits.settings(), &places.controllers);
    let handed_over = secrets::has_files(plan).then(|| secrets::directory(places, run));
    let notify = plan.uses_notify().then(|| places.notify.clone());
    let confinement = plan.isolation.as_ref().map(|isolation| {
        let mut needed = vec![("its program", program.as_path()), ("its working directory", plan.working_directory.as_path())];
        needed.extend(notify.as_deref().map(|path| ("its notification socket", path)));
        needed.extend(handed_over.as_deref().map(|path| ("the directory of its secrets", path)));
        confinement::confinement(isolation, credentials.as_ref(), &needed, handed_over.as_deref(), &places.closed).map(Box::new)
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
    Ok(Prepared { order: Box::new(order), log_start, unfit, sums: told.sums, handed_over: told.handed_over })
}

/// Reads and hands over its secrets, if it has any.
fn told(plan: &UnitPlan, places: &Places, credentials: Option<&Credentials>, run: u64) -> Result<secrets::Told, String> {
    if !plan.has_secrets() {
        return Ok(secrets::Told::default());
    }
    let groups = credentials.map(|user| user.groups.clone()).unwrap_or_default();
    secrets::tell(plan, places, credentials.map(|user| user.uid), &groups, run)
}

/// Its environment without what is secret.
pub(super) fn variables(plan: &UnitPlan, places: &Places, account: Account, run: u64) -> Result<Variables, String> {
    let mut variables = Variables { list: account.environment, closed: BTreeSet::new() };
    read_environment_files(plan, account.credentials.as_ref(), &mut variables)?;
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
    Ok(variables)
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
    doing(format_args!("looking at its log in {}", places.logs.display()));
    let range = LogReader::open(&places.logs, plan.id.as_str()).range();
    range.map(|range| Some(range.end)).map_err(|error| format!("cannot read its log: {error}"))
}

fn read_environment_files(plan: &UnitPlan, user: Option<&Credentials>, environment: &mut Variables) -> Result<(), String> {
    for file in &plan.environment_files {
        let (text, is_open) = match read_environment_file(&file.path, user) {
            Ok(read) => read,
            Err(error) if file.optional && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("cannot read the environment file {}: {error}", file.path.display())),
        };
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

/// What is in an environment file, and whether everybody may know. A unit's user must not have the daemon read what that user may not, and nobody but root
/// says what a process of root's loads.
fn read_environment_file(path: &Path, user: Option<&Credentials>) -> std::io::Result<(String, bool)> {
    let is_root = user.map_or_else(|| rustix::process::geteuid().is_root(), |user| user.uid == 0);
    let (file, metadata) = match user {
        _ if is_root => file::open_trusted(path)?,
        Some(user) => file::open_for((user.uid, user.gid, &user.groups), path)?,
        None => file::open(path)?,
    };
    if let Some(why) = is_root.then(|| trust::refusal(path, &metadata)).flatten() {
        return Err(std::io::Error::other(why));
    }
    let bytes = file::contents(file, file::ENVIRONMENT_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| std::io::Error::other("it holds bytes that are no text"))?;
    Ok((text, metadata.permissions().mode() & 0o004 != 0))
}

/// Sets a variable, once.
pub(crate) fn set(environment: &mut Vec<(String, String)>, name: &str, value: &str) {
    match environment.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => environment.push((name.to_owned(), value.to_owned())),
    }
}

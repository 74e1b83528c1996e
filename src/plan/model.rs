//! The plan's types. Every default is filled in, every name is resolved, every path is absolute.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::aggregation::Aggregation;
use super::breaker::RestartBreaker;
use super::degradation::DegradationPlan;
use super::isolation::IsolationPlan;
use super::limits::LimitsPlan;
use super::probe::{ProbePlan, WatchdogPlan};
use super::remediation::RemediationPlan;
use super::response::{FailureCause, Response};
use super::secrets::SecretPlan;
use super::watch::WatchPlan;
pub use crate::base::choice::{
    AutoShutdown, Jitter, LogCompress, LogMode, LogOverflow, LogStderr, OnLauncherDeath, OnRootFailure, RestartType, StartOrder, Strategy,
};
use crate::base::command::{Command, NotifyAccess};
use crate::base::exit::Signal;
use crate::base::id::{SupervisorId, UnitId};
use crate::base::scheduling::Scheduling;
pub use crate::base::shutdown::ShutdownTimeout;
use crate::base::tier::Tier;

/// Everything one daemon runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// The directory the declarations come from; relative paths are relative to it.
    pub directory: PathBuf,
    /// The top of the tree; always an entry of `supervisors`.
    pub root: SupervisorId,
    /// Every supervisor, `root` included.
    pub supervisors: BTreeMap<SupervisorId, Arc<SupervisorPlan>>,
    /// Every unit instance.
    pub units: BTreeMap<UnitId, Arc<UnitPlan>>,
    /// The daemon's own settings.
    pub daemon: DaemonPlan,
}

impl Plan {
    /// Whether anything is limited by cgroups.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        let supervisors = self.supervisors.values().map(|supervisor| &supervisor.limits);
        self.units.values().map(|unit| &unit.limits).chain(supervisors).any(|limits| !limits.needed().is_empty())
    }

    /// The units among and below `names`, each once, in start order.
    #[must_use]
    pub fn units_below(&self, names: &[String]) -> Vec<UnitId> {
        let (mut units, mut seen) = (Vec::new(), BTreeSet::new());
        let mut open: Vec<_> = names.iter().rev().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            match self.supervisors.get(name) {
                Some(supervisor) => open.extend(supervisor.children.iter().rev().map(Child::as_str)),
                None if seen.insert(name) => units.push(name.into()),
                None => {}
            }
        }
        units
    }
}

/// The daemon's own settings (`daemon.yaml`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DaemonPlan {
    /// How serious the installation is; what follows from it is resolved already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Where metrics and health are served; `None`: nowhere.
    pub listen: Option<std::net::SocketAddr>,
    /// How many units may be starting at once.
    pub start_limit: usize,
    /// How many restarts there may be of all units together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_budget: Option<RestartBudget>,
    /// What happens when the root supervisor gives up.
    pub on_root_failure: OnRootFailure,
    /// What happens to units that run on when the whole daemon was killed and is started again.
    pub on_launcher_death: OnLauncherDeath,
    /// What is done without under pressure; `None`: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degradation: Option<Arc<DegradationPlan>>,
    /// Where the scripts of remediations are.
    pub scripts: PathBuf,
    /// How many bytes the logs of all units together may take.
    pub logs_max_total: u64,
}

/// How many restarts there may be of all units together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RestartBudget {
    /// So many may come at once, and as many in each further period.
    pub restarts: u32,
    /// The period.
    pub period: Duration,
}

/// A supervisor with its children in start order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SupervisorPlan {
    /// Its name.
    pub id: SupervisorId,
    /// One line for people.
    pub description: Option<String>,
    /// Whom a child's end concerns.
    pub strategy: Strategy,
    /// How many restarts within `period` are tolerated.
    pub intensity: u32,
    /// The window restarts are counted in.
    pub period: Duration,
    /// Instead of giving up it waits for so long before the next restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
    /// What its parent does when it ends.
    pub restart: RestartType,
    /// Whether it ends when significant children have ended.
    pub auto_shutdown: AutoShutdown,
    /// Whether its end may end its parent.
    pub significant: bool,
    /// How it judges its children together.
    pub health: Aggregation,
    /// What everything below it may use together.
    #[serde(skip_serializing_if = "LimitsPlan::is_default")]
    pub limits: LimitsPlan,
    /// How long its parent waits for it to stop; `None`: as long as it takes.
    pub shutdown: Option<Duration>,
    /// Whether its children start one after the other.
    pub start: StartOrder,
    /// Its children, in start order.
    pub children: Vec<Child>,
}

/// A child of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Child {
    /// A unit instance.
    Unit(UnitId),
    /// Another supervisor.
    Supervisor(SupervisorId),
}

impl Child {
    /// The child's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Unit(id) => id.as_str(),
            Self::Supervisor(id) => id.as_str(),
        }
    }
}

/// One unit instance, ready to run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnitPlan {
    /// Its name, with the instance.
    pub id: UnitId,
    /// One line for people.
    pub description: Option<String>,
    /// Program and arguments. The program is absolute, relative to `working_directory` (with a slash) or searched in PATH. Empty for a unit
    /// that is only watched.
    pub exec: Vec<String>,
    /// The processes of others it stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchPlan>,
    /// Where it runs.
    pub working_directory: PathBuf,
    /// The user it runs as, by name or number; `None`: the daemon's.
    pub user: Option<String>,
    /// The group it runs as, by name or number; `None`: the user's.
    pub group: Option<String>,
    /// Variables set on top of the base environment.
    pub environment: BTreeMap<String, String>,
    /// Files of further variables, read at each start, before `environment` is applied.
    pub environment_files: Vec<EnvironmentFile>,
    /// The file mode creation mask.
    pub umask: u32,
    /// The scheduling niceness, -20 to 19.
    pub nice: i32,
    /// How else the kernel treats its processes.
    #[serde(skip_serializing_if = "Scheduling::is_default")]
    pub scheduling: Scheduling,
    /// What it may use.
    #[serde(skip_serializing_if = "LimitsPlan::is_default")]
    pub limits: LimitsPlan,
    /// Units that must be ready before it starts.
    pub requires: Vec<UnitId>,
    /// Units it requires, and is stopped and started again with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<UnitId>,
    /// Units it waits for, but starts without when they fail.
    pub wants: Vec<UnitId>,
    /// Units it starts after, if they are starting too.
    pub after: Vec<UnitId>,
    /// When and how soon it is started again.
    pub restart: RestartPlan,
    /// Whether its end may end its supervisor.
    pub significant: bool,
    /// Whether it may be done without under pressure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// How it is stopped.
    pub shutdown: ShutdownPlan,
    /// Exits that count as success, besides exit code 0.
    pub success_exit: Vec<SuccessExit>,
    /// When it counts as started.
    pub readiness: ReadinessPlan,
    /// Whose notifications count.
    #[serde(skip_serializing_if = "is_default")]
    pub notify_access: NotifyAccess,
    /// The program that is started ends; this file then names the main process.
    pub pid_file: Option<PathBuf>,
    /// How it is found out whether it is well.
    pub probes: Vec<Arc<ProbePlan>>,
    /// The signs of life it gives by itself.
    pub watchdog: Option<WatchdogPlan>,
    /// What is done when it fails again and again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remediation: Option<RemediationPlan>,
    /// Where its output goes.
    pub logs: LogsPlan,
    /// What it is kept from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Arc<IsolationPlan>>,
    /// What its processes may command.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub may_command: BTreeSet<Command>,
    /// Where what only it is told comes from, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretPlan>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A file of environment variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnvironmentFile {
    /// The file.
    pub path: PathBuf,
    /// Whether it may be missing.
    pub optional: bool,
}

/// When and how soon a unit is started again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RestartPlan {
    /// Whether it is started again.
    #[serde(rename = "type")]
    pub kind: RestartType,
    /// How long restarts are held back.
    pub backoff: Backoff,
    /// What is done about some failures instead. The first that fits counts; those of an exact end stand first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<(FailureCause, Response)>,
    /// While it is open the unit is not started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breaker: Option<RestartBreaker>,
}

/// How long restarts are held back. The first restart after a quiet time waits `first`; the n-th after that `delay(n)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Backoff {
    /// The delay of the first restart.
    pub first: Duration,
    /// How the delay grows.
    pub growth: Growth,
    /// The longest delay.
    pub max: Duration,
    /// How much of the delay is left to chance.
    pub jitter: Jitter,
    /// After so long in operation the next restart counts as the first again.
    pub reset_after: Duration,
}

/// How a delay grows from restart to restart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Growth {
    /// No delay, `first` apart.
    None,
    /// `base`, `base + step`, `base + 2·step` …
    Linear {
        /// The second restart's delay.
        base: Duration,
        /// What each further one adds.
        step: Duration,
    },
    /// By what failures of the past still weigh: `base·factor^(n-1)` for `n` others that have not faded at all.
    Adaptive {
        /// The delay where one other failure weighs fully.
        base: Duration,
        /// What each further one multiplies by.
        factor: f64,
        /// In this time the weight of a failure falls to 1/e.
        memory: Duration,
        /// The share of one core that runs which fail soon may use.
        cost: f64,
    },
    /// `base`, `base·factor`, `base·factor²` …
    Exponential {
        /// The second restart's delay.
        base: Duration,
        /// What each further one multiplies by.
        factor: f64,
    },
}

/// How a unit is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShutdownPlan {
    /// The signal that asks the main process to end.
    pub signal: Signal,
    /// How long it may take before everything of the unit is killed.
    pub timeout: ShutdownTimeout,
}

/// An exit that counts as success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SuccessExit {
    /// By code.
    Code(i32),
    /// By signal.
    Signal(Signal),
}

/// When a unit counts as started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReadinessPlan {
    /// How it tells.
    pub kind: ReadinessKind,
    /// How long it may take; then it is killed and its start has failed. Unused for [`ReadinessKind::None`].
    pub timeout: Duration,
    /// Whether it may take less than that, once it is known how long starts take.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub learned: bool,
}

/// How a unit tells that it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessKind {
    /// It is ready as soon as its program runs.
    None,
    /// It sends `READY=1` to `$NOTIFY_SOCKET` (`sd_notify(3)`).
    Notify,
    /// A TCP connection to this `host:port` succeeds.
    Tcp(String),
    /// A GET of this `http:` URL answers with a status from 200 to 399.
    Http(String),
    /// A line of its log matches this regular expression.
    Log(String),
    /// It writes a newline to this file descriptor (s6's convention).
    Fd(i32),
    /// Its pid file names its main process, and nothing else tells.
    PidFile,
}

impl UnitPlan {
    /// Whether it has a socket to tell how it is.
    #[must_use]
    pub fn uses_notify(&self) -> bool {
        self.readiness.kind == ReadinessKind::Notify || self.watchdog.is_some()
    }

    /// The name of the log its stderr has for itself.
    #[must_use]
    pub fn stderr_log(&self) -> Option<UnitId> {
        (self.logs.stderr == LogStderr::Separate).then(|| self.id.stderr_log())
    }

    /// Its log files by name, each with its bounds.
    pub fn log_files(&self) -> impl Iterator<Item = (UnitId, LogsPlan)> {
        let is_file = matches!(self.logs.mode, LogMode::Direct | LogMode::Pipe);
        let own = is_file.then(|| (self.id.clone(), self.logs.clone()));
        own.into_iter().chain(self.stderr_log().map(|log| (log, self.logs.of_stderr())))
    }
}

impl Plan {
    /// Whose log bears this name.
    #[must_use]
    pub fn unit_of_log(&self, log: &UnitId) -> Option<&Arc<UnitPlan>> {
        self.units.get(UnitId::of_log(log.as_str()).0)
    }
}

/// Where a unit's output goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogsPlan {
    /// How it gets there.
    pub mode: LogMode,
    /// The live file is rotated beyond this size, in bytes.
    pub max_size: u64,
    /// The live file is rotated when its oldest byte is older.
    pub max_age: Option<Duration>,
    /// How many rotated files are kept.
    pub keep: u32,
    /// Rotated files whose newest byte is older are removed.
    pub keep_for: Option<Duration>,
    /// How many bytes all files together may take.
    pub max_total: u64,
    /// What happens when they do.
    pub overflow: LogOverflow,
    /// How rotated files are compressed.
    pub compress: LogCompress,
    /// How many bytes a second are taken from the pipe.
    pub rate_limit: Option<u64>,
    /// Where stderr goes.
    pub stderr: LogStderr,
    /// Whether the arrival of each line is written down.
    pub timestamps: bool,
}

impl LogsPlan {
    /// When nothing is declared.
    pub const MAX_SIZE: u64 = 10 << 20;
    /// When nothing is declared.
    pub const KEEP: u32 = 5;

    /// The bounds of a stderr that is apart: it is written directly.
    #[must_use]
    pub fn of_stderr(&self) -> Self {
        Self { mode: LogMode::Direct, timestamps: false, ..self.clone() }
    }

    /// The quota when none is declared: what the other bounds allow, and one file more for what is written between two looks.
    #[must_use]
    pub const fn implied_total(max_size: u64, keep: u32) -> u64 {
        max_size.saturating_mul(keep as u64 + 2)
    }
}

impl Default for LogsPlan {
    fn default() -> Self {
        Self {
            mode: LogMode::default(),
            max_size: Self::MAX_SIZE,
            max_age: None,
            keep: Self::KEEP,
            keep_for: None,
            max_total: Self::implied_total(Self::MAX_SIZE, Self::KEEP),
            overflow: LogOverflow::default(),
            compress: LogCompress::default(),
            rate_limit: None,
            stderr: LogStderr::default(),
            timestamps: false,
        }
    }
}

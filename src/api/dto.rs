//! What goes over the wire, for both ends of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::choice::LogStream;
use crate::base::id::UnitId;
use crate::base::secret::Variable;
use crate::base::tier::Tier;
use crate::base::time::Wall;
use crate::event::{
    DegradationStatus, Gap, GroupUse, HealthStatus, HostStatus, LimitsUnavailable, StoreStatus, SupervisorStatus, UnitStatus, Wish,
};
use crate::launcher::BOOK;
use crate::os::logfile::Found;
use crate::plan::Fall;

/// How everything stands: `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// Every supervisor, by name.
    pub supervisors: Vec<SupervisorStatus>,
    /// Every unit, by name.
    pub units: Vec<UnitStatus>,
    /// How well every supervisor is, by name; the root is the whole node.
    #[serde(default)]
    pub health: BTreeMap<String, HealthStatus>,
    /// What the cgroup of each supervisor uses, by name, if it has one.
    #[serde(default)]
    pub used: BTreeMap<String, GroupUse>,
}

/// How the daemon stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The version that runs.
    pub version: String,
    /// The brain's process id.
    pub pid: u32,
    /// The launcher's process id: the one to signal.
    pub launcher_pid: u32,
    /// The process id of the keeper, which holds descriptors for the next launcher; none while it is being replaced.
    #[serde(default)]
    pub keeper_pid: Option<u32>,
    /// When the brain was started.
    pub started: Wall,
    /// The daemon's clock at the time of the answer; ages are counted from here.
    pub now: Wall,
    /// `starting`, `running`, `degraded`, `stopping` or `ended`.
    pub state: String,
    /// Why it is degraded or has ended.
    pub reason: Option<String>,
    /// The directory of the declarations.
    pub config: PathBuf,
    /// How serious the installation is, if a tier is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The tier that the daemon's environment names (`MS_TIER`), over what the declarations say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced_tier: Option<String>,
    /// The directory of the cgroup that has one for each unit; none if there is no place for them.
    pub cgroup: Option<PathBuf>,
    /// How the last upgrade in place went, if this launcher has seen one.
    pub upgrade: Option<UpgradeStatus>,
    /// How the store of what operators asked for stands.
    #[serde(default)]
    pub store: StoreStatus,
    /// How the machine and the brain stand.
    #[serde(default)]
    pub host: HostStatus,
    /// What is done without under pressure.
    #[serde(default)]
    pub degradation: DegradationStatus,
    /// Declared limits that have no effect here.
    #[serde(default)]
    pub limits: Vec<LimitsUnavailable>,
}

/// What a program is: `version --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The formats of the launcher's book that it can take over, for an upgrade in place.
    pub books: Vec<u16>,
}

impl About {
    /// This program.
    #[must_use]
    pub fn own() -> Self {
        Self { program: env!("CARGO_PKG_NAME").into(), version: env!("CARGO_PKG_VERSION").into(), books: vec![BOOK] }
    }
}

/// The program to go over to: `POST /v1/upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeRequest {
    /// Its absolute path.
    pub program: PathBuf,
}

/// How the last upgrade went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// The other version: the one before, or the one that failed.
    pub other: String,
    /// What was wrong with it, if the daemon has gone back from it.
    pub failed: Option<String>,
}

/// A unit with what its plan says: `GET /v1/units/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitDetails {
    /// How it stands.
    #[serde(flatten)]
    pub status: UnitStatus,
    /// The daemon's clock at the time of the answer.
    pub now: Wall,
    /// The supervisors above it, the nearest first.
    pub supervisors: Vec<String>,
    /// Program and arguments.
    pub exec: Vec<String>,
    /// Where it runs.
    pub working_directory: PathBuf,
    /// What its cgroup uses, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default, rename = "use")]
    pub used: Option<GroupUse>,
    /// When it is started again. Empty for a unit that is only watched.
    pub restart: String,
    /// Units it requires.
    pub requires: Vec<String>,
    /// Units it binds to.
    #[serde(default)]
    pub binds: Vec<String>,
    /// Units that require, bind to, want or start after it.
    pub dependents: Vec<String>,
    /// Its log file, if it has one.
    pub log: Option<PathBuf>,
    /// The log of its stderr, if that is apart.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stderr_log: Option<PathBuf>,
}

/// What a row of the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A supervisor; its children are the following rows that are deeper.
    Supervisor,
    /// A unit.
    Unit,
}

/// A row of the tree: `GET /v1/tree` has them from the root down. A list, because trees may be deeper than JSON readers allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TreeRow {
    /// How far below the root.
    pub depth: usize,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its supervisor.
    pub parent: Option<String>,
    /// A supervisor's strategy.
    pub strategy: Option<String>,
    /// Where it stands.
    pub state: String,
    /// Why, if that needs saying.
    pub reason: Option<String>,
    /// A unit's main process.
    pub pid: Option<u32>,
    /// How often it, or a child of it, was restarted.
    pub restarts: u64,
    /// Whether an operator keeps it stopped.
    pub held: bool,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it is paused or stopped because it may be done without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rests: bool,
    /// Whether it is only watched.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub watched: bool,
    /// How well a supervisor is, with all that is below.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub health: Option<HealthStatus>,
}

/// The tree as rows, from `root` down.
#[must_use]
pub fn tree_rows(
    root: &str,
    supervisors: &[SupervisorStatus],
    units: &[UnitStatus],
    health: &BTreeMap<String, HealthStatus>,
) -> Vec<TreeRow> {
    // Each is taken out when it is shown: a view that is just being changed may name one twice.
    let mut supervisors: BTreeMap<_, _> = supervisors.iter().map(|one| (one.supervisor.as_str(), one)).collect();
    let mut units: BTreeMap<_, _> = units.iter().map(|one| (one.unit.as_str(), one)).collect();
    let mut rows = Vec::new();
    let mut open = vec![(0, None, root)];
    while let Some((depth, parent, name)) = open.pop() {
        let parent = parent.map(str::to_owned);
        if let Some(supervisor) = supervisors.remove(name) {
            rows.push(supervisor_row(depth, parent, supervisor, health.get(name)));
            open.extend(supervisor.children.iter().rev().map(|child| (depth + 1, Some(name), child.as_str())));
        } else if let Some(unit) = units.remove(name) {
            rows.push(unit_row(depth, parent, unit));
        }
    }
    rows
}

fn supervisor_row(depth: usize, parent: Option<String>, supervisor: &SupervisorStatus, health: Option<&HealthStatus>) -> TreeRow {
    TreeRow {
        depth,
        name: supervisor.supervisor.as_str().into(),
        kind: Kind::Supervisor,
        parent,
        strategy: Some(supervisor.strategy.clone()),
        state: supervisor.state.clone(),
        reason: supervisor.reason.clone(),
        pid: None,
        restarts: supervisor.restarts,
        held: supervisor.wish.as_ref().is_some_and(Wish::is_stop),
        paused: false,
        rests: false,
        watched: false,
        health: health.cloned(),
    }
}

fn unit_row(depth: usize, parent: Option<String>, unit: &UnitStatus) -> TreeRow {
    TreeRow {
        depth,
        name: unit.unit.as_str().into(),
        kind: Kind::Unit,
        parent,
        strategy: None,
        state: unit.state.clone(),
        reason: unit.reason.clone(),
        pid: unit.pid,
        restarts: unit.restarts,
        held: unit.held,
        paused: unit.paused,
        rests: unit.rests,
        watched: unit.watch.is_some(),
        health: None,
    }
}

/// The longest reason an operator may give, in bytes.
pub const REASON_MAX: usize = 1024;

/// The body of `POST /v1/start`, `/v1/stop`, `/v1/restart`, `/v1/pause` and `/v1/resume`; the last two are for units only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// Units and supervisors by name; the name of a unit with instances means all of them.
    pub targets: Vec<String>,
    /// Why; it is remembered with what is asked. At most [`REASON_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The body of `POST /v1/heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeartbeatRequest {
    /// Units.
    pub targets: Vec<String>,
    /// The number of this sign of life, one higher than the last: what is lost on the way is then told from a unit that is slow.
    #[serde(default)]
    pub sequence: Option<u64>,
}

/// The body of `POST /v1/signal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalRequest {
    /// Units by name.
    pub targets: Vec<String>,
    /// The signal by name or number.
    pub signal: String,
    /// Whether every process of the unit gets it, not only the main one.
    #[serde(default)]
    pub whole: bool,
}

/// What became of a command. The status is 202 instead of 200 if something was done and is not remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResponse {
    /// For each target, in the order they were named.
    pub results: Vec<TargetResult>,
}

/// What became of a command on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetResult {
    /// The unit or supervisor.
    pub target: String,
    /// Whether it was done.
    pub ok: bool,
    /// Why not; or a remark.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Why it would be forgotten if the daemon ended now; it is written down as soon as that can be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_remembered: Option<String>,
}

/// The environment of a unit: `GET /v1/units/{unit}/environment`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The unit.
    pub unit: String,
    /// Its variables by name. What is secret has no value here.
    pub variables: Vec<Variable>,
}

/// The body of `POST /v1/overrides`: values beside the files. What is set stands above everything the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetBody {
    /// The unit or supervisor as it is declared; `daemon` for the daemon.
    pub target: String,
    /// Keys (`limits.memory_max`) and values, as they would be written in a file.
    #[serde(default)]
    pub values: Vec<(String, String)>,
    /// Keys that are taken back, with all that is below them.
    #[serde(default)]
    pub unset: Vec<String>,
    /// Everything that is set of the target is taken back.
    #[serde(default)]
    pub unset_all: bool,
    /// For how long it is set; none: until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<u64>,
    /// Why. At most [`REASON_MAX`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What falls if something is stopped: `GET /v1/graph/falls/{targets}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Falls {
    /// What becomes of the others, the worst first.
    pub falls: Vec<Fall>,
    /// What could not be seen, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// What a reload changed, or would change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// For people.
    pub text: String,
    /// Whether nothing changes.
    pub empty: bool,
    /// For programs.
    pub changes: Value,
}

/// A line of a unit's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The unit.
    pub unit: String,
    /// `stderr` for a line of a stderr that has a log of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stream: Option<LogStream>,
    /// When it had surely arrived (RFC 3339): to a millisecond with `logs: {timestamps: true}`, else to a second or so.
    #[serde(default)]
    pub time: String,
    /// The stream offset of its first byte.
    pub offset: u64,
    /// The stream offset behind it.
    pub end: u64,
    /// The line without its newline.
    pub text: String,
    /// What was dropped here, for a line that only tells of that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gap: Option<Gap>,
}

impl From<Found> for LogLine {
    fn from(found: Found) -> Self {
        let Found { log, time, line } = found;
        let stream = Some(LogStream::of_log(log.as_str())).filter(|stream| *stream == LogStream::Stderr);
        Self {
            unit: UnitId::of_log(log.as_str()).0.to_owned(),
            stream,
            time: time.to_string(),
            offset: line.offset,
            end: line.end,
            text: line.text,
            gap: line.gap,
        }
    }
}

impl LogLine {
    /// The name of the log it is from.
    #[must_use]
    pub fn log(&self) -> UnitId {
        let unit = UnitId::from(self.unit.as_str());
        if self.stream.is_some() { unit.stderr_log() } else { unit }
    }
}

/// Where a unit's log stands: what comes next begins there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMark {
    /// The log: a unit's name, with `+stderr` for a stderr that has a log of its own.
    pub log: String,
    /// The stream offset.
    pub mark: u64,
}

/// An item of a stream of lines that begins with marks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogItem {
    /// A line.
    Line(LogLine),
    /// Where a log stands.
    Mark(LogMark),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiError {
    /// A word for programs.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
    /// What is wrong with the declarations, if it is that.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub diagnostics: Option<Value>,
}

//! The closed catalogue of events. Nothing else leaves the process.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::breaker::BreakerState;
use crate::base::choice::{HealthLevel, ProbeRole};
use crate::base::exit::{ExitCause, ExitReason, Signal, Usage};
use crate::base::id::{SupervisorId, UnitId};
use crate::base::time::{Wall, optional_seconds, seconds};
use crate::event::{
    DegradationStepped, GapReason, HealthStatus, IsolationIncomplete, LimitAdjusted, LimitCleared, LimitDrifted, LimitReached,
    LimitRefused, LimitsChanged, LimitsUnavailable, NoticeDrop, OomKilled, Override, OverrideEnded, PauseMeans, ProcessFound, ProcessGone,
    Remediation, RestartCause, ResumeCause, SecretsRenewed, Stall, StallOver, StoreRestored, UnitFound, UnitLost, Wish,
};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// The brain has started.
    DaemonStarted {
        /// Its version.
        version: String,
        /// How many brains were before it under the same launcher.
        generation: u32,
        /// How many units it found running.
        adopted: usize,
    },
    /// The brain before this one has ended.
    BrainEnded {
        /// Its process id.
        pid: u32,
        /// How it ended.
        cause: ExitCause,
        /// How long it had lived.
        #[serde(with = "seconds")]
        after: Duration,
        /// The launcher has ended it, because it hung or talked nonsense.
        condemned: bool,
        /// The file with its last words.
        incident: Option<PathBuf>,
    },
    /// The process that holds descriptors for the next launcher has ended; there will be another one.
    KeeperLost {
        /// Its process id.
        pid: u32,
    },
    /// The daemon has gone over to this program.
    DaemonUpgraded {
        /// The version before.
        from: String,
        /// The version now.
        version: String,
    },
    /// The daemon has tried another program, and has gone back to this one.
    UpgradeFailed {
        /// The version that was tried.
        to: String,
        /// The version now.
        version: String,
        /// What was wrong with it.
        why: String,
    },
    /// The whole tree is up.
    DaemonReady {
        /// How long that took.
        #[serde(with = "seconds")]
        after: Duration,
    },
    /// The daemon goes down.
    DaemonStopping {
        /// What made it.
        by: String,
    },
    /// The root supervisor has given up; what still runs is kept.
    DaemonDegraded {
        /// The child it gave up.
        child: String,
        /// Why that ended.
        reason: ExitReason,
    },
    /// A new plan was applied.
    PlanApplied {
        /// How many units it started.
        started: usize,
        /// How many it stopped.
        stopped: usize,
        /// How many it restarted.
        restarted: usize,
        /// How many it changed without a restart.
        changed: usize,
        /// How many it left alone.
        unchanged: usize,
    },
    /// New declarations were refused; the old plan runs on.
    ReloadRefused {
        /// How many faults they have.
        errors: usize,
    },
    /// Somebody asked for something.
    CommandReceived {
        /// What.
        command: String,
        /// Of which unit or supervisor.
        target: String,
        /// The user id of the one who asked.
        uid: u32,
        /// The unit of which the one who asked is a process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UnitId>,
    },
    /// A unit was told to start.
    UnitStarting {
        /// The unit.
        unit: UnitId,
        /// Why it starts again, if it ran before.
        cause: Option<RestartCause>,
    },
    /// A restart is held back.
    UnitHeldBack {
        /// The unit.
        unit: UnitId,
        /// For how long.
        #[serde(with = "seconds")]
        delay: Duration,
    },
    /// A unit is in operation.
    UnitActive {
        /// The unit.
        unit: UnitId,
        /// Its main process.
        pid: u32,
        /// How long it took from the order to start.
        #[serde(with = "seconds")]
        after: Duration,
    },
    /// A unit was found running by a new brain.
    UnitAdopted {
        /// The unit.
        unit: UnitId,
        /// Its main process.
        pid: u32,
    },
    /// A unit could not be started.
    UnitStartFailed {
        /// The unit.
        unit: UnitId,
        /// Why.
        reason: ExitReason,
    },
    /// A unit's main process has ended.
    UnitExited {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// Its main process.
        pid: u32,
        /// How it ended.
        cause: ExitCause,
        /// Whether it was asked to.
        expected: bool,
        /// How long it had run.
        #[serde(with = "seconds")]
        after: Duration,
        /// What it had used.
        usage: Usage,
    },
    /// A unit is ended because one it binds to has gone down; it comes up again after that.
    UnitUnbound {
        /// The unit.
        unit: UnitId,
        /// The one it binds to.
        from: UnitId,
    },
    /// A unit is not started again after a failure, as `restart.on` says; it is stopped as by an operator.
    UnitGivenUp {
        /// The unit.
        unit: UnitId,
        /// What was declared for: `crash`, `exit 78`, …
        cause: String,
        /// How it failed.
        reason: ExitReason,
    },
    /// A supervisor with all that is below is better or worse than before.
    HealthChanged {
        /// The supervisor; `root` is the whole node.
        supervisor: SupervisorId,
        /// How well it was.
        was: HealthLevel,
        /// How well it is, and which leaf decided.
        #[serde(flatten)]
        health: HealthStatus,
    },
    /// A probe of a unit passes now, or fails.
    ProbeChanged {
        /// The unit.
        unit: UnitId,
        /// The probe.
        probe: String,
        /// What it is asked for.
        role: ProbeRole,
        /// Whether it passes.
        passing: bool,
        /// What it found.
        text: String,
    },
    /// A unit is started again, because it was found not to be well.
    UnitUnwell {
        /// The unit.
        unit: UnitId,
        /// Its main process.
        pid: u32,
        /// What was found.
        why: String,
        /// Where it is written down what the process was doing.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        incident: Option<PathBuf>,
    },
    /// A unit that runs may not be given work for now.
    UnitUnready {
        /// The unit.
        unit: UnitId,
        /// What was found.
        why: String,
    },
    /// A unit that runs may be given work again.
    UnitReady {
        /// The unit.
        unit: UnitId,
    },
    /// The breaker of a unit's restarts, or of one of its probes, stands elsewhere.
    BreakerChanged {
        /// The unit.
        unit: UnitId,
        /// The probe; none: it is that of the unit's restarts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        probe: Option<String>,
        /// Where it stood.
        from: BreakerState,
        /// Where it stands.
        to: BreakerState,
        /// How many runs or looks counted.
        calls: u32,
        /// How many of them failed.
        failed: u32,
        /// How long it stays open.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
        open_for: Option<Duration>,
    },
    /// A remedy was taken, or something else has come of the remediation of a unit or a probe.
    Remediation(Remediation),
    /// A unit runs less isolated than declared.
    IsolationIncomplete(IsolationIncomplete),
    /// Secrets of a unit have changed.
    SecretsRenewed(SecretsRenewed),
    /// The machine or the brain stands still: what probes find meanwhile does not count.
    ObserverStalled(Stall),
    /// It goes on, and has done so for a while.
    ObserverRecovered(StallOver),
    /// Something is done without under pressure, or is not any more.
    DegradationStepped(DegradationStepped),
    /// A process that a unit watches was found.
    ProcessFound(ProcessFound),
    /// A process that a unit watches has ended.
    ProcessGone(ProcessGone),
    /// As many processes as a unit watches for are there.
    UnitFound(UnitFound),
    /// Of the processes that a unit watches there are too few.
    UnitLost(UnitLost),
    /// A unit was asked to stop.
    UnitStopping {
        /// The unit.
        unit: UnitId,
    },
    /// A unit did not stop in time and is being killed.
    UnitTimedOut {
        /// The unit.
        unit: UnitId,
    },
    /// Nothing of a unit that was asked to stop is left.
    UnitStopped {
        /// The unit.
        unit: UnitId,
    },
    /// An operator sent a signal to a unit.
    UnitSignalled {
        /// The unit.
        unit: UnitId,
        /// Which signal.
        signal: Signal,
    },
    /// Another process of a unit is its main process now.
    UnitMainChanged {
        /// The unit.
        unit: UnitId,
        /// The process id.
        pid: u32,
    },
    /// What a unit named as its main process was not accepted, or it named none.
    UnitMainRefused {
        /// The unit.
        unit: UnitId,
        /// Why.
        why: String,
    },
    /// A notification of a unit is not told for itself; told once in a run for each reason.
    NotificationsDropped {
        /// The unit.
        unit: UnitId,
        /// Why.
        reason: NoticeDrop,
        /// The process that sent the first one, if it is not the unit's.
        pid: Option<u32>,
    },
    /// All processes of a unit stand still.
    UnitPaused {
        /// The unit.
        unit: UnitId,
        /// By what means.
        means: PauseMeans,
        /// Whether that is because of degradation, and not for an operator.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rests: bool,
    },
    /// They go on, or have ended.
    UnitResumed {
        /// The unit.
        unit: UnitId,
        /// Why.
        cause: ResumeCause,
    },
    /// A unit's output goes to /dev/null, because its log file cannot be opened.
    LogLost {
        /// The unit.
        unit: UnitId,
        /// Why.
        why: String,
    },
    /// A unit's log was rotated, or bytes of it were lost.
    LogRotated {
        /// The unit.
        unit: UnitId,
        /// How many bytes went to the archive.
        bytes: u64,
        /// How many bytes were lost.
        lost: u64,
    },
    /// Output of a unit was dropped.
    LogDropped {
        /// The unit.
        unit: UnitId,
        /// How many bytes.
        bytes: u64,
        /// When the first of them was written.
        from: Wall,
        /// When the last was.
        to: Wall,
        /// Why.
        why: GapReason,
    },
    /// A unit is stopped until there is room in its log again.
    LogFull {
        /// The unit.
        unit: UnitId,
        /// How many bytes its log takes.
        bytes: u64,
    },
    /// A unit that was stopped because its log was full goes on.
    LogHasRoom {
        /// The unit.
        unit: UnitId,
    },
    /// A unit's output is not read until there is room in its log, or it can be written.
    LogBlocked {
        /// The unit.
        unit: UnitId,
        /// Why.
        why: String,
    },
    /// A child of a supervisor has ended by itself.
    ChildTerminated {
        /// The supervisor.
        supervisor: SupervisorId,
        /// The child.
        child: String,
        /// Why.
        reason: ExitReason,
        /// Whether it is started again.
        restart: bool,
    },
    /// All children of a supervisor are up.
    SupervisorUp {
        /// The supervisor.
        supervisor: SupervisorId,
    },
    /// A supervisor has seen one restart too many.
    IntensityReached {
        /// The supervisor.
        supervisor: SupervisorId,
        /// The child that failed last.
        child: String,
        /// Why.
        reason: ExitReason,
        /// It does not give up, but tries again after so long.
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
        retry_after: Option<Duration>,
    },
    /// A supervisor has ended.
    SupervisorEnded {
        /// The supervisor.
        supervisor: SupervisorId,
        /// Why.
        reason: ExitReason,
    },
    /// What operators ask for cannot be written down; supervision goes on.
    StoreFailed {
        /// Why.
        why: String,
    },
    /// What operators ask for is written down again, and what they asked for meanwhile.
    StoreRecovered {
        /// How many changes have waited for that.
        written: usize,
    },
    /// The store was damaged; a backup has taken its place.
    StoreRestored(StoreRestored),
    /// The store could not be backed up; it is tried again when the next backup is due.
    StoreBackupFailed {
        /// Why.
        why: String,
    },
    /// What an operator asked for was dropped, because it concerns nothing any more.
    WishForgotten {
        /// The unit or supervisor.
        target: String,
        /// What was asked.
        wish: Wish,
        /// Why it was dropped.
        why: String,
    },
    /// Limits were changed while what they are for runs.
    LimitsChanged(LimitsChanged),
    /// The kernel does not take a limit.
    LimitRefused(LimitRefused),
    /// Somebody else has changed a limit; it was set again.
    LimitDrifted(LimitDrifted),
    /// A limit that follows the pressure was changed.
    LimitAdjusted(LimitAdjusted),
    /// Declared limits have no effect here.
    LimitsUnavailable(LimitsUnavailable),
    /// The kernel has killed a process of a unit because memory was short.
    OomKilled(OomKilled),
    /// No process or thread can be started in a unit or below a supervisor, because there are too many.
    TasksMaxReached(LimitReached),
    /// A unit, or what is below a supervisor, has more memory than it is to have, and is slowed down.
    MemoryHighReached(LimitReached),
    /// A unit, or what is below a supervisor, waits for memory although it has not reached what it is to have.
    MemoryPressure(LimitReached),
    /// One of these is over.
    LimitCleared(LimitCleared),
    /// An operator has set a value, beside what the files say.
    OverrideSet(Override),
    /// Such a value counts no longer.
    OverrideEnded(OverrideEnded),
    /// Events were lost, because they came faster than they could be recorded.
    EventsDropped {
        /// How many.
        count: u64,
    },
}

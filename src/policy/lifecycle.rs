//! The life of one unit: from "start" to a running, ready process, and down to nothing left of it.
//!
//! The supervisor says start and stop; the launcher says what became of the process; this machine knows what to do next.
//!
//! ```text
//!            start                gate opens         spawned              ready
//!  Stopped ────────► Backoff ──► Waiting ──► Spawning ──────► Activating ──────► Active
//!     ▲                                         │ failed          │ exited / too late │ exited / stop
//!     │                                         ▼                 ▼                   ▼
//!     └──────────────────────────────────────────────── Cleaning ◄── Killing ◄── Stopping
//! ```

mod failure;
mod fuse;
mod learned;
mod memory;
mod pause;
mod start;
mod state;

use std::sync::Arc;
use std::time::Duration;

pub use learned::StartTimes;
pub use memory::{Memory, Phase};
pub use state::State;

use self::fuse::Fuse;
use super::Machine;
use super::backoff::{Failure, Streak};
use super::breaker::Changed;
use super::supervisor::StartCause;
use crate::base::choice::FailureClass;
use crate::base::exit::{ExitCause, ExitReason, Signal};
use crate::base::rng::Rng;
use crate::base::time::Mono;
use crate::event::ResumeCause;
use crate::plan::{FailureCause, ReadinessKind, ShutdownTimeout, UnitPlan};

/// What happens to a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Its supervisor wants it up. `hold_back`: after a failure of its own, so that back-off applies.
    Start {
        /// Whether back-off applies.
        hold_back: bool,
    },
    /// Its supervisor wants it up, but not before so long: it has failed too often.
    StartLate(Duration),
    /// Its supervisor wants it down.
    Stop,
    /// It is to go down sooner than declared.
    Hasten,
    /// Somebody's patience is at an end.
    Kill,
    /// What it requires is ready and it is its turn.
    GateOpened,
    /// Its process cannot even be prepared: no such user, unreadable environment file.
    Unfit(Arc<str>),
    /// It is to stand still.
    Pause,
    /// It is to go on, for this reason.
    Resume(ResumeCause),
    /// It could not be made to stand still, and goes on.
    PauseFailed,
    /// Its main process runs.
    Spawned,
    /// Its main process could not be made.
    SpawnFailed(Arc<str>),
    /// It says that it is ready, or was found to be.
    Ready,
    /// It was found not to be well, for this reason: it is to be started again.
    Unwell(FailureClass, Arc<str>),
    /// Something it binds to has gone down: it is to come up again after that.
    Unbound,
    /// The kernel has killed it, or something of it, because memory was short: for this reason its main process ends, as is told next.
    OutOfMemory(Arc<str>),
    /// Its main process has ended.
    Exited {
        /// How.
        cause: ExitCause,
        /// Whether it left processes behind.
        leftovers: bool,
        /// Processor time it has used.
        cpu: Duration,
    },
    /// The last process it left behind is gone.
    Gone,
    /// Its breaker is not to keep it from being started: too many of its kind are kept already.
    Spared,
}

impl Input {
    /// Its supervisor starts it, for this reason.
    #[must_use]
    pub const fn start(cause: StartCause) -> Self {
        match cause {
            StartCause::Exit | StartCause::Retry => Self::Start { hold_back: true },
            StartCause::First | StartCause::Sibling | StartCause::Request => Self::Start { hold_back: false },
            StartCause::Late(delay) => Self::StartLate(delay),
        }
    }
}

/// What a unit wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Say when what it requires is ready and it is its turn.
    AskGate,
    /// Its turn is over, or it does not want one any more.
    LeaveGate,
    /// Make its main process.
    Spawn,
    /// Watch for readiness.
    WatchReadiness,
    /// Stop watching.
    ForgetReadiness,
    /// Send a signal to the main process.
    SignalMain(Signal),
    /// Send a signal to every process.
    SignalTree(Signal),
    /// Let all its processes stand still.
    Freeze,
    /// Let them go on, for this reason.
    Thaw(ResumeCause),
    /// The exit has been taken note of.
    Acknowledge,
    /// Tell the supervisor that it is up.
    Started,
    /// Tell the supervisor that the start failed.
    StartFailed(ExitReason),
    /// Tell the supervisor that it has ended and nothing of it is left.
    Ended(ExitReason),
    /// It stands elsewhere now.
    Entered(State),
    /// Its restart is held back for so long.
    HeldBack(Duration),
    /// It failed, and is to stay down: it is to be stopped as by an operator. The supervisor has not been told of its end.
    GiveUp(FailureCause, ExitReason),
    /// Its shutdown timeout has passed; it is being killed.
    TimedOut,
    /// The breaker of its restarts stands elsewhere now.
    BreakerChanged(Changed),
    /// Its breaker keeps it from being started, unless too many of its kind are.
    Eject,
    /// It does not any more.
    Readmit,
}

/// How often a process that does not die is killed again.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// What it counts when the process could not even be made: trying again seldom helps.
const UNFIT_WEIGHT: u32 = 3;

/// What it counts when the process ends before it was ready.
const EARLY_WEIGHT: u32 = 2;

/// How long a hastened stop may take.
const HASTY: Duration = Duration::from_secs(2);

/// The life of one unit.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    plan: Arc<UnitPlan>,
    rng: Rng,
    /// The breaker of its restarts.
    fuse: Option<Fuse>,
    state: State,
    deadline: Option<Mono>,
    streak: Streak,
    /// When the start began whose process is not ready yet: what had to be looked up for it counts.
    begun: Option<Mono>,
    /// When the latest process was spawned.
    spawned: Option<Mono>,
    /// The latest run, as far as the next delay depends on it.
    failure: Failure,
    /// What the failure of the latest run was, if it was one, and how its process ended by itself.
    failed: Option<(FailureClass, Option<ExitCause>)>,
    /// Memory was short.
    oom: Option<Arc<str>>,
    /// What to tell the supervisor once nothing is left.
    verdict: Option<Verdict>,
    /// A stop came while the process was being made.
    stop_wanted: bool,
    /// A start came while something of an earlier run was left.
    start_wanted: bool,
    /// Its supervisor takes it for up: what fails is an end, not a start.
    is_up: bool,
    /// An earlier brain held the restart back until then.
    held_until: Option<Mono>,
    /// How long its starts have taken.
    start_times: StartTimes,
    /// It stands still, and this is how long it may still take to become ready. A pause belongs to a run and ends with it.
    paused: Option<Option<Duration>>,
}

/// What to tell the supervisor once nothing is left.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Ended(ExitReason),
    StartFailed(ExitReason),
    /// Nothing: the supervisor knows nothing of this run.
    Silent,
}

impl Lifecycle {
    /// A unit nothing of which runs. `rng` is its own stream, for jitter.
    #[must_use]
    pub fn new(plan: Arc<UnitPlan>, mut rng: Rng) -> Self {
        let fuse = Fuse::new(&plan, &mut rng);
        Self {
            plan,
            rng,
            fuse,
            state: State::Stopped,
            deadline: None,
            streak: Streak::default(),
            begun: None,
            spawned: None,
            failure: Failure::default(),
            failed: None,
            oom: None,
            verdict: None,
            stop_wanted: false,
            start_wanted: false,
            is_up: false,
            held_until: None,
            start_times: StartTimes::default(),
            paused: None,
        }
    }

    /// A unit whose main process was started by an earlier brain at `spawned`. Follow it with [`Input::Start`]: it will
    /// be found running.
    #[must_use]
    pub fn adopted(plan: Arc<UnitPlan>, rng: Rng, spawned: Mono, ready: bool) -> Self {
        let state = if ready { State::Active } else { State::Activating };
        Self { state, spawned: Some(spawned), ..Self::new(plan, rng) }
    }

    /// A unit of whose last run only leftovers remain.
    #[must_use]
    pub fn with_leftovers(plan: Arc<UnitPlan>, rng: Rng) -> Self {
        Self { state: State::Cleaning, verdict: Some(Verdict::Silent), deadline: Some(Mono(0)), ..Self::new(plan, rng) }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether it is to go down as soon as it is known what has become of its start.
    #[must_use]
    pub const fn is_to_stop(&self) -> bool {
        self.stop_wanted
    }

    /// Whether it is being ended because its start failed.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        matches!(self.verdict, Some(Verdict::StartFailed(_)))
    }

    /// A new plan that does not ask for a restart.
    pub fn replan(&mut self, plan: Arc<UnitPlan>) {
        let is_new = self.plan.restart.breaker != plan.restart.breaker;
        self.plan = plan;
        if is_new {
            self.fuse = Fuse::new(&self.plan, &mut self.rng);
        }
    }

    fn enter(&mut self, state: State, deadline: Option<Mono>, out: &mut Vec<Effect>) {
        self.deadline = deadline;
        if self.state != state {
            self.state = state;
            out.push(Effect::Entered(state));
        }
    }

    fn stop(&mut self, now: Mono, out: &mut Vec<Effect>) {
        match self.state {
            State::Stopped => out.push(Effect::Ended(ExitReason::Shutdown)),
            State::Backoff | State::Waiting => {
                self.readmit(out);
                self.judge(now, &Verdict::Silent, out);
                out.push(Effect::LeaveGate);
                self.enter(State::Stopped, None, out);
                out.push(Effect::Ended(ExitReason::Shutdown));
            }
            State::Spawning => self.stop_wanted = true,
            State::Activating | State::Active => self.ask_to_end(now, Verdict::Ended(ExitReason::Shutdown), out),
            State::Cleaning => {
                self.start_wanted = false;
                self.verdict = Some(Verdict::Ended(ExitReason::Shutdown));
            }
            State::Stopping | State::Killing => {
                if std::mem::take(&mut self.start_wanted) || self.verdict == Some(Verdict::Silent) {
                    self.verdict = Some(Verdict::Ended(ExitReason::Shutdown));
                }
            }
        }
    }

    /// Asks the main process to end; what it says afterwards is `verdict`.
    fn ask_to_end(&mut self, now: Mono, verdict: Verdict, out: &mut Vec<Effect>) {
        out.extend([Effect::LeaveGate, Effect::ForgetReadiness]);
        self.verdict = Some(verdict);
        let deadline = match self.plan.shutdown.timeout {
            ShutdownTimeout::BrutalKill => return self.kill(now, out),
            ShutdownTimeout::After(timeout) => Some(now + timeout),
            ShutdownTimeout::Infinity => None,
        };
        self.thaw(ResumeCause::Stop, out);
        out.push(Effect::SignalMain(self.plan.shutdown.signal));
        self.enter(State::Stopping, deadline, out);
    }

    fn kill(&mut self, now: Mono, out: &mut Vec<Effect>) {
        match self.state {
            State::Stopped | State::Backoff | State::Waiting | State::Spawning => return self.stop(now, out),
            State::Activating | State::Active => {
                out.extend([Effect::LeaveGate, Effect::ForgetReadiness]);
                self.verdict.get_or_insert(Verdict::Ended(ExitReason::Killed));
                self.enter(State::Killing, Some(now + KILL_AGAIN), out);
            }
            State::Stopping | State::Killing => self.enter(State::Killing, Some(now + KILL_AGAIN), out),
            State::Cleaning => self.deadline = Some(now + KILL_AGAIN),
        }
        out.push(Effect::SignalTree(Signal::KILL));
    }

    /// It is ended and comes up again by itself: its supervisor has nothing to decide.
    fn unbound(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Activating | State::Active) {
            self.start_wanted = true;
            self.ask_to_end(now, Verdict::Silent, out);
        }
    }

    /// It is asked to end as when it is stopped, but that counts as an end of its own.
    fn unwell(&mut self, now: Mono, class: FailureClass, why: &str, out: &mut Vec<Effect>) {
        let reason = ExitReason::error(why);
        if matches!(self.state, State::Activating | State::Active) {
            self.failed = Some((class, None));
        }
        match self.state {
            State::Activating => self.ask_to_end(now, Verdict::StartFailed(reason), out),
            State::Active => self.ask_to_end(now, Verdict::Ended(reason), out),
            // What was found belongs to a run that is over, or about to be.
            State::Stopped | State::Backoff | State::Waiting | State::Spawning | State::Stopping | State::Killing | State::Cleaning => {}
        }
    }

    fn exited(&mut self, now: Mono, (cause, cpu): (ExitCause, Duration), leftovers: bool, out: &mut Vec<Effect>) {
        let up_for = self.spawned.take().map_or(Duration::ZERO, |spawned| now - spawned);
        let heavy = self.state == State::Activating || matches!(self.verdict, Some(Verdict::StartFailed(_)));
        self.failure = Failure { up_for, cpu, weight: if heavy { EARLY_WEIGHT } else { 1 } };
        self.thaw(ResumeCause::Exit, out);
        out.push(Effect::Acknowledge);
        let (reason, oom) = (self.reason(cause), self.oom.take());
        match self.state {
            State::Activating => {
                out.extend([Effect::LeaveGate, Effect::ForgetReadiness]);
                let why = format!("ended before it was ready: {}", oom.as_deref().unwrap_or(&cause.to_string()));
                self.failed = Some((if oom.is_some() { FailureClass::Oom } else { FailureClass::Start }, Some(cause)));
                self.verdict = Some(Verdict::StartFailed(ExitReason::error(why)));
            }
            State::Active => {
                self.failed = Some((if oom.is_some() { FailureClass::Oom } else { FailureClass::Crash }, Some(cause)));
                let reason = oom.filter(|_| reason != ExitReason::Normal).map_or(reason, ExitReason::error);
                self.verdict = Some(Verdict::Ended(reason));
            }
            State::Stopping | State::Killing => {}
            // An exit of a run this brain has never seen running.
            State::Stopped | State::Backoff | State::Waiting | State::Spawning | State::Cleaning => return,
        }
        if !leftovers {
            return self.nothing_left(now, out);
        }
        if self.state == State::Killing {
            out.push(Effect::SignalTree(Signal::KILL));
            return self.enter(State::Cleaning, Some(now + KILL_AGAIN), out);
        }
        out.push(Effect::SignalTree(self.plan.shutdown.signal));
        let deadline = match (self.state, self.plan.shutdown.timeout) {
            (State::Stopping, _) => self.deadline,
            (_, ShutdownTimeout::After(timeout)) => Some(now + timeout),
            (_, ShutdownTimeout::BrutalKill) => Some(now),
            (_, ShutdownTimeout::Infinity) => None,
        };
        self.enter(State::Cleaning, deadline, out);
    }

    fn nothing_left(&mut self, now: Mono, out: &mut Vec<Effect>) {
        self.enter(State::Stopped, None, out);
        if let Some(verdict) = self.verdict.take() {
            self.judge(now, &verdict, out);
            self.tell(verdict, out);
        }
        if std::mem::take(&mut self.start_wanted) {
            self.start(now, self.is_up, out);
        }
    }
}

impl Machine for Lifecycle {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Start { hold_back } => self.start(now, hold_back, out),
            Input::StartLate(delay) => self.start_late(now, delay, out),
            Input::Stop => self.stop(now, out),
            Input::Hasten => {
                self.stop(now, out);
                if self.state == State::Stopping {
                    self.deadline = Some(self.deadline.map_or(now + HASTY, |at| at.min(now + HASTY)));
                }
            }
            Input::Kill => self.kill(now, out),
            Input::GateOpened => {
                if self.state == State::Waiting {
                    self.begun = Some(now);
                    self.enter(State::Spawning, None, out);
                    out.push(Effect::Spawn);
                }
            }
            Input::Pause => self.pause(now, out),
            Input::Resume(cause) => self.resume(now, Some(cause), out),
            Input::PauseFailed => self.resume(now, None, out),
            Input::Spawned => self.spawned(now, out),
            Input::Unfit(why) | Input::SpawnFailed(why) => self.spawn_failed(now, &why, out),
            Input::Ready => {
                if self.state == State::Activating {
                    out.push(Effect::ForgetReadiness);
                    self.active(now, out);
                }
            }
            Input::Unwell(class, why) => self.unwell(now, class, &why, out),
            Input::Unbound => self.unbound(now, out),
            Input::OutOfMemory(why) => self.oom = Some(why),
            Input::Exited { cause, leftovers, cpu } => self.exited(now, (cause, cpu), leftovers, out),
            Input::Gone => {
                if self.state == State::Cleaning {
                    self.nothing_left(now, out);
                }
            }
            Input::Spared => self.spare(now, out),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        let proven = self.fuse.as_ref().and_then(Fuse::proven_at);
        self.deadline.into_iter().chain(proven).min()
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        self.prove(now, out);
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.deadline = None;
        match self.state {
            State::Backoff => self.ask_gate(now, out),
            State::Activating => {
                let timeout = self.start_timeout();
                self.start_times.was_late(timeout);
                let timeout = crate::base::time::format_duration(timeout);
                let why = match self.plan.readiness.kind {
                    ReadinessKind::PidFile => format!("no process of it was named by its pid file within {timeout}"),
                    _ => format!("not ready within {timeout}"),
                };
                self.failed = Some((FailureClass::Start, None));
                self.ask_to_end(now, Verdict::StartFailed(ExitReason::error(why)), out);
            }
            State::Stopping => {
                out.push(Effect::TimedOut);
                self.kill(now, out);
            }
            State::Killing | State::Cleaning => self.kill(now, out),
            State::Stopped | State::Waiting | State::Spawning | State::Active => {}
        }
    }
}

#[cfg(test)]
mod tests;

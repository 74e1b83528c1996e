//! OTP's supervisor as a pure machine: it decides who is started, stopped, restarted and given up; others carry it out.
//!
//! Starting and stopping are *effects with later completions*. How the machine treats the time between is its [`Discipline`]:
//!
//! - [`Discipline::Sequential`] is OTP's: while a child starts or stops, the supervisor serves nothing; exits and requests queue.
//! - [`Discipline::Concurrent`] serves on: many children may be starting and stopping, and one slow child never keeps the
//!   supervisor from restarting another. The rules of who restarts with whom, of counting and of order are the same code.
//!
//! The rules are those of OTP's `supervisor` (<https://www.erlang.org/doc/apps/stdlib/supervisor.html>). What is added beside them:
//! a child may be *held* (an operator stopped it; no sibling's restart wakes it), the first start may be retried like a restart
//! ([`FirstStart::Retry`]), and a root may keep what still runs when it reaches its limit ([`AtLimit::Keep`]).
//!
//! Back-off is no concern of this machine: a child that was told to start may take its time.
//!
//! It needs no runtime: whoever has children of some other kind feeds it what happens to them and does what it says.
//!
//! ```
//! use ms_supervisor::base::time::Mono;
//! use ms_supervisor::policy::Machine;
//! use ms_supervisor::policy::supervisor::{ChildSpec, Effect, Flags, Input, StartCause, Supervisor};
//! use ms_supervisor::{ExitReason, Strategy};
//!
//! let mut supervisor = Supervisor::new(Flags::otp(Strategy::OneForOne), [ChildSpec::worker("web")]);
//! let mut effects = Vec::new();
//! supervisor.step(Mono(0), Input::Start, &mut effects);
//! let Some(Effect::Start(web, StartCause::First)) = effects.pop() else { panic!() };
//! supervisor.step(Mono(1_000_000), Input::Started(web), &mut effects);
//! assert!(effects.contains(&Effect::Up));
//!
//! effects.clear();
//! supervisor.step(Mono(2_000_000), Input::Exited(web, ExitReason::error("crash")), &mut effects);
//! assert!(matches!(effects.last(), Some(Effect::Start(again, StartCause::Exit)) if again.incarnation == 2));
//! ```

mod child;
mod core;
mod exits;
#[cfg(feature = "daemon")]
mod planned;
mod reload;
mod request;
mod schedule;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use child::{ChildKey, ChildSpec, ChildView, Standing};
pub use core::Supervisor;
#[cfg(feature = "daemon")]
pub use planned::{child_of, flags_of};
pub use request::{ChildCounts, Reply, Request, RequestError, RequestId, Which};
pub use spec::{SpecError, check};

pub use crate::base::choice::AutoShutdown;
use crate::base::choice::{StartOrder, Strategy};
use crate::base::exit::ExitReason;

/// What all children of a supervisor have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Whom a child's end concerns.
    pub strategy: Strategy,
    /// How many restarts within `period` are tolerated.
    pub intensity: u32,
    /// The window restarts are counted in.
    pub period: Duration,
    /// Whether the end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// Whether its children are instances of one template, started on request (OTP's `simple_one_for_one`).
    pub dynamic: bool,
    /// How many children it may have; one that waits for its restart counts.
    pub max_children: Option<usize>,
    /// How it treats the time between an effect and its completion.
    pub discipline: Discipline,
    /// What a failed first start means.
    pub first_start: FirstStart,
    /// What reaching the restart intensity means.
    pub at_limit: AtLimit,
}

impl Flags {
    /// OTP's defaults: one restart within 5 seconds, no automatic shutdown, everything strictly in order.
    #[must_use]
    pub const fn otp(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: 1,
            period: Duration::from_secs(5),
            auto_shutdown: AutoShutdown::Never,
            dynamic: false,
            max_children: None,
            discipline: Discipline::Sequential,
            first_start: FirstStart::RollBack,
            at_limit: AtLimit::Terminate,
        }
    }
}

/// How a supervisor treats the time between an effect and its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// One thing at a time, in order; everything else queues (OTP).
    Sequential,
    /// It serves on; children start in this order, and stop in its reverse.
    Concurrent(StartOrder),
}

/// What a failed first start means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStart {
    /// Those already started are stopped, and the supervisor's own start has failed (OTP).
    RollBack,
    /// It is counted and retried like a failed restart.
    Retry,
}

/// What reaching the restart intensity means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtLimit {
    /// All children are stopped and the supervisor ends with `shutdown` (OTP).
    Terminate,
    /// The failing child stays down; the others run on.
    Keep,
    /// It starts the failing child again, but only after so long, and counts from the beginning: slowly, for ever.
    RetryAfter(Duration),
}

/// What happens to a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin: start the children.
    Start,
    /// A start has succeeded.
    Started(Run),
    /// A start function said that there is nothing to run.
    Ignored(Run),
    /// A start has failed.
    StartFailed(Run, ExitReason),
    /// A child has ended.
    Exited(Run, ExitReason),
    /// Somebody wants something.
    Request(RequestId, Request),
    /// The parent asks it to stop for this reason.
    Shutdown(ExitReason),
    /// Somebody kills it: it kills its workers, and the supervisors below it stop theirs in order.
    Kill,
    /// The time of the whole tree is over: it kills its workers, and the supervisors below it do the same.
    KillTree,
    /// Whoever started it does not wait for that any more: what is still starting is killed, the rest is stopped in order.
    Abandon,
    /// Time for another try at a failed restart: answers [`Effect::Retry`].
    Retry(Run),
}

/// One incarnation of one child. What belongs to an earlier incarnation changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The child.
    pub child: ChildKey,
    /// Counts the child's starts, from 1.
    pub incarnation: u64,
}

/// What a supervisor wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start a child; answered by `Started`, `Ignored`, `StartFailed` or, if stopped meanwhile, `Exited`.
    Start(Run, StartCause),
    /// Ask a child to end, a supervisor with this reason; answered by `Exited`.
    Stop(Run, ExitReason),
    /// End a child without asking; answered by `Exited`.
    Kill(Run),
    /// Feed a child that is a supervisor [`Input::KillTree`]; answered by `Exited`.
    KillTree(Run),
    /// Feed a child that is a supervisor [`Input::Abandon`]; answered by `Exited`.
    Abandon(Run),
    /// Feed [`Input::Retry`], behind whatever the supervisor has been sent already.
    Retry(Run),
    /// A request has added this child; comes before its start.
    Added(RequestId, ChildKey),
    /// Drop everything kept for a child: its specification is gone.
    Forget(ChildKey),
    /// Every child is up.
    Up,
    /// The answer to a request.
    Reply(RequestId, Reply),
    /// Something to tell the world.
    Report(Report),
    /// Every child is down; the supervisor ends for this reason.
    Terminated(ExitReason),
}

/// Why a child is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StartCause {
    /// The supervisor starts.
    First,
    /// It had ended.
    Exit,
    /// Its start had failed.
    Retry,
    /// It had failed too often: it is to be started, but only after so long.
    Late(Duration),
    /// A sibling's end concerns it.
    Sibling,
    /// Somebody asked for it.
    Request,
}

impl StartCause {
    /// How long the start has to wait.
    #[must_use]
    pub const fn delay(self) -> Duration {
        if let Self::Late(delay) = self { delay } else { Duration::ZERO }
    }
}

/// What a supervisor tells the world (OTP's supervisor reports).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A child is up (OTP's progress report).
    ChildStarted {
        /// The child's id.
        child: Arc<str>,
        /// Which start of it this was.
        incarnation: u64,
    },
    /// A child has ended by itself; told of permanent children, and of others that ended abnormally.
    ChildTerminated {
        /// The child's id.
        child: Arc<str>,
        /// Why.
        reason: ExitReason,
        /// Whether it is to be started again, if the intensity allows it.
        restart: bool,
    },
    /// A start has failed, when the supervisor started or restarted a child of its own accord.
    StartError {
        /// The child's id.
        child: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// A child that was asked to end ended otherwise than it should.
    ShutdownError {
        /// The child's id.
        child: Arc<str>,
        /// How it ended.
        reason: ExitReason,
    },
    /// A child that was killed ten seconds ago is still there: a thread that does not return, a process the kernel does not let go.
    /// Its supervisor waits on, as OTP's would: its successor must not meet it.
    ChildStuck {
        /// The child's id.
        child: Arc<str>,
    },
    /// One restart too many.
    ReachedMaxRestartIntensity {
        /// The child's id.
        child: Arc<str>,
        /// Why it ended the last time.
        reason: ExitReason,
    },
}

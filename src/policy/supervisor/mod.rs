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

mod child;
mod core;
mod reload;
mod request;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use child::{ChildKey, ChildSpec, ChildView, Standing};
pub use core::Supervisor;
pub use request::{Reply, Request, RequestError, RequestId};

use crate::base::exit::ExitReason;
use crate::plan::{StartOrder, Strategy};

/// What all children of a supervisor have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Whom a child's end concerns.
    pub strategy: Strategy,
    /// How many restarts within `period` are tolerated.
    pub intensity: u32,
    /// The window restarts are counted in.
    pub period: Duration,
    /// How it treats the time between an effect and its completion.
    pub discipline: Discipline,
    /// What a failed first start means.
    pub first_start: FirstStart,
    /// What reaching the restart intensity means.
    pub at_limit: AtLimit,
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
    /// The parent's patience is at an end: kill every child.
    Kill,
    /// Time for another try at a failed restart; the machine sends this to itself.
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
    /// Ask a child to end; answered by `Exited`.
    Stop(Run),
    /// End a child without asking; answered by `Exited`.
    Kill(Run),
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
    /// A sibling's end concerns it.
    Sibling,
    /// Somebody asked for it.
    Request,
}

/// What a supervisor tells the world (OTP's supervisor reports).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A child that should run has ended by itself.
    ChildTerminated {
        /// The child's id.
        child: Arc<str>,
        /// Why.
        reason: ExitReason,
        /// Whether it is started again.
        restart: bool,
    },
    /// A start has failed.
    StartError {
        /// The child's id.
        child: Arc<str>,
        /// Why.
        reason: ExitReason,
    },
    /// One restart too many.
    ReachedMaxRestartIntensity {
        /// The child's id.
        child: Arc<str>,
        /// Why it ended the last time.
        reason: ExitReason,
    },
}

//! A child as its supervisor sees it.

use std::sync::Arc;

use super::request::RequestId;
use super::{Run, StartCause};
use crate::base::exit::ExitReason;
use crate::base::time::Mono;
use crate::plan::{RestartType, ShutdownTimeout};

/// A child's handle within its supervisor; never used again for another child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildKey(pub u32);

/// What a supervisor has to know about a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSpec {
    /// Its id, unique in its supervisor.
    pub id: Arc<str>,
    /// When it is started again.
    pub restart: RestartType,
    /// How long it may take to end when asked.
    pub shutdown: ShutdownTimeout,
    /// Whether it is a supervisor itself.
    pub supervisor: bool,
    /// Whether an operator keeps it stopped.
    pub held: bool,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no process.
    Down,
    /// It has no process because a restart failed; the next try is queued.
    Restarting,
    /// Told to start.
    Starting,
    /// Started.
    Up,
    /// Told to end.
    Stopping,
}

/// A child as shown to others (OTP's `which_children`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildView {
    /// Its handle.
    pub key: ChildKey,
    /// Its specification.
    pub spec: ChildSpec,
    /// Where it stands.
    pub standing: Standing,
    /// Why its supervisor gave it up, if it did.
    pub gave_up: Option<ExitReason>,
}

/// Whether a child should run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// It should run.
    Run,
    /// It should not, but its specification stays.
    Rest,
    /// It should not, and its specification goes.
    Remove,
}

/// Everything the machine knows about a child.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub(super) key: ChildKey,
    /// Its place: children start in rising and stop in falling order.
    pub(super) order: u32,
    pub(super) spec: ChildSpec,
    pub(super) incarnation: u64,
    pub(super) standing: Standing,
    pub(super) goal: Goal,
    /// It has to go down before it may come up again.
    pub(super) cycle: bool,
    /// Its start need not wait for those before it.
    pub(super) free: bool,
    /// Why it is to be started next.
    pub(super) cause: StartCause,
    pub(super) gave_up: Option<ExitReason>,
    /// When it is killed, while it is stopping.
    pub(super) kill_at: Option<Mono>,
    /// Its exit waits in the queue of a sequential supervisor.
    pub(super) exit_queued: bool,
    /// Who waits for it to be up.
    pub(super) on_up: Vec<RequestId>,
    /// Who waits for it to be down.
    pub(super) on_down: Vec<RequestId>,
}

impl Child {
    pub(super) fn new(key: ChildKey, order: u32, spec: ChildSpec) -> Self {
        Self {
            key,
            order,
            spec,
            incarnation: 0,
            standing: Standing::Down,
            goal: Goal::Run,
            cycle: false,
            free: false,
            cause: StartCause::First,
            gave_up: None,
            kill_at: None,
            exit_queued: false,
            on_up: Vec::new(),
            on_down: Vec::new(),
        }
    }

    pub(super) fn run(&self) -> Run {
        Run { child: self.key, incarnation: self.incarnation }
    }

    pub(super) fn view(&self) -> ChildView {
        ChildView { key: self.key, spec: self.spec.clone(), standing: self.standing, gave_up: self.gave_up.clone() }
    }

    /// Whether it should be up, now or as soon as it is its turn.
    pub(super) fn wanted(&self) -> bool {
        self.goal == Goal::Run && !self.spec.held && self.gave_up.is_none()
    }

    pub(super) fn has_process(&self) -> bool {
        matches!(self.standing, Standing::Starting | Standing::Up | Standing::Stopping)
    }

    pub(super) fn to_start(&self) -> bool {
        self.wanted() && self.standing == Standing::Down
    }

    pub(super) fn to_stop(&self) -> bool {
        (!self.wanted() || self.cycle) && matches!(self.standing, Standing::Starting | Standing::Up)
    }
}

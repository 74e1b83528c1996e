//! A child as its supervisor sees it.

use std::sync::Arc;
use std::time::Duration;

use super::request::RequestId;
use super::{Run, StartCause};
use crate::base::choice::RestartType;
use crate::base::exit::ExitReason;
use crate::base::shutdown::ShutdownTimeout;
use crate::base::time::Mono;

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
    /// Whether its end may end its supervisor: see [`AutoShutdown`](super::AutoShutdown).
    pub significant: bool,
    /// Whether an operator keeps it stopped.
    pub held: bool,
}

impl ChildSpec {
    /// OTP's defaults for a worker: permanent, 5 seconds to end when asked.
    #[must_use]
    pub fn worker(id: impl Into<Arc<str>>) -> Self {
        let shutdown = ShutdownTimeout::After(Duration::from_secs(5));
        Self { id: id.into(), restart: RestartType::Permanent, shutdown, supervisor: false, significant: false, held: false }
    }

    /// OTP's defaults for a supervisor: permanent, as long to end as it takes.
    #[must_use]
    pub fn supervisor(id: impl Into<Arc<str>>) -> Self {
        Self { shutdown: ShutdownTimeout::Infinity, supervisor: true, ..Self::worker(id) }
    }
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
    /// Counts its starts.
    pub incarnation: u64,
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
    /// The latest incarnation that was up.
    pub(super) was_up: u64,
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
    /// How it ended, while that is still to be dealt with: its exit waits in the queue of a sequential supervisor, or a failed
    /// restart waits for the next try.
    pub(super) ended: Option<ExitReason>,
    /// Somebody asked for it to be added, and it has not been up yet: if its start fails, its specification goes.
    pub(super) fresh: bool,
    /// It was killed; [`Child::kill_at`] now is when that should have worked.
    pub(super) killed: bool,
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
            was_up: 0,
            standing: Standing::Down,
            goal: Goal::Run,
            cycle: false,
            free: false,
            cause: StartCause::First,
            gave_up: None,
            kill_at: None,
            ended: None,
            fresh: false,
            killed: false,
            on_up: Vec::new(),
            on_down: Vec::new(),
        }
    }

    pub(super) fn run(&self) -> Run {
        Run { child: self.key, incarnation: self.incarnation }
    }

    pub(super) fn view(&self) -> ChildView {
        ChildView {
            key: self.key,
            incarnation: self.incarnation,
            spec: self.spec.clone(),
            standing: self.standing,
            gave_up: self.gave_up.clone(),
        }
    }

    /// Whether it should be up, now or as soon as it is its turn.
    pub(super) fn wanted(&self) -> bool {
        self.goal == Goal::Run && !self.spec.held && self.gave_up.is_none()
    }

    /// Whether its supervisor expects it to end so when it is stopped.
    pub(super) fn may_end(&self, reason: &ExitReason) -> bool {
        let brutal = self.spec.shutdown == ShutdownTimeout::BrutalKill;
        let permanent = self.spec.restart == RestartType::Permanent;
        match reason {
            ExitReason::Killed => brutal,
            ExitReason::Shutdown => !brutal || !permanent,
            ExitReason::Normal | ExitReason::ShutdownWith(_) => !permanent,
            ExitReason::Error(_) => false,
        }
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

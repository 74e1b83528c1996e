//! The supervisors of a plan as the machine takes them: the one place that says so, for the daemon and for the simulator.

use super::{AtLimit, ChildSpec, Discipline, FirstStart, Flags};
use crate::base::id::SupervisorId;
use crate::plan::{Child, OnRootFailure, Plan, ShutdownTimeout};

/// The flags of a supervisor of the plan.
///
/// # Panics
/// The plan has no such supervisor.
#[must_use]
pub fn flags_of(plan: &Plan, id: &SupervisorId) -> Flags {
    let supervisor = &plan.supervisors[id];
    let keep = *id == plan.root && plan.daemon.on_root_failure == OnRootFailure::Keep;
    Flags {
        intensity: supervisor.intensity,
        period: supervisor.period,
        discipline: Discipline::Concurrent(supervisor.start),
        first_start: FirstStart::Retry,
        auto_shutdown: supervisor.auto_shutdown,
        at_limit: match supervisor.retry_after {
            Some(delay) => AtLimit::RetryAfter(delay),
            None if keep => AtLimit::Keep,
            None => AtLimit::Terminate,
        },
        ..Flags::otp(supervisor.strategy)
    }
}

/// A child of the plan; `held`: an operator keeps it stopped.
///
/// # Panics
/// The plan has no such child.
#[must_use]
pub fn child_of(plan: &Plan, child: &Child, held: bool) -> ChildSpec {
    match child {
        Child::Unit(id) => {
            // The unit's own machine sees to signal, timeout and kill.
            let shutdown = ShutdownTimeout::Infinity;
            let unit = &plan.units[id];
            ChildSpec { restart: unit.restart.kind, shutdown, significant: unit.significant, held, ..ChildSpec::worker(id.as_str()) }
        }
        Child::Supervisor(id) => {
            let supervisor = &plan.supervisors[id];
            let shutdown = supervisor.shutdown.map_or(ShutdownTimeout::Infinity, ShutdownTimeout::After);
            let (restart, significant) = (supervisor.restart, supervisor.significant);
            ChildSpec { restart, shutdown, significant, held, ..ChildSpec::supervisor(id.as_str()) }
        }
    }
}

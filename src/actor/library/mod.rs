//! The library: supervision of actors, futures, closures on threads and OS processes, all alike.
//!
//! A specification ([`ChildSpec`], [`SupervisorSpec`]) says how a child is started and what its end means; [`SupervisorSpec::start`]
//! makes a running tree of it, and [`SupervisorRef`] is the handle on that. [`DynamicSupervisor`] starts children on request,
//! [`Partitions`] several of the same kind. A [`Name`] finds the actor behind it whatever incarnation it is in, and a [`Handover`]
//! passes on what is meant to outlive one.

mod actor;
mod breaker;
mod child;
mod dynamic;
mod handle;
mod handover;
mod incarnation;
mod info;
mod name;
mod nested;
mod partition;
mod probe;
mod process;
mod report;
mod spec;
mod task;
mod thread;

pub use breaker::{BreakerError, BreakerPermit, CircuitBreaker};
pub use child::ChildSpec;
pub use dynamic::DynamicSupervisor;
pub(crate) use handle::ChildHandle;
pub use handle::{Child, ChildRef, SupervisorRef};
pub use handover::Handover;
pub use incarnation::Ignore;
pub use info::{ChildInfo, ChildState};
pub use name::{CallError, Name, NotRunning};
#[cfg(feature = "daemon")]
pub(crate) use nested::spawn_nested;
pub use partition::Partitions;
pub use probe::Probe;
pub use process::ProcessSpec;
pub use report::{Missed, Reports, SupervisorEvent, SupervisorReport};
pub use spec::{StartError, SupervisorSpec};
pub use task::TaskContext;
pub use thread::ThreadContext;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

//! Actors that carry the machines: they feed them inputs and carry out effects; they decide nothing.

#[cfg(feature = "daemon")]
pub(crate) mod confinement;
#[cfg(feature = "daemon")]
pub mod context;
#[cfg(feature = "daemon")]
pub mod degradation;
mod driver;
#[cfg(feature = "daemon")]
pub mod gate;
#[cfg(feature = "daemon")]
pub mod graph;
mod guard;
#[cfg(feature = "daemon")]
pub mod health;
mod library;
#[cfg(feature = "daemon")]
pub mod limits;
#[cfg(feature = "daemon")]
pub mod logs;
#[cfg(feature = "daemon")]
pub mod observer;
mod orders;
#[cfg(feature = "daemon")]
pub mod prober;
#[cfg(feature = "daemon")]
pub mod program;
#[cfg(feature = "daemon")]
pub mod recorder;
#[cfg(feature = "daemon")]
pub mod remediator;
#[cfg(feature = "daemon")]
pub mod resignation;
#[cfg(feature = "daemon")]
pub mod search;
mod supervisor;
#[cfg(feature = "daemon")]
pub mod tree;
#[cfg(feature = "daemon")]
mod unit;
#[cfg(feature = "daemon")]
pub mod wishes;

pub use library::{
    BoxError, BreakerError, BreakerPermit, CallError, Child, ChildInfo, ChildRef, ChildSpec, ChildState, CircuitBreaker, DynamicSupervisor,
    Handover, Ignore, Missed, Name, NotRunning, Partitions, Probe, ProcessSpec, Reports, StartError, SupervisorEvent, SupervisorRef,
    SupervisorReport, SupervisorSpec, TaskContext, ThreadContext,
};

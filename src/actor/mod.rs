//! Actors that carry the machines: they feed them inputs and carry out effects; they decide nothing.

pub mod context;
mod driver;
pub mod gate;
mod library;
pub mod logs;
mod orders;
pub mod recorder;
mod supervisor;
pub mod tree;
mod unit;

pub use library::{
    BoxError, CallError, Child, ChildInfo, ChildRef, ChildSpec, ChildState, DynamicSupervisor, Handover, Ignore, Missed, Name, NotRunning,
    Partitions, ProcessSpec, Reports, StartError, SupervisorEvent, SupervisorRef, SupervisorReport, SupervisorSpec, TaskContext,
    ThreadContext,
};

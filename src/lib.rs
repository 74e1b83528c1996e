//! An Erlang/OTP supervision tree for Rust actors, futures and OS processes, and the `ms-supervisor` daemon built on it.
//!
//! A *supervisor* starts its children in order, restarts those that end when they should not, and stops all in reverse order. What a
//! child's end means is declared, not programmed: the [`Strategy`] says whom it concerns, the [`RestartType`] whether the child
//! comes back, the restart *intensity* when the supervisor gives up and leaves the decision to its own supervisor. The rules are
//! those of OTP's [`supervisor`](https://www.erlang.org/doc/apps/stdlib/supervisor.html).
//!
//! Defaults are OTP's: children are permanent and have 5 seconds to end when asked; more than one restart within 5 seconds is one
//! too many. An actor in blocking code cannot be killed before it returns: put blocking work on a thread or in a process.
//!
//! ```
//! use ms_supervisor::{ChildSpec, Strategy, SupervisorSpec, TaskContext};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ChildSpec::task("clock", |task: TaskContext| async move {
//!     // Work until the supervisor asks to end; an error or a panic would be a reason to start again.
//!     task.shutdown_requested().await;
//!     Ok(())
//! });
//! let root = SupervisorSpec::new(Strategy::OneForOne).child(clock).start().await?;
//! assert!(root.which_children().await?[0].is_running());
//! root.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The modules below are the daemon's; ARCHITECTURE.md is their map. The library's face is what is re-exported here.

pub mod actor;
pub mod api;
pub mod base;
pub mod cli;
pub mod daemon;
pub mod event;
pub mod launcher;
pub mod os;
pub mod plan;
pub mod policy;
mod sim;
pub mod sink;
pub mod spec;
pub mod store;

pub use actor::{
    BoxError, CallError, Child, ChildInfo, ChildRef, ChildSpec, ChildState, DynamicSupervisor, Handover, Ignore, Missed, Name, NotRunning,
    Partitions, ProcessSpec, Reports, StartError, SupervisorRef, SupervisorReport, SupervisorSpec, TaskContext, ThreadContext,
};
pub use base::exit::ExitReason;
pub use plan::{RestartType, ShutdownTimeout, Strategy};
pub use policy::supervisor::{AutoShutdown, ChildCounts, Report, RequestError, SpecError};
pub use ractor::{Actor, ActorProcessingErr, ActorRef};

//! An Erlang/OTP supervision tree for Rust actors, futures, threads and OS processes, and the `ms-supervisor` daemon built on it.
//!
//! # What it is for
//!
//! Whatever runs for long fails some day in a way nobody thought of. A *supervisor* does not try to understand how: it starts its
//! children in order, starts those again that end when they should not, with a clean state, and stops all in reverse order. What a
//! child's end means is declared, not programmed: the [`Strategy`] says whom it concerns, the [`RestartType`] whether the child
//! comes back, the restart *intensity* when the supervisor gives up and leaves the decision to its own supervisor. Supervisors are
//! children too, and so make a tree.
//!
//! The rules are those of OTP's [`supervisor`](https://www.erlang.org/doc/apps/stdlib/supervisor.html), shown by running both: see
//! [`SupervisorSpec`] for them, and `tests/otp/RULES.md` for the test of each and for what differs.
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | none | the machine that decides, [`policy::supervisor`]: no tokio, no ractor |
//! | `library` | supervision of actors, futures, threads and processes |
//! | `daemon` (default) | the program and everything it needs |
//!
//! As a library: `ms-supervisor = { version = "0.1", default-features = false, features = ["library"] }`.
//!
//! # Defaults
//!
//! OTP's: children are permanent, and have 5 seconds to end when asked, supervisors as long as it takes; more than one restart within 5
//! seconds is one too many.
//!
//! # Warnings
//!
//! * Code that blocks a thread of the runtime cannot be killed before it returns: put it into [`ChildSpec::thread`] or
//!   [`ChildSpec::process`].
//! * Under `panic = "abort"` a panic ends the whole program, and no supervisor can help.
//! * A restart heals what a clean state heals. A child that cannot come up because the world is not ready should be up and retry.
//! * There is no global state: no registry, no ambient runtime. Everything runs on the tokio runtime [`SupervisorSpec::start`] is called in.
//!
//! # Which part
//!
//! | I want to … | → |
//! |---|---|
//! | declare a tree and start it | [`SupervisorSpec`] |
//! | supervise an actor, a future, a closure on a thread, a program | [`ChildSpec`] |
//! | talk to an actor whichever incarnation runs | [`Name`] |
//! | start children on request, many of a kind | [`DynamicSupervisor`] |
//! | spread keys over several actors | [`Partitions`] |
//! | pass something on to the next incarnation, on purpose | [`Handover`] |
//! | find a child that runs and is not well | [`Probe`], [`ChildSpec::probe`] |
//! | stop calling what fails, and try again later | [`CircuitBreaker`] |
//! | ask, stop, change a running tree | [`SupervisorRef`] |
//! | hear what happens in it | [`SupervisorRef::subscribe`], [`SupervisorSpec::observe`]; `tracing` spans and events besides |
//! | decide like a supervisor without tokio or ractor | [`policy::supervisor`] |
//!
//! # Example
//!
//! An actor, a future and a program under one supervisor. `examples/mixed_children.rs` has them fail and recover.
//!
//! ```
//! use std::time::Duration;
//! use ms_supervisor::{
//!     Actor, ActorProcessingErr, ActorRef, ChildSpec, Name, ProcessSpec, Strategy, SupervisorSpec, TaskContext,
//! };
//!
//! struct Log;
//!
//! impl Actor for Log {
//!     type Msg = String;
//!     type State = ();
//!     type Arguments = ();
//!
//!     async fn pre_start(&self, _: ActorRef<String>, (): ()) -> Result<(), ActorProcessingErr> {
//!         Ok(())
//!     }
//!
//!     async fn handle(&self, _: ActorRef<String>, line: String, (): &mut ()) -> Result<(), ActorProcessingErr> {
//!         println!("{line}");
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let log = Name::new("log");
//! let to_log = log.clone();
//! let beat = ChildSpec::task("beat", move |task: TaskContext| {
//!     let log = to_log.clone();
//!     async move {
//!         // An error or a panic here would be a reason to start again; `?` is enough.
//!         log.cast(format!("life {}", task.incarnation()))?;
//!         task.shutdown_requested().await;
//!         Ok(())
//!     }
//! });
//! let root = SupervisorSpec::new(Strategy::RestForOne)
//!     .intensity(3, Duration::from_secs(10))
//!     .child(ChildSpec::named_actor(&log, || (Log, ())))
//!     .child(beat)
//!     .child(ChildSpec::process("sleeper", ProcessSpec::new("sleep").argument("1000")))
//!     .start()
//!     .await?;
//! assert_eq!(root.count_children().await?.active, 3);
//! root.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! The modules below are the daemon's; ARCHITECTURE.md is their map. The library's face is what is re-exported here.

#[cfg(feature = "library")]
pub mod actor;
#[cfg(feature = "daemon")]
pub mod api;
pub mod base;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod event;
#[cfg(feature = "daemon")]
pub mod launcher;
#[cfg(feature = "library")]
pub mod os;
#[cfg(feature = "daemon")]
pub mod plan;
pub mod policy;
#[cfg(feature = "daemon")]
mod sim;
#[cfg(feature = "daemon")]
pub mod sink;
#[cfg(feature = "daemon")]
pub mod spec;
#[cfg(feature = "daemon")]
pub mod store;

#[cfg(feature = "library")]
pub use actor::{
    BoxError, BreakerError, BreakerPermit, CallError, Child, ChildInfo, ChildRef, ChildSpec, ChildState, CircuitBreaker, DynamicSupervisor,
    Handover, Ignore, Missed, Name, NotRunning, Partitions, Probe, ProcessSpec, Reports, StartError, SupervisorEvent, SupervisorRef,
    SupervisorReport, SupervisorSpec, TaskContext, ThreadContext,
};
pub use base::choice::{RestartType, Strategy};
pub use base::exit::ExitReason;
pub use base::outcome::{Outcome, Verdict};
pub use base::shutdown::ShutdownTimeout;
pub use policy::breaker::{BreakerPlan, BreakerState};
pub use policy::supervisor::{AutoShutdown, ChildCounts, Report, RequestError, SpecError};
#[cfg(feature = "library")]
pub use ractor::{Actor, ActorProcessingErr, ActorRef};

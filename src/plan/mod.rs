//! What is to run: resolved, immutable, comparable.
//!
//! [`resolve()`] turns declarations (`spec`) into a [`Plan`]; [`diff()`] says what changes between two plans.
//! Nothing here reads a file, a clock or the environment.

mod diff;
mod knot;
mod model;
mod order;
mod probe;
mod probing;
mod resolve;
mod response;
mod significant;
mod tree;
mod unit;

pub use diff::{Diff, SupervisorChange, UnitChange, diff, needs_restart};
pub use model::*;
pub use order::DEPENDENCIES_MAX;
pub use probe::{
    DatabaseProbe, DetectorKind, FileProbe, GrpcProbe, HostProbe, HttpProbe, LogProbe, NetworkProbe, ProbeKind, ProbePlan, ResourcesProbe,
    TcpProbe, TlsPlan, WatchdogPlan,
};
pub use resolve::{UNITS_MAX, resolve};
pub use response::{FailureCause, Response};

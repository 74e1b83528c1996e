//! What is to run: resolved, immutable, comparable.
//!
//! [`resolve()`] turns declarations (`spec`) into a [`Plan`]; [`diff()`] says what changes between two plans.
//! Nothing here reads a file, a clock or the environment.

mod diff;
mod knot;
mod model;
mod order;
mod probe;
mod resolve;
mod significant;
mod tree;
mod unit;

pub use diff::{Diff, SupervisorChange, UnitChange, diff, needs_restart};
pub use model::*;
pub use order::DEPENDENCIES_MAX;
pub use probe::{DetectorKind, ProbeKind, ProbePlan, WatchdogPlan};
pub use resolve::{UNITS_MAX, resolve};

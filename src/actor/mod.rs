//! Actors that carry the machines: they feed them inputs and carry out effects; they decide nothing.

mod child;
mod driver;
mod library;
mod process;
mod supervisor;

pub use child::TaskContext;
pub use library::{ChildInfo, ChildSpec, SpecError, StartError, SupervisorRef, SupervisorSpec};
pub use process::ProcessSpec;

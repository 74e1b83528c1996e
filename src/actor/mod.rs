//! Actors that carry the machines: they feed them inputs and carry out effects; they decide nothing.

mod child;
pub mod context;
mod driver;
pub mod gate;
mod library;
pub mod logs;
mod process;
pub mod recorder;
mod supervisor;
pub mod tree;
mod unit;

pub use child::{BoxError, TaskContext};
pub use library::{ChildInfo, ChildSpec, SpecError, StartError, SupervisorRef, SupervisorSpec};
pub use process::ProcessSpec;

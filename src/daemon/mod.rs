//! The composition root: what `run` becomes, and how the brain is put together. Wiring only.

mod brain;
mod control;
mod declarations;
mod faces;
mod greeting;
mod launch;
mod memory;
mod overrides;
mod past;
mod program;
mod set;
mod settings;
mod standing;

pub use brain::brain;
pub use launch::launch;
pub use settings::Settings;

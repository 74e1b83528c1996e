//! Facts in the past tense, and what can be read off them.

mod catalog;
mod counters;
mod envelope;
mod text;
mod view;
mod wish;

pub use catalog::{Event, RestartCause};
pub use counters::{BOUNDS, Counters, ExitLabel, Histogram};
pub use envelope::Envelope;
pub use text::event_text;
pub use view::{LastExit, SupervisorStatus, UnitStatus, View};
pub use wish::{Desired, StoreFailure, StoreRestored, StoreStatus, Wish};

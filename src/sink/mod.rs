//! Where events and states leave the process besides the API.

pub mod console;
pub mod journald;
pub mod metrics;

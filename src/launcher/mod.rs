//! The error kernel: a small, single-threaded process that holds every unit.

mod codec;
pub mod link;
pub mod wire;

//! The error kernel: a small, single-threaded process that holds every unit.

pub mod wire;

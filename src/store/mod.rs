//! The disk's edge: what has to outlive the process.
#![expect(clippy::disallowed_methods, reason = "this is where the disk is touched")]

mod database;
mod generations;
pub mod journal;
pub mod wishes;
mod writer;

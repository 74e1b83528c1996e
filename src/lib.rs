//! ms-supervisor: an Erlang/OTP supervision tree for Linux programs, and for Rust actors, futures and processes.

pub mod base;
pub mod launcher;
pub mod plan;
pub mod spec;

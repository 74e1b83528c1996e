//! ms-supervisor: an Erlang/OTP supervision tree for Linux programs, and for Rust actors, futures and processes.

pub mod actor;
pub mod api;
pub mod base;
pub mod cli;
pub mod daemon;
pub mod event;
pub mod launcher;
pub mod os;
pub mod plan;
pub mod policy;
pub mod sink;
pub mod spec;
pub mod store;

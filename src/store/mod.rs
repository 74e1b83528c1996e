//! The disk's edge: what has to outlive the process.

pub mod journal;

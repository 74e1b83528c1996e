//! The kernel edge.

pub mod clock;

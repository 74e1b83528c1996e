//! The kernel's edge: clocks, processes, signals, sockets. Nothing here decides anything.

pub mod clock;
pub mod notify;
pub mod process;
pub mod signal;

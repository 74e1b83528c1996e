//! The kernel's edge: everything that touches files, processes, sockets and users of this machine.
//!
//! Mechanism only; nothing here decides. Calls block unless they are `async`.
#![expect(clippy::disallowed_methods, reason = "this is where the machine is touched")]

pub mod clock;
pub mod environment;
pub mod inherited;
pub mod lock;
pub mod logfile;
pub mod notify;
pub mod paths;
pub mod probe;
pub mod process;
pub mod pump;
pub mod sample;
pub mod sd_notify;
pub mod signal;
pub mod users;

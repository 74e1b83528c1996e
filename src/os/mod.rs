//! The kernel's edge: everything that touches files, processes, sockets and users of this machine.
//!
//! Mechanism only; nothing here decides. Calls block unless they are `async`.
#![cfg_attr(feature = "daemon", expect(clippy::disallowed_methods, reason = "this is where the machine is touched"))]

#[cfg(feature = "daemon")]
pub mod archiver;
#[cfg(feature = "daemon")]
pub mod cgroup;
#[cfg(feature = "daemon")]
pub mod check;
pub mod clock;
#[cfg(feature = "daemon")]
pub mod environment;
#[cfg(feature = "daemon")]
pub mod evidence;
#[cfg(feature = "daemon")]
pub mod inherited;
#[cfg(feature = "daemon")]
pub mod last_words;
#[cfg(feature = "daemon")]
pub mod lock;
#[cfg(feature = "daemon")]
pub mod logfile;
#[cfg(feature = "daemon")]
pub mod memory;
#[cfg(feature = "daemon")]
pub mod notify;
#[cfg(feature = "daemon")]
pub mod paths;
#[cfg(feature = "daemon")]
pub mod pid_file;
#[cfg(feature = "daemon")]
pub mod pin;
#[cfg(feature = "daemon")]
pub mod pressure;
#[cfg(feature = "daemon")]
pub mod probe;
#[cfg(feature = "daemon")]
pub mod process;
#[cfg(feature = "daemon")]
pub mod pump;
#[cfg(feature = "daemon")]
pub mod sample;
#[cfg(feature = "daemon")]
pub mod script;
#[cfg(feature = "daemon")]
pub mod sd_notify;
#[cfg(feature = "daemon")]
pub mod search;
#[cfg(feature = "daemon")]
pub mod signal;
#[cfg(feature = "daemon")]
pub mod timekeeping;
#[cfg(feature = "daemon")]
pub mod users;
#[cfg(feature = "daemon")]
pub mod webhook;

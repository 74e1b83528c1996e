//! Words everything else is made of: names, choices, time, quantities, exits, chance.
//!
//! Nothing here reads a clock, a file or the environment.

pub mod breaker;
pub mod choice;
#[cfg(feature = "daemon")]
pub mod command;
#[cfg(feature = "daemon")]
pub mod cpus;
pub mod exit;
#[cfg(feature = "daemon")]
pub mod finding;
pub mod id;
#[cfg(feature = "daemon")]
pub mod identity;
#[cfg(feature = "daemon")]
pub mod isolation;
#[cfg(feature = "daemon")]
pub mod limit;
pub mod outcome;
pub mod pressure;
pub mod quantity;
pub mod rng;
#[cfg(feature = "daemon")]
pub mod scheduling;
#[cfg(feature = "daemon")]
pub mod secret;
pub mod shutdown;
pub mod text;
#[cfg(feature = "daemon")]
pub mod tier;
pub mod time;

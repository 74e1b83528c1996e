//! Words everything else is made of: names, choices, time, quantities, exits, chance.
//!
//! Nothing here reads a clock, a file or the environment.

pub mod breaker;
pub mod choice;
pub mod exit;
pub mod id;
#[cfg(feature = "daemon")]
pub mod identity;
pub mod outcome;
pub mod pressure;
pub mod quantity;
pub mod rng;
pub mod shutdown;
pub mod time;

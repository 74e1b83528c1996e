//! Words everything else is made of: names, time, quantities, exits, chance.
//!
//! Nothing here reads a clock, a file or the environment.

pub mod exit;
pub mod id;
pub mod quantity;
pub mod rng;
pub mod time;

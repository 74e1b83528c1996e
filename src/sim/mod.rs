//! Simulation: the machines of `policy` in virtual time, as trees, under faults, with their rules checked after every step.
//!
//! Nothing here reads a clock, a file or chance: the same case gives the same trace, byte for byte. A case is data ([`case::Case`]), so
//! that one that fails can be made small ([`shrink`]). What is checked is kept in books of its own ([`check`]), from what goes into a
//! supervisor machine and what comes out of it. [`forecast`] does the same with a declared tree and the units' own machines.

pub(crate) mod case;
pub(crate) mod check;
pub(crate) mod fault;
pub(crate) mod forecast;
mod random;
pub(crate) mod script;
pub(crate) mod shrink;
mod timeline;
mod trace;
pub(crate) mod world;

#[cfg(test)]
mod tests;

pub(crate) use case::Case;
pub(crate) use world::run;

//! The real daemon with real programs: what an operator sees.

mod aggregation;
pub(crate) mod bench;
mod breaker;
mod degradation;
mod dependencies;
mod doctor;
mod faults;
mod forking;
mod graph;
mod isolation;
mod launcher_death;
mod layers;
mod lifecycle;
mod limits;
mod logs;
mod metrics;
mod older;
mod partition;
mod pause;
mod probes;
mod programs;
mod readiness;
mod reload;
mod remediation;
mod secrets;
mod set;
mod shipped;
mod survival;
mod tree;
mod upgrade;
mod watched;
mod wishes;

pub(crate) use bench::{Daemon, is_alive, until};

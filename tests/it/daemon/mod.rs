//! The real daemon with real programs: what an operator sees.

mod bench;
mod faults;
mod lifecycle;
mod readiness;
mod reload;
mod survival;
mod tree;

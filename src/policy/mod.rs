//! Every decision, as pure state machines.
//!
//! No async, files, processes, threads, clocks, chance of their own or unordered maps: time and random numbers come in
//! as arguments, effects go out as values. Actors carry the machines; the simulator runs the same ones in virtual time.

#[cfg(feature = "daemon")]
pub mod adjust;
#[cfg(feature = "daemon")]
pub mod aggregate;
#[cfg(feature = "daemon")]
pub mod backoff;
pub mod breaker;
#[cfg(feature = "daemon")]
pub mod budget;
#[cfg(feature = "daemon")]
pub mod degradation;
#[cfg(feature = "daemon")]
pub mod detector;
#[cfg(feature = "daemon")]
pub mod episode;
#[cfg(feature = "library")]
pub mod health;
#[cfg(feature = "daemon")]
pub mod hearing;
pub mod intensity;
#[cfg(feature = "daemon")]
pub mod lifecycle;
#[cfg(feature = "daemon")]
pub mod observer;
#[cfg(feature = "daemon")]
pub mod pace;
#[cfg(feature = "daemon")]
pub mod places;
#[cfg(feature = "daemon")]
pub mod pool;
#[cfg(feature = "daemon")]
pub mod remediation;
#[cfg(feature = "daemon")]
pub mod retention;
#[cfg(feature = "daemon")]
pub mod spacing;
#[cfg(feature = "daemon")]
pub mod strain;
pub mod supervisor;
#[cfg(feature = "daemon")]
pub mod throttle;
#[cfg(feature = "daemon")]
pub mod watch;

use crate::base::time::Mono;

/// The one shape of a decision.
pub trait Machine {
    /// What happens to it.
    type Input;
    /// What it wants done.
    type Effect;

    /// Takes note of `input` at `now` and appends what is to be done to `out`.
    fn step(&mut self, now: Mono, input: Self::Input, out: &mut Vec<Self::Effect>);

    /// When it wants [`Machine::wake`] to be called, if nothing happens before.
    fn deadline(&self) -> Option<Mono>;

    /// Tells it that its deadline has passed. Calling it early does nothing.
    fn wake(&mut self, now: Mono, out: &mut Vec<Self::Effect>);
}

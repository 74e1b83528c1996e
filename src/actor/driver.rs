//! Runs a machine under an actor: the clock, the timer and the effect buffer.

use std::time::Duration;

use ractor::{ActorRef, Message};
use tokio::task::AbortHandle;

use crate::base::time::Mono;
use crate::os::clock::RuntimeClock;
use crate::policy::Machine;

/// A machine with its timer. The owner calls [`Driver::step`] for each input and [`Driver::wake`] for each wake-up message.
#[derive(Debug)]
pub(crate) struct Driver<M> {
    /// The machine.
    pub(crate) machine: M,
    timer: Option<(Mono, AbortHandle)>,
    clock: RuntimeClock,
}

impl<M: Machine> Driver<M> {
    /// Drives `machine`.
    pub(crate) fn new(machine: M) -> Self {
        Self { machine, timer: None, clock: RuntimeClock::new() }
    }

    /// Feeds an input and returns what is to be done.
    pub(crate) fn step(&mut self, input: M::Input) -> Vec<M::Effect> {
        let mut out = Vec::new();
        self.machine.step(self.clock.now(), input, &mut out);
        out
    }

    /// Tells the machine that its deadline may have passed.
    pub(crate) fn wake(&mut self) -> Vec<M::Effect> {
        self.timer = None;
        let mut out = Vec::new();
        self.machine.wake(self.clock.now(), &mut out);
        out
    }

    /// Sees to it that `actor` gets `wake` at the machine's deadline. To be called after each step.
    pub(crate) fn arm<T: Message>(&mut self, actor: &ActorRef<T>, wake: fn() -> T) {
        let wanted = self.machine.deadline();
        // A timer that rings before the deadline is left alone: the machine ignores it, and it is set anew then. Most deadlines are
        // followed by a later one and never come.
        match (&self.timer, wanted) {
            (None, None) => return,
            (Some((at, _)), Some(wanted)) if *at <= wanted => return,
            (None | Some(_), _) => {}
        }
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
        if let Some(at) = wanted {
            // The timer counts whole milliseconds; one more, so that the deadline has passed when it rings.
            let delay = (at - self.clock.now()) + Duration::from_millis(1);
            let actor = actor.clone();
            let timer = tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                // An actor that is gone needs no wake-up.
                drop(actor.cast(wake()));
            });
            self.timer = Some((at, timer.abort_handle()));
        }
    }
}

impl<M> Drop for Driver<M> {
    fn drop(&mut self) {
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
    }
}

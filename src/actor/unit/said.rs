//! What the unit itself says, and what an operator says to it.

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{Msg, Unit};
use crate::base::exit::Signal;
use crate::event::Event;
use crate::launcher::wire::{Target, ToLauncher};
use crate::os::notify::Told;
use crate::plan::ReadinessKind;

impl Unit {
    /// Sends a signal for an operator. One that kills tells no lie: the exit then counts as any other.
    pub(super) fn signal(&self, signal: Signal, target: Target) {
        self.tell(Event::UnitSignalled { unit: self.id().clone(), signal });
        self.context.launcher.send(ToLauncher::Signal { unit: self.id().clone(), run: self.run, signal, target });
    }

    /// `done` is dropped once it is dealt with.
    pub(super) fn notices(&mut self, myself: &ActorRef<Msg>, told: Told, done: oneshot::Sender<()>) {
        if let Some(pid) = told.main_pid {
            self.named_main(pid, done);
        }
        if told.status.is_some() {
            self.change(|status| status.status = told.status);
        }
        if told.beat {
            self.beat(None);
        }
        if told.ready && self.plan.readiness.kind == ReadinessKind::Notify {
            self.told_ready(myself);
        }
        if told.trigger {
            self.called_for_help(myself);
        }
    }
}

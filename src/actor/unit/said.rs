//! What the unit itself says, and what an operator says to it.

use ractor::ActorRef;

use super::{Msg, Unit};
use crate::base::exit::Signal;
use crate::event::Event;
use crate::launcher::wire::{Target, ToLauncher};
use crate::os::notify::Notice;
use crate::plan::ReadinessKind;

impl Unit {
    /// Sends a signal for an operator. One that kills tells no lie: the exit then counts as any other.
    pub(super) fn signal(&self, signal: Signal, target: Target) {
        self.tell(Event::UnitSignalled { unit: self.id().clone(), signal });
        self.context.launcher.send(ToLauncher::Signal { unit: self.id().clone(), run: self.run, signal, target });
    }

    pub(super) fn notices(&mut self, myself: &ActorRef<Msg>, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Ready if self.plan.readiness.kind == ReadinessKind::Notify => self.told_ready(myself),
                Notice::Watchdog => self.beat(None),
                Notice::WatchdogTrigger => self.called_for_help(myself),
                Notice::MainPid(pid) => self.propose_main(pid),
                Notice::Status(text) => self.change(|status| status.status = Some(text)),
                _ => {}
            }
        }
    }
}

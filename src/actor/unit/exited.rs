//! The main process of a unit has ended.

use ractor::ActorRef;

use super::{Missed, Msg, Unit, exit_event, status};
use crate::launcher::wire::ToLauncher;
use crate::policy::lifecycle::{Input, State as Life};

impl Unit {
    pub(super) fn exited(&mut self, myself: &ActorRef<Msg>, Missed { exit, leftovers, reported }: Missed) {
        let life = self.driver.machine.state();
        let expected = matches!(life, Life::Stopping | Life::Killing);
        self.failed_at = (!expected).then_some(exit.at);
        self.process = None;
        self.note.ready = false;
        self.notify = None;
        self.listening = None;
        self.end_probes();
        self.succession.end();
        self.change(|status| status::exited(status, &exit));
        (self.note.handled, self.note.expected) = (self.run, expected);
        if reported {
            self.context.launcher.send(ToLauncher::Ack { unit: self.id().clone(), run: self.run });
        } else {
            self.tell(exit_event(self.id(), self.run, &exit, expected));
        }
        if let Some(why) = self.context.limits.exited(&self.context, self.id(), exit.cause) {
            self.step(myself, Input::OutOfMemory(why.into()));
        }
        self.step(myself, Input::Exited { cause: exit.cause, leftovers, cpu: exit.usage.user + exit.usage.system });
    }
}

//! What the unit binds to.

use ractor::ActorRef;
use tokio::task::AbortHandle;

use super::{Msg, Unit};
use crate::base::id::UnitId;
use crate::event::Event;
use crate::policy::lifecycle::Input;

/// Watches what a run binds to. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Binding(AbortHandle);

impl Drop for Binding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Unit {
    /// A process runs.
    pub(super) fn begin_binding(&mut self, myself: &ActorRef<Msg>) {
        self.binding = None;
        if self.plan.binds.is_empty() {
            return;
        }
        let (loss, actor, run) = (self.context.gates.loss(&self.plan.binds), myself.clone(), self.run);
        let watching = tokio::spawn(async move {
            let from = loss.await;
            drop(actor.cast(Msg::Unbound(run, from)));
        });
        self.binding = Some(Binding(watching.abort_handle()));
    }

    /// Something it binds to has gone down.
    pub(super) fn unbound(&mut self, myself: &ActorRef<Msg>, from: UnitId) {
        (self.binding, self.restarting) = (None, true);
        if self.process.is_some() {
            self.tell(Event::UnitUnbound { unit: self.id().clone(), from });
        }
        self.step(myself, Input::Unbound);
    }
}

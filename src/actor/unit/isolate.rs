//! Whether a unit is kept from what it is to be kept from, and what is told of that.

use ractor::ActorRef;

use super::prepare::Places;
use super::{Msg, Unit, secrets};
use crate::actor::confinement::{allowed, missing_words};
use crate::base::choice::FailureClass;
use crate::event::{Event, IsolationIncomplete, IsolationStatus};
use crate::launcher::wire::{Spawn, SpawnStep};
use crate::os::privileges;

/// What is known of a unit's walls.
#[derive(Debug, Default)]
pub(super) struct Isolated {
    /// What the latest run was told.
    pub(super) sums: Option<secrets::Sums>,
    /// The key of those.
    key: secrets::Key,
    /// The order for the latest run, without what is secret.
    sent: Option<Box<Spawn>>,
    /// What was missing when it was told last.
    told: Vec<String>,
}

impl Unit {
    pub(super) fn places(&self) -> Places {
        Places::new(&self.context, &self.plan, &self.supervisor(), self.isolated.key.clone())
    }

    /// This order goes out: what the process has to look like follows from it.
    pub(super) fn remember_order(&mut self, order: &Spawn) {
        self.isolated.sent = Some(Box::new(Spawn { environment: Vec::new(), secrets: Vec::new(), ..order.clone() }));
    }

    /// The order for the latest run, as far as it is known.
    pub(super) fn sent_order(&self) -> Option<&Spawn> {
        self.isolated.sent.as_deref()
    }

    /// A process was started: whether it dropped what it was to drop, and what could not be had.
    pub(super) fn isolated(&mut self, myself: &ActorRef<Msg>, pid: u32, missing: &[(SpawnStep, i32)]) {
        let words = missing_words(missing);
        let keys = self.plan.isolation.as_ref().map(|plan| plan.words().into_iter().map(str::to_owned).collect());
        self.change(|status| status.isolation = keys.map(|keys| IsolationStatus { keys, missing: words.clone() }));
        if words != self.isolated.told {
            if !words.is_empty() {
                self.tell(Event::IsolationIncomplete(IsolationIncomplete { unit: self.id().clone(), missing: words.clone() }));
            }
            self.isolated.told = words;
        }
        let Some(allowed) = self.sent_order().and_then(|order| allowed(order, missing)) else { return };
        let (actor, run) = (myself.clone(), self.run);
        tokio::spawn(async move {
            let verified = tokio::task::spawn_blocking(move || privileges::verify(pid, &allowed)).await;
            // Whoever cannot look does not know: a process that may do too much must not run on for that.
            if let Err(why) = verified.unwrap_or_else(|panic| Err(panic.to_string())) {
                let why = format!("it may do more than declared: {why}");
                drop(actor.cast(Msg::Unwell(run, FailureClass::Config, why, None)));
            }
        });
    }
}

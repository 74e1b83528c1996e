//! The actor of a unit, whether we run it or only watch it. A new plan may make the one out of the other, once it is down.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::watched::Watched;
use super::{Arguments, Msg, Note, Unit};
use crate::launcher::wire::ToLauncher;
use crate::plan::UnitPlan;

/// The actor.
pub(crate) struct UnitActor;

/// The actor's state.
pub(crate) enum State {
    /// We run it.
    Own(Box<Unit>),
    /// Somebody else does.
    Watched(Box<Watched>),
}

impl Actor for UnitActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        Ok(match arguments.plan.watch {
            None => State::Own(Box::new(Unit::begun(&myself, arguments))),
            Some(_) => State::Watched(Box::new(Watched::begun(arguments))),
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let next = match &message {
            Msg::Start(..) => state.next_plan().cloned(),
            Msg::Replan(plan, _) => Some(plan.clone()).filter(|_| state.is_down()),
            _ => None,
        };
        if let Some(plan) = next {
            state.become_other(&myself, plan);
        }
        match state {
            State::Own(unit) => unit.take(&myself, message),
            State::Watched(watched) => watched.take(&myself, message),
        }
        if state.is_retired() && state.is_down() {
            state.leave();
            myself.stop(None);
        }
        Ok(())
    }
}

impl State {
    /// A plan that waits for the next start.
    fn next_plan(&self) -> Option<&Arc<UnitPlan>> {
        let next = match self {
            Self::Own(unit) => unit.next_plan.as_ref(),
            Self::Watched(watched) => watched.next_plan.as_ref(),
        };
        next.filter(|_| self.is_down())
    }

    /// Begins anew under `plan`, if that has another one start it. What operators asked for and what is counted stays.
    fn become_other(&mut self, myself: &ActorRef<Msg>, plan: Arc<UnitPlan>) {
        let (context, entry, note) = match self {
            Self::Own(unit) if plan.watch.is_some() => (&unit.context, &unit.entry, &unit.note),
            Self::Watched(watched) if plan.watch.is_none() => (&watched.context, &watched.entry, &watched.note),
            Self::Own(_) | Self::Watched(_) => return,
        };
        let context = context.clone();
        let note = Note { held: note.held, wish: note.wish.clone(), restarts: note.restarts, ..Note::default() };
        let supervisor = entry.lock().unwrap_or_else(std::sync::PoisonError::into_inner).supervisor.clone();
        let is_watched = plan.watch.is_some();
        // Of its runs nothing is left.
        context.launcher.send(ToLauncher::Forget { unit: plan.id.clone() });
        let arguments = Arguments { context, plan, supervisor, held: None, wanted: true };
        *self = if is_watched {
            let mut watched = Watched::begun(arguments);
            watched.note = note;
            Self::Watched(Box::new(watched))
        } else {
            let mut unit = Unit::begun(myself, arguments);
            unit.note = note;
            unit.remember();
            Self::Own(Box::new(unit))
        };
    }

    fn is_down(&self) -> bool {
        match self {
            Self::Own(unit) => unit.is_down(),
            Self::Watched(watched) => watched.is_down(),
        }
    }

    fn is_retired(&self) -> bool {
        match self {
            Self::Own(unit) => unit.retired,
            Self::Watched(watched) => watched.retired,
        }
    }

    fn leave(&self) {
        match self {
            Self::Own(unit) => unit.leave(),
            Self::Watched(watched) => watched.leave(),
        }
    }
}

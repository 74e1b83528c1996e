//! Children that are ractor actors, each owned by one task that watches it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tracing::Instrument as _;

use super::BoxError;
use super::incarnation::{Ignore, Incarnation, panic_reason, reason_of};
use super::name::Name;
use crate::actor::orders::Order;
use crate::actor::supervisor::Begun;
use crate::base::exit::ExitReason;

/// Starts an actor: it is up when its `pre_start` has returned.
pub(super) fn start_actor<A>(
    life: Incarnation,
    name: Option<Name<A::Msg>>,
    make: impl FnOnce() -> (A, A::Arguments) + Send + 'static,
) -> Begun
where
    A: Actor,
{
    let span = life.span();
    tokio::spawn(run(life, name, make).instrument(span));
    Begun::Later
}

async fn run<A>(life: Incarnation, name: Option<Name<A::Msg>>, make: impl FnOnce() -> (A, A::Arguments))
where
    A: Actor,
{
    let end = Arc::new(Mutex::new(End::Open));
    let spawn = async {
        let (actor, arguments) = make();
        Actor::spawn(None, Watched { actor, end: end.clone() }, arguments).await
    };
    let started = tokio::select! {
        started = AssertUnwindSafe(spawn).catch_unwind() => started,
        () = life.orders.wait(Order::Kill) => return life.failed(ExitReason::Killed),
    };
    let (actor, mut task) = match started {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => return refused(life, error, &end),
        Err(panic) => return life.failed(panic_reason(&*panic)),
    };
    if let Some(name) = &name {
        name.set(Some(actor.clone()));
    }
    life.port.started();
    tokio::select! {
        _ = &mut task => {}
        () = life.orders.wait(Order::Stop) => {
            if !life.orders.given(Order::Kill) {
                actor.stop(None);
            }
            tokio::select! {
                _ = &mut task => {}
                () = life.orders.wait(Order::Kill) => {
                    actor.kill();
                    // For a kill is not heard in `post_stop`. Both take hold at the next await; until then it is there.
                    task.abort();
                    drop(task.await);
                }
            }
        }
    }
    if let Some(name) = &name {
        name.set(None);
    }
    // The task has ended, and with it the state is gone: resources are free before a successor starts.
    let end = std::mem::replace(&mut *end.lock().unwrap_or_else(PoisonError::into_inner), End::Open);
    let reason = match end {
        End::Failed(reason) => reason,
        End::Orderly if life.orders.given(Order::Stop) => ExitReason::Shutdown,
        End::Orderly => ExitReason::Normal,
        End::Open => ExitReason::Killed,
    };
    life.ended(reason);
}

fn refused(life: Incarnation, error: SpawnErr, end: &Mutex<End>) {
    match std::mem::replace(&mut *end.lock().unwrap_or_else(PoisonError::into_inner), End::Open) {
        End::Failed(ExitReason::Normal) => life.refused(Ignore.into()),
        End::Failed(reason) => life.failed(reason),
        End::Open | End::Orderly => life.failed(ExitReason::error(error)),
    }
}

/// How an actor has ended so far.
#[derive(Debug)]
enum End {
    /// Nothing is known: if its task ends now, it was killed.
    Open,
    /// Its `post_stop` was called.
    Orderly,
    /// It failed; of a start, `Normal` stands for [`Ignore`].
    Failed(ExitReason),
}

/// An actor whose errors and panics are noted: ractor tells them to linked supervisors only, and ours is not linked
/// (its links kill whole subtrees at once, in no order).
struct Watched<A> {
    actor: A,
    end: Arc<Mutex<End>>,
}

impl<A> Watched<A> {
    /// Awaits `work` and notes how it failed, if it did.
    async fn watch<T>(&self, work: impl Future<Output = Result<T, ActorProcessingErr>> + Send) -> Result<T, ActorProcessingErr> {
        let reason = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) if error.is::<Ignore>() => ExitReason::Normal,
            Ok(Err(error)) => reason_of(error),
            Err(panic) => panic_reason(&*panic),
        };
        let error: BoxError = reason.to_string().into();
        self.note(End::Failed(reason));
        Err(error)
    }

    fn note(&self, end: End) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

impl<A: Actor> Actor for Watched<A> {
    type Msg = A::Msg;
    type State = A::State;
    type Arguments = A::Arguments;

    async fn pre_start(&self, myself: ActorRef<A::Msg>, arguments: A::Arguments) -> Result<A::State, ActorProcessingErr> {
        self.watch(self.actor.pre_start(myself, arguments)).await
    }

    async fn post_start(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.post_start(myself, state)).await
    }

    async fn handle(&self, myself: ActorRef<A::Msg>, message: A::Msg, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.handle(myself, message, state)).await
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<A::Msg>,
        event: SupervisionEvent,
        state: &mut A::State,
    ) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.handle_supervisor_evt(myself, event, state)).await
    }

    async fn post_stop(&self, myself: ActorRef<A::Msg>, state: &mut A::State) -> Result<(), ActorProcessingErr> {
        self.watch(self.actor.post_stop(myself, state)).await?;
        self.note(End::Orderly);
        Ok(())
    }
}

//! Children that are ractor actors, each owned by one task that watches it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::BoxError;
use super::incarnation::{Ignore, Incarnation, panic_reason, reason_of};
use super::name::Name;
use crate::actor::orders::Order;
use crate::actor::supervisor::Begun;
use crate::base::exit::ExitReason;

/// Starts an actor: it is up when its `pre_start` has returned.
///
/// Most need nothing to wait for, and are up before this returns: no other task has to be woken for them.
pub(super) fn start_actor<A>(
    life: Incarnation,
    name: Option<Name<A::Msg>>,
    make: impl FnOnce() -> (A, A::Arguments) + Send + 'static,
) -> Begun
where
    A: Actor,
{
    let span = life.span();
    let end = Arc::new(Mutex::new(End::Open));
    let noted = end.clone();
    let spawn = async move {
        let (actor, arguments) = make();
        Actor::spawn(None, Watched { actor, end: noted }, arguments).await
    };
    let mut spawn = Box::pin(AssertUnwindSafe(spawn).catch_unwind());
    if let Some(spawned) = span.in_scope(|| spawn.as_mut().now_or_never()) {
        let Some((life, running)) = begun(life, name, end, spawned) else { return Begun::Later };
        tokio::spawn(running.attend(life).instrument(span));
        return Begun::Up;
    }
    let wait = async move {
        let spawned = tokio::select! {
            spawned = spawn => spawned,
            () = life.orders.wait(Order::Kill) => return life.failed(ExitReason::Killed),
        };
        if let Some((life, running)) = begun(life, name, end, spawned) {
            life.started();
            running.attend(life).await;
        }
    };
    tokio::spawn(wait.instrument(span));
    Begun::Later
}

type Spawned<M> = Result<Result<(ActorRef<M>, JoinHandle<()>), SpawnErr>, Box<dyn Any + Send>>;

/// The actor, if it is up; if not, its supervisor is told.
fn begun<M: Message>(
    life: Incarnation,
    name: Option<Name<M>>,
    end: Arc<Mutex<End>>,
    spawned: Spawned<M>,
) -> Option<(Incarnation, Running<M>)> {
    match spawned {
        Ok(Ok((actor, task))) => {
            if let Some(name) = &name {
                name.set(Some(actor.clone()));
            }
            Some((life, Running { actor, task, name, end }))
        }
        Ok(Err(error)) => {
            refused(life, error, &end);
            None
        }
        Err(panic) => {
            life.failed(panic_reason(&*panic));
            None
        }
    }
}

/// An actor that is up.
struct Running<M: Message> {
    actor: ActorRef<M>,
    task: JoinHandle<()>,
    name: Option<Name<M>>,
    end: Arc<Mutex<End>>,
}

impl<M: Message> Running<M> {
    /// Passes orders on until it has ended.
    async fn attend(mut self, life: Incarnation) {
        tokio::select! {
            _ = &mut self.task => {}
            () = life.orders.wait(Order::Stop) => {
                if !life.orders.given(Order::Kill) {
                    self.actor.stop(None);
                }
                tokio::select! {
                    _ = &mut self.task => {}
                    () = life.orders.wait(Order::Kill) => {
                        self.actor.kill();
                        // For a kill is not heard in `post_stop`. Both take hold at the next await; until then it is there.
                        self.task.abort();
                        drop(self.task.await);
                    }
                }
            }
        }
        if let Some(name) = &self.name {
            name.set(None);
        }
        // The task has ended, and with it the state is gone: resources are free before a successor starts.
        let end = std::mem::replace(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner), End::Open);
        let reason = match end {
            End::Failed(reason) => reason,
            End::Orderly if life.orders.given(Order::Stop) => ExitReason::Shutdown,
            End::Orderly => ExitReason::Normal,
            End::Open => ExitReason::Killed,
        };
        life.ended(reason);
    }
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

//! Children that are ractor actors, each owned by one task that watches it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, Message, SpawnErr, SupervisionEvent};
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument as _;

use super::BoxError;
use super::incarnation::{Ignore, Incarnation};
use super::name::Name;
use crate::actor::guard::{guard, guard_until, panic_reason, reason_of};
use crate::actor::orders::{Order, Orders};
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
    let killed = killed(life.orders.clone());
    let mut spawn = Box::pin(guard_until(spawn, killed));
    if let Some(spawned) = span.in_scope(|| spawn.as_mut().now_or_never()) {
        let Some((life, running)) = begun(life, name, end, spawned) else { return Begun::Later };
        tokio::spawn(running.attend(life).instrument(span));
        return Begun::Up;
    }
    let wait = async move {
        if let Some((life, running)) = begun(life, name, end, spawn.await) {
            life.started();
            running.attend(life).await;
        }
    };
    tokio::spawn(wait.instrument(span));
    Begun::Later
}

async fn killed(orders: Orders) {
    orders.wait(Order::Kill).await;
}

/// What has become of a start; `None`: it was killed.
type Spawned<M> = Result<Option<Result<(ActorRef<M>, JoinHandle<()>), SpawnErr>>, ExitReason>;

/// The actor, if it is up; if not, its supervisor is told.
fn begun<M: Message>(
    life: Incarnation,
    name: Option<Name<M>>,
    end: Arc<Mutex<End>>,
    spawned: Spawned<M>,
) -> Option<(Incarnation, Running<M>)> {
    match spawned {
        Ok(Some(Ok((actor, task)))) => {
            if let Some(name) = &name {
                name.set(actor.clone());
            }
            return Some((life, Running { actor, task, name, end }));
        }
        Ok(Some(Err(error))) => refused(life, error, &end),
        Ok(None) => life.failed(ExitReason::Killed),
        Err(panic) => life.failed(panic),
    }
    None
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
        let ended = tokio::select! {
            ended = &mut self.task => ended,
            () = life.orders.wait(Order::Stop) => {
                if !life.orders.given(Order::Kill) {
                    self.actor.stop(None);
                }
                tokio::select! {
                    ended = &mut self.task => ended,
                    () = life.orders.wait(Order::Kill) => {
                        self.actor.kill();
                        // For a kill is not heard in `post_stop`. Both take hold at the next await; until then it is there.
                        self.task.abort();
                        (&mut self.task).await
                    }
                }
            }
        };
        if let Some(name) = &self.name {
            name.clear(&self.actor);
        }
        // The task has ended, and with it the state is gone: resources are free before a successor starts.
        let end = std::mem::replace(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner), End::Open);
        let reason = match (end, ended.map_err(JoinError::try_into_panic)) {
            (End::Failed(reason), _) => reason,
            // What it is made of has panicked when it was dropped.
            (End::Orderly | End::Open | End::Ignored, Err(Ok(panic))) => panic_reason(panic),
            (End::Orderly, _) if life.orders.given(Order::Stop) => ExitReason::Shutdown,
            (End::Orderly, _) => ExitReason::Normal,
            (End::Open | End::Ignored, _) => ExitReason::Killed,
        };
        life.ended(reason);
    }
}

fn refused(life: Incarnation, error: SpawnErr, end: &Mutex<End>) {
    match std::mem::replace(&mut *end.lock().unwrap_or_else(PoisonError::into_inner), End::Open) {
        End::Ignored => life.ignored(),
        End::Failed(reason) => life.failed(reason),
        End::Open | End::Orderly => life.failed(ExitReason::error(error)),
    }
}

/// How an actor has ended so far.
#[derive(Debug)]
enum End {
    /// Nothing is known: if its task ends now, it was killed.
    Open,
    /// Its start found nothing to run.
    Ignored,
    /// Its `post_stop` was called.
    Orderly,
    /// It failed.
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
        let reason = match guard(work).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => reason_of(error),
            Err(panic) => panic,
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
        match guard(self.actor.pre_start(myself, arguments)).await {
            // A start alone may find nothing to run; from a handler it is an error as any other.
            Ok(Err(error)) if error.is::<Ignore>() => {
                self.note(End::Ignored);
                Err(error)
            }
            Ok(started) => self.watch(std::future::ready(started)).await,
            Err(panic) => self.watch(std::future::ready(Err(panic.into()))).await,
        }
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

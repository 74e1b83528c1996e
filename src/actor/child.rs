//! Children made of Rust: futures and ractor actors, each owned by one task that watches it.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::supervisor::{Host, Port};
use crate::base::exit::ExitReason;
use crate::policy::supervisor::StartCause;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a supervised future gets to know.
#[derive(Clone, Debug)]
pub struct TaskContext {
    shutdown: CancellationToken,
    incarnation: u64,
}

impl TaskContext {
    /// Completes when the supervisor asks the future to end. A future that does not listen is dropped when its
    /// shutdown time is over.
    pub async fn shutdown_requested(&self) {
        self.shutdown.cancelled().await;
    }

    /// Counts the starts of this child, from 1.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

/// What the supervisor wants of the task that owns a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Ask it to end.
    Stop,
    /// End it.
    Kill,
}

/// One incarnation, as the body of its task: it reports to the port and obeys the orders.
pub(crate) type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A child owned by one task per incarnation.
pub(crate) struct TaskHost<F> {
    make: F,
    incarnation: u64,
    orders: Option<mpsc::Sender<Order>>,
}

impl<F> TaskHost<F>
where
    F: Fn(u64, Port, mpsc::Receiver<Order>) -> Body + Send + 'static,
{
    pub(crate) const fn new(make: F) -> Self {
        Self { make, incarnation: 0, orders: None }
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // Full: a stop and a kill are under way already. Closed: it has ended and said so.
            let _ = orders.try_send(order);
        }
    }
}

impl<F> Host for TaskHost<F>
where
    F: Fn(u64, Port, mpsc::Receiver<Order>) -> Body + Send + 'static,
{
    fn start(&mut self, _cause: StartCause, port: Port) {
        let (sender, orders) = mpsc::channel(2);
        self.orders = Some(sender);
        self.incarnation += 1;
        tokio::spawn((self.make)(self.incarnation, port, orders));
    }

    fn stop(&mut self) {
        self.order(Order::Stop);
    }

    fn kill(&mut self) {
        self.order(Order::Kill);
    }
}

/// Runs a future as a child: started at once, ended when it ends.
pub(crate) async fn run_future<Fut>(incarnation: u64, port: Port, mut orders: mpsc::Receiver<Order>, make: impl FnOnce(TaskContext) -> Fut)
where
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let shutdown = CancellationToken::new();
    let context = TaskContext { shutdown: shutdown.clone(), incarnation };
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| make(context)));
    let mut future = match made {
        Ok(future) => Box::pin(AssertUnwindSafe(future).catch_unwind()),
        Err(panic) => return port.start_failed(panic_reason(&*panic)),
    };
    port.started();
    let reason = loop {
        tokio::select! {
            ended = &mut future => break match ended {
                Ok(Ok(())) if shutdown.is_cancelled() => ExitReason::Shutdown,
                Ok(Ok(())) => ExitReason::Normal,
                Ok(Err(error)) => ExitReason::error(error),
                Err(panic) => panic_reason(&*panic),
            },
            order = orders.recv() => match order {
                Some(Order::Stop) => shutdown.cancel(),
                Some(Order::Kill) | None => break ExitReason::Killed,
            },
        }
    };
    // Dead means dead: what the future holds is released before its successor may start.
    drop(future);
    port.exited(reason);
}

/// Runs a ractor actor as a child: started when its `pre_start` has returned, ended when its task has.
pub(crate) async fn run_actor<A>(port: Port, mut orders: mpsc::Receiver<Order>, name: Option<String>, actor: A, arguments: A::Arguments)
where
    A: Actor,
{
    let reason = Arc::new(Mutex::new(None));
    let watched = Watched { actor, reason: reason.clone() };
    let start = AssertUnwindSafe(Actor::spawn(name, watched, arguments)).catch_unwind().await;
    let (actor, mut handle) = match start {
        Ok(Ok(started)) => started,
        Ok(Err(error)) => return port.start_failed(ExitReason::error(error)),
        Err(panic) => return port.start_failed(panic_reason(&*panic)),
    };
    port.started();
    let mut asked = ExitReason::Normal;
    loop {
        tokio::select! {
            _ = &mut handle => break,
            order = orders.recv() => match order {
                Some(Order::Stop) => {
                    asked = ExitReason::Shutdown;
                    actor.stop(None);
                }
                Some(Order::Kill) | None => {
                    asked = ExitReason::Killed;
                    actor.kill();
                    drop(handle.await);
                    break;
                }
            },
        }
    }
    let noted = reason.lock().unwrap_or_else(PoisonError::into_inner).take();
    port.exited(noted.unwrap_or(asked));
}

fn panic_reason(panic: &(dyn Any + Send)) -> ExitReason {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    ExitReason::error(format_args!("panic: {}", text.unwrap_or("no text")))
}

/// An actor whose errors and panics are noted: ractor tells them to linked supervisors only, and ours is not linked
/// (its links kill whole subtrees at once, in no order).
struct Watched<A> {
    actor: A,
    reason: Arc<Mutex<Option<ExitReason>>>,
}

impl<A> Watched<A> {
    /// Awaits `work` and notes how it failed, if it did.
    async fn watch<T>(&self, work: impl Future<Output = Result<T, ActorProcessingErr>> + Send) -> Result<T, ActorProcessingErr> {
        let reason = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => ExitReason::error(error),
            Err(panic) => panic_reason(&*panic),
        };
        let error = reason.to_string().into();
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        Err(error)
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
        self.watch(self.actor.post_stop(myself, state)).await
    }
}

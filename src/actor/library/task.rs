//! Children that are futures.

use std::future::Future;

use tracing::Instrument as _;

use super::BoxError;
use super::handle::SupervisorRef;
use super::incarnation::Incarnation;
use crate::actor::guard::{guard_until, guarded};
use crate::actor::orders::{Order, Orders};
use crate::actor::supervisor::Begun;
use crate::base::exit::ExitReason;

/// What a supervised future gets to know.
#[derive(Clone, Debug)]
pub struct TaskContext {
    orders: Orders,
    incarnation: u64,
    supervisor: SupervisorRef,
}

impl TaskContext {
    fn of(life: &Incarnation) -> Self {
        Self { orders: life.orders.clone(), incarnation: life.number, supervisor: life.supervisor() }
    }

    /// The child's own supervisor, for a child that starts or stops its siblings.
    ///
    /// A supervisor that is starting or stopping a child serves nothing else. So a child that waits for its own supervisor's answer
    /// before it is up, or while it is asked to end, waits until its time is over.
    #[must_use]
    pub const fn supervisor(&self) -> &SupervisorRef {
        &self.supervisor
    }

    /// Completes when the supervisor asks the future to end. A future that does not listen is dropped when its
    /// shutdown time is over.
    pub async fn shutdown_requested(&self) {
        self.orders.wait(Order::Stop).await;
    }

    /// Whether the supervisor has asked the future to end.
    #[must_use]
    pub fn is_shutdown_requested(&self) -> bool {
        self.orders.given(Order::Stop)
    }

    /// Counts the starts of this child under its supervisor's present incarnation, from 1.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

/// Starts a future: it is up at once.
pub(super) fn start_task<Fut>(life: Incarnation, run: impl FnOnce(TaskContext) -> Fut) -> Begun
where
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let context = TaskContext::of(&life);
    let span = life.span();
    // In a box: held by value, it would take its room once in each of the futures it passes through.
    let work = match guarded(|| span.in_scope(|| Box::pin(run(context)))) {
        Ok(work) => work,
        Err(panic) => {
            life.failed(panic);
            return Begun::Later;
        }
    };
    let watch = async move {
        let reason = life.outlive(work).await;
        life.ended(reason);
    };
    tokio::spawn(watch.instrument(span));
    Begun::Up
}

/// Starts a future that prepares another: it is up when the first has returned the second.
pub(super) fn start_prepared<Prepare, Fut>(life: Incarnation, prepare: impl FnOnce(TaskContext) -> Prepare + Send + 'static) -> Begun
where
    Prepare: Future<Output = Result<Fut, BoxError>> + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let span = life.span();
    let watch = async move {
        let preparation = Box::pin(async { prepare(TaskContext::of(&life)).await });
        match guard_until(preparation, life.orders.wait(Order::Kill)).await {
            Ok(Some(Ok(work))) => {
                life.started();
                let reason = life.outlive(Box::pin(work)).await;
                life.ended(reason);
            }
            Ok(Some(Err(error))) => life.refused(error),
            Ok(None) => life.failed(ExitReason::Killed),
            Err(panic) => life.failed(panic),
        }
    };
    tokio::spawn(watch.instrument(span));
    Begun::Later
}

//! One incarnation of a child that Rust code makes: what starts it, what it is told, and how its end is told.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;

use super::BoxError;
use super::handle::{ChildHandle, Home, SupervisorRef};
use super::probe::Condemned;
use crate::actor::orders::{Order, Orders};
use crate::actor::supervisor::{Begun, Host, Port};
use crate::base::exit::ExitReason;
use crate::policy::supervisor::StartCause;

/// The error of a start that finds nothing to do (OTP's `ignore`): the child stays without a process, and nobody minds.
///
/// To be returned from an actor's `pre_start` or from the preparation of [`ChildSpec::prepared`](super::ChildSpec::prepared).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing to run")]
pub struct Ignore;

/// Starts an incarnation.
pub(super) type Start = Arc<dyn Fn(Incarnation) -> Begun + Send + Sync>;

/// What an incarnation gets with it.
pub(super) struct Incarnation {
    /// Counts the child's starts, from 1.
    pub(super) number: u64,
    /// Its supervisor's path and its own id.
    pub(super) place: Place,
    pub(super) port: Port,
    pub(super) orders: Orders,
    /// Where a probe that ends it says why; none: it has no probes.
    pub(super) condemned: Option<Condemned>,
}

/// Where a child stands in the tree.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) home: Arc<Home>,
    pub(super) id: Arc<str>,
}

impl Incarnation {
    /// The span everything it does belongs to.
    pub(super) fn span(&self) -> tracing::Span {
        tracing::info_span!("child", supervisor = %self.place.home.path, id = %self.place.id, incarnation = self.number)
    }

    /// Its supervisor.
    pub(super) fn supervisor(&self) -> SupervisorRef {
        SupervisorRef { actor: self.port.supervisor().clone(), home: self.place.home.clone() }
    }

    /// Runs `work` until it ends or is killed, and releases what it holds. `Ok` is the end it was asked for, or a normal one.
    pub(super) async fn outlive(&self, work: impl Future<Output = Result<(), BoxError>>) -> ExitReason {
        let run = async {
            // In this order: whoever is killed does not hear of it, and gets no chance to answer.
            tokio::select! {
                biased;
                () = self.orders.wait(Order::Kill) => ExitReason::Killed,
                ended = work => match ended {
                    Ok(()) if self.orders.given(Order::Stop) => ExitReason::Shutdown,
                    Ok(()) => ExitReason::Normal,
                    Err(error) => reason_of(error),
                },
            }
        };
        // `run` owns the work and drops it within the guard: a panic there is as good as any other.
        AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| panic_reason(&*panic))
    }

    /// Tells that it is up.
    pub(super) fn started(&self) {
        self.orders.give(Order::Up);
        self.port.started();
    }

    /// Tells that it has ended and nothing of it is left.
    pub(super) fn ended(self, reason: ExitReason) {
        self.orders.give(Order::Ended);
        let condemned = self.condemned.as_ref().and_then(|condemned| condemned.get().cloned());
        self.port.exited(condemned.unwrap_or(reason));
    }

    /// Tells that it has not come up, and nothing of it is left.
    pub(super) fn failed(self, reason: ExitReason) {
        self.orders.give(Order::Ended);
        self.port.start_failed(reason);
    }

    /// Tells how a start failed; [`Ignore`] is no failure.
    pub(super) fn refused(self, error: BoxError) {
        if error.is::<Ignore>() {
            self.orders.give(Order::Ended);
            self.port.ignored();
        } else {
            self.failed(reason_of(error));
        }
    }
}

/// The reason behind an error: an [`ExitReason`] returned as an error is itself; of another the text, and its sources'.
pub(super) fn reason_of(error: BoxError) -> ExitReason {
    match error.downcast::<ExitReason>() {
        Ok(reason) => *reason,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            ExitReason::Error(text.into())
        }
    }
}

pub(super) fn panic_reason(panic: &(dyn Any + Send)) -> ExitReason {
    ExitReason::error(format_args!("panic: {}", panic_text(panic)))
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no text")
}

/// Hosts a child that a [`Start`] starts.
pub(super) struct OwnedHost {
    start: Start,
    place: Place,
    number: u64,
    orders: Orders,
}

impl OwnedHost {
    pub(super) fn new(start: Start, place: Place) -> Self {
        Self { start, place, number: 0, orders: Orders::default() }
    }
}

impl Host for OwnedHost {
    fn start(&mut self, _cause: StartCause, port: Port) -> Begun {
        self.number += 1;
        self.orders = Orders::default();
        let life = Incarnation { number: self.number, place: self.place.clone(), port, orders: self.orders.clone(), condemned: None };
        let begun = (self.start)(life);
        if begun == Begun::Up {
            self.orders.give(Order::Up);
        }
        begun
    }

    fn stop(&mut self, _reason: &ExitReason) {
        self.orders.give(Order::Stop);
    }

    fn kill(&mut self) {
        self.orders.give(Order::Kill);
    }

    fn handle(&self) -> Option<ChildHandle> {
        (self.number > 0).then(|| ChildHandle::Owned(self.orders.clone()))
    }
}

impl Drop for OwnedHost {
    /// A supervisor that goes without order, by a panic of its own, takes its children with it.
    fn drop(&mut self) {
        self.orders.give(Order::Kill);
    }
}

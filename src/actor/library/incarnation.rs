//! One incarnation of a child that Rust code makes: what starts it, what it is told, and how its end is told.

use std::future::Future;
use std::sync::Arc;

use super::BoxError;
use super::handle::{ChildHandle, Home, SupervisorRef};
use super::probe::Condemned;
use crate::actor::guard::{Foreign, guard_until, reason_of};
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
pub(super) type Start = Foreign<Arc<dyn Fn(Incarnation) -> Begun + Send + Sync>>;

/// What an incarnation gets with it. Whoever has it tells its end; if it is dropped before, that tells it.
pub(super) struct Incarnation {
    /// Counts the child's starts, from 1.
    pub(super) number: u64,
    /// Its supervisor's path and its own id.
    pub(super) place: Place,
    pub(super) port: Port,
    pub(super) orders: Orders,
    /// Where a probe that ends it says why; none: it has no probes.
    pub(super) condemned: Option<Condemned>,
    /// Its end has been told.
    told: bool,
}

/// Where a child stands in the tree.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) home: Arc<Home>,
    pub(super) id: Arc<str>,
}

impl Incarnation {
    /// The span everything it does belongs to. It has none above it: whatever span its supervisor is in while it is started would be kept
    /// open by it, from incarnation to incarnation.
    pub(super) fn span(&self) -> tracing::Span {
        let Place { home, id } = &self.place;
        tracing::info_span!(parent: None, "child", supervisor = %home.path, %id, incarnation = self.number)
    }

    /// Its supervisor.
    pub(super) fn supervisor(&self) -> SupervisorRef {
        SupervisorRef { actor: self.port.supervisor().clone(), home: self.place.home.clone() }
    }

    /// Runs `work` until it ends or is killed, and releases what it holds. `Ok` is the end it was asked for, or a normal one.
    pub(super) async fn outlive(&self, work: impl Future<Output = Result<(), BoxError>>) -> ExitReason {
        match guard_until(work, self.orders.wait(Order::Kill)).await {
            Ok(Some(ended)) => self.reason(ended),
            Ok(None) => ExitReason::Killed,
            Err(panic) => panic,
        }
    }

    /// Why it ended, by what it returned.
    pub(super) fn reason(&self, ended: Result<(), BoxError>) -> ExitReason {
        match ended {
            Ok(()) if self.orders.given(Order::Stop) => ExitReason::Shutdown,
            Ok(()) => ExitReason::Normal,
            Err(error) => reason_of(error),
        }
    }

    /// Tells that it is up.
    pub(super) fn started(&self) {
        self.orders.give(Order::Up);
        self.port.started();
    }

    /// Tells that it has ended and nothing of it is left.
    pub(super) fn ended(mut self, reason: ExitReason) {
        self.tell_end(reason);
    }

    /// Tells that it has not come up, and nothing of it is left.
    pub(super) fn failed(mut self, reason: ExitReason) {
        self.over();
        self.port.start_failed(reason);
    }

    /// Tells how a start failed; [`Ignore`] is no failure.
    pub(super) fn refused(self, error: BoxError) {
        if error.is::<Ignore>() { self.ignored() } else { self.failed(reason_of(error)) }
    }

    /// Tells that there is nothing to run.
    pub(super) fn ignored(mut self) {
        self.over();
        self.port.ignored();
    }

    fn tell_end(&mut self, reason: ExitReason) {
        self.over();
        let condemned = self.condemned.as_ref().and_then(|condemned| condemned.get().cloned());
        self.port.exited(condemned.unwrap_or(reason));
    }

    fn over(&mut self) {
        self.told = true;
        self.orders.give(Order::Ended);
    }
}

impl Drop for Incarnation {
    /// Whatever has become of it: a supervisor that does not hear of an end waits for it for ever.
    fn drop(&mut self) {
        if !self.told {
            let killed = self.orders.given(Order::Kill);
            self.tell_end(if killed { ExitReason::Killed } else { ExitReason::error("it is gone, and has not told why") });
        }
    }
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
        let (place, orders) = (self.place.clone(), self.orders.clone());
        let life = Incarnation { number: self.number, place, port, orders, condemned: None, told: false };
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

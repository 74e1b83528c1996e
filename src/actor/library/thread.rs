//! Children that are closures on a thread of their own: for code that blocks.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use super::BoxError;
use super::incarnation::{Incarnation, panic_reason, reason_of};
use crate::actor::orders::{Order, Orders};
use crate::actor::supervisor::Begun;
use crate::base::exit::ExitReason;

/// What a supervised thread gets to know.
#[derive(Clone, Debug)]
pub struct ThreadContext {
    orders: Orders,
    incarnation: u64,
    runtime: tokio::runtime::Handle,
}

impl ThreadContext {
    /// Whether the supervisor has asked the closure to return.
    #[must_use]
    pub fn is_shutdown_requested(&self) -> bool {
        self.orders.given(Order::Stop)
    }

    /// Blocks until the supervisor asks the closure to return, for `timeout` at most. Whether it has asked.
    #[must_use]
    pub fn wait_for_shutdown(&self, timeout: Duration) -> bool {
        self.runtime.block_on(async { tokio::time::timeout(timeout, self.orders.wait(Order::Stop)).await.is_ok() })
    }

    /// Counts the starts of this child under its supervisor's present incarnation, from 1.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

/// Starts a closure on a new thread: it is up when there is a thread.
pub(super) fn start_thread(life: Incarnation, run: impl FnOnce(ThreadContext) -> Result<(), BoxError> + Send + 'static) -> Begun {
    let context = ThreadContext { orders: life.orders.clone(), incarnation: life.number, runtime: tokio::runtime::Handle::current() };
    let (port, orders) = (life.port.clone(), life.orders.clone());
    let body = move || {
        let _entered = life.span().entered();
        let reason = match std::panic::catch_unwind(AssertUnwindSafe(|| run(context))) {
            Ok(Ok(())) if life.orders.given(Order::Stop) => ExitReason::Shutdown,
            Ok(Ok(())) => ExitReason::Normal,
            Ok(Err(error)) => reason_of(error),
            Err(panic) => panic_reason(&*panic),
        };
        life.ended(reason);
    };
    // Nobody joins it: what it does last is to tell its supervisor.
    match std::thread::Builder::new().spawn(body) {
        Ok(_) => Begun::Up,
        Err(error) => {
            orders.give(Order::Ended);
            port.start_failed(ExitReason::error(format_args!("cannot start a thread: {error}")));
            Begun::Later
        }
    }
}

//! Children that are closures on a thread of their own: for code that blocks.

use std::future::Future as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::BoxError;
use super::incarnation::{Incarnation, panic_reason, reason_of};
use crate::actor::orders::{Order, Orders};
use crate::actor::supervisor::Begun;
use crate::base::exit::ExitReason;
use crate::os::clock;

/// What a supervised thread gets to know.
#[derive(Clone, Debug)]
pub struct ThreadContext {
    orders: Orders,
    incarnation: u64,
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
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut asked = std::pin::pin!(self.orders.wait(Order::Stop));
        let until = clock::mono() + timeout;
        while asked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            let left = until - clock::mono();
            if left.is_zero() {
                return false;
            }
            std::thread::park_timeout(left);
        }
        true
    }

    /// Counts the starts of this child under its supervisor's present incarnation, from 1.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

/// Wakes a thread that waits.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Starts a closure on a new thread: it is up when there is a thread.
pub(super) fn start_thread(life: Incarnation, run: impl FnOnce(ThreadContext) -> Result<(), BoxError> + Send + 'static) -> Begun {
    let context = ThreadContext { orders: life.orders.clone(), incarnation: life.number };
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

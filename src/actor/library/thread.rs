//! Children that are closures on a thread of their own: for code that blocks.

use std::future::Future as _;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::BoxError;
use super::incarnation::Incarnation;
use crate::actor::guard::guarded;
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
    // The thread gets its incarnation once there is a thread; else it is here to say that there is none.
    let (give, take) = mpsc::channel::<Incarnation>();
    let body = move || {
        let Ok(life) = take.recv() else { return };
        let _entered = life.span().entered();
        let reason = guarded(|| run(context)).map_or_else(|panic| panic, |ended| life.reason(ended));
        life.ended(reason);
    };
    // Nobody joins it: what it does last is to tell its supervisor.
    match guarded(|| std::thread::Builder::new().spawn(body)) {
        Ok(Ok(_)) => {
            // It waits for this and does nothing else, so that it is there to take it; what it does not take tells its end by being dropped.
            drop(give.send(life));
            return Begun::Up;
        }
        Ok(Err(error)) => life.failed(ExitReason::error(format_args!("cannot start a thread: {error}"))),
        Err(panic) => life.failed(panic),
    }
    Begun::Later
}

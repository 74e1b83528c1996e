//! A circuit breaker for calls of one's own.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::base::rng::Rng;
use crate::os::clock::RuntimeClock;
use crate::policy::breaker::{Breaker, BreakerPlan, BreakerState, CallOutcome, Calls, Permit, Refused};

/// Refuses calls to something that fails, and lets a few through later to see whether it has recovered. Clones are the same breaker.
///
/// See [`policy::breaker`](crate::policy::breaker) for its rules and [`BreakerPlan`] for its limits.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use ms_supervisor::{BreakerError, BreakerPlan, CircuitBreaker};
///
/// let breaker = CircuitBreaker::new(BreakerPlan { consecutive: Some(2), ..BreakerPlan::default() }, 7);
/// let call = || async { Err::<(), _>("no answer") };
/// assert_eq!(breaker.call(call()).await, Err(BreakerError::Failed("no answer")));
/// assert_eq!(breaker.call(call()).await, Err(BreakerError::Failed("no answer")));
/// // The third call is not made.
/// assert!(matches!(breaker.call(call()).await, Err(BreakerError::Refused(_))));
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreaker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    breaker: Mutex<Breaker>,
    clock: RuntimeClock,
    state: watch::Sender<BreakerState>,
}

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError<E> {
    /// It was not made.
    #[error("the circuit breaker is open")]
    Refused(Refused),
    /// It was made and failed.
    #[error(transparent)]
    Failed(E),
}

impl CircuitBreaker {
    /// A closed one. `seed` gives its jitter.
    #[must_use]
    pub fn new(plan: BreakerPlan, seed: u64) -> Self {
        let breaker = Mutex::new(Breaker::new(plan, Rng::derive(seed, &["breaker"])));
        Self(Arc::new(Inner { breaker, clock: RuntimeClock::new(), state: watch::Sender::new(BreakerState::Closed) }))
    }

    /// Leave to make a call. It is given back by [`BreakerPermit::success`] or [`BreakerPermit::failure`]; dropped without either the call says
    /// nothing, dropped in a panic it has failed.
    ///
    /// # Errors
    /// The call is not to be made now.
    pub fn permit(&self) -> Result<BreakerPermit, Refused> {
        let permit = self.with(|breaker, now| breaker.ask(now).0)?;
        Ok(BreakerPermit { breaker: self.clone(), permit: Some(permit) })
    }

    /// Makes a call, if it may be made. A future that is dropped before its end says nothing about what it called.
    ///
    /// # Errors
    /// The call was refused, or has failed.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, BreakerError<E>> {
        let permit = self.permit().map_err(BreakerError::Refused)?;
        let result = call.await;
        match &result {
            Ok(_) => permit.success(),
            Err(_) => permit.failure(),
        }
        result.map_err(BreakerError::Failed)
    }

    /// How it stands now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.with(|breaker, now| {
            breaker.wake(now);
            breaker.state()
        })
    }

    /// The calls that count now.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.with(Breaker::calls)
    }

    /// Holds it open or closed, or lets it go.
    pub fn force(&self, state: Option<BreakerState>) {
        self.with(|breaker, now| breaker.force(now, state));
    }

    /// Hears of its state as calls change it. That an open time is over is found by the next call, or by [`CircuitBreaker::state`].
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<BreakerState> {
        self.0.state.subscribe()
    }

    fn with<T>(&self, work: impl FnOnce(&mut Breaker, crate::base::time::Mono) -> T) -> T {
        // What panics in between is a plain computation: the breaker is whole.
        let mut breaker = self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.state();
        let result = work(&mut breaker, self.0.clock.now());
        let after = breaker.state();
        if after != before {
            self.0.state.send_replace(after);
        }
        result
    }
}

/// Leave to make one call.
#[derive(Debug)]
#[must_use = "dropped at once it says nothing of the call"]
pub struct BreakerPermit {
    breaker: CircuitBreaker,
    permit: Option<Permit>,
}

impl BreakerPermit {
    /// The call has succeeded.
    pub fn success(mut self) {
        self.report(CallOutcome::Success);
    }

    /// The call has failed.
    pub fn failure(mut self) {
        self.report(CallOutcome::Failure);
    }

    fn report(&mut self, outcome: CallOutcome) {
        if let Some(permit) = self.permit.take() {
            self.breaker.with(|breaker, now| breaker.report(now, permit, outcome));
        }
    }
}

impl Drop for BreakerPermit {
    fn drop(&mut self) {
        self.report(if std::thread::panicking() { CallOutcome::Failure } else { CallOutcome::Cancelled });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn breaker(permits: u32) -> CircuitBreaker {
        let plan = BreakerPlan { consecutive: Some(2), open_for: Duration::from_secs(1), permits, ..BreakerPlan::default() };
        CircuitBreaker::new(plan, 1)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_and_recovers() {
        let breaker = breaker(1);
        let mut states = breaker.subscribe();
        for _ in 0..2 {
            assert!(breaker.call(async { Err::<(), _>(()) }).await.is_err());
        }
        assert_eq!(*states.borrow_and_update(), BreakerState::Open);
        assert!(matches!(breaker.call(async { Ok::<_, ()>(()) }).await, Err(BreakerError::Refused(_))));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(breaker.call(async { Ok::<_, ()>(1) }).await, Ok(1));
        assert_eq!(*states.borrow_and_update(), BreakerState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_given_up_says_nothing_and_a_panic_is_a_failure() {
        let breaker = breaker(1);
        for _ in 0..10 {
            drop(breaker.permit().unwrap());
            let gives_up = breaker.call(std::future::pending::<Result<(), ()>>());
            assert!(tokio::time::timeout(Duration::from_millis(1), gives_up).await.is_err());
        }
        assert_eq!((breaker.state(), breaker.calls().total), (BreakerState::Closed, 0));
        for _ in 0..2 {
            let clone = breaker.clone();
            let panics = tokio::spawn(async move { clone.call(async { panic!("on purpose") as Result<(), ()> }).await });
            assert!(panics.await.is_err());
        }
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

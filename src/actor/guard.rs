//! The guard: all code that is not ours runs through it, so that a panic there ends nothing but that code.
//!
//! What is not ours: what a child does and is made of, what it panics with and the `Drop` of that, the text of its errors, whatever its
//! closures have captured, who observes a tree. Nothing else in `actor` catches a panic.

use std::any::Any;
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::library::BoxError;
use crate::base::exit::ExitReason;

/// How long the text of a failure may be, in bytes; the rest is cut off.
const TEXT_MAX: usize = 16 << 10;

/// How many sources of an error are told; further ones are left out.
const SOURCES_MAX: usize = 32;

/// Runs `work`, which is not ours.
///
/// # Errors
/// It has panicked, and with what text.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, ExitReason> {
    catch_unwind(AssertUnwindSafe(work)).map_err(panic_reason)
}

/// Polls `work`, which is not ours, until it has ended or `stop` has, and drops it then. `None`: `stop` came first.
///
/// # Errors
/// It has panicked, at a poll or when it was dropped, and with what text.
pub(crate) async fn guard_until<F: Future>(work: F, stop: impl Future<Output = ()>) -> Result<Option<F::Output>, ExitReason> {
    let mut slot = pin!(Some(work));
    let ended = tokio::select! {
        // In this order: whoever is killed does not hear of it, and gets no chance to answer.
        biased;
        () = stop => Ok(None),
        ended = poll_fn(|context| poll(slot.as_mut(), context)) => ended.map(Some),
    };
    match (ended, guarded(|| slot.set(None))) {
        (ended, Ok(())) => ended,
        (Ok(value), Err(panic)) => {
            dispose(value);
            Err(panic)
        }
        // What came first is the reason of the rest.
        (Err(panic), Err(_)) => Err(panic),
    }
}

/// The same for work that nobody stops.
///
/// # Errors
/// As [`guard_until`].
pub(crate) async fn guard<F: Future>(work: F) -> Result<F::Output, ExitReason> {
    match guard_until(work, std::future::pending()).await {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(ExitReason::Killed),
        Err(panic) => Err(panic),
    }
}

fn poll<F: Future>(slot: Pin<&mut Option<F>>, context: &mut Context<'_>) -> Poll<Result<F::Output, ExitReason>> {
    let Some(work) = slot.as_pin_mut() else { return Poll::Pending };
    match guarded(|| work.poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Err(panic) => Poll::Ready(Err(panic)),
    }
}

/// Drops a value that is not ours, and says so in the log if that panics: nobody else would hear of it.
pub(crate) fn dispose<T>(value: T) {
    if let Err(reason) = guarded(|| drop(value)) {
        complain("something that was dropped", &reason);
    }
}

/// Says in the log that somebody else's code has failed where nobody waits for what becomes of it.
pub(crate) fn complain(who: &str, reason: &ExitReason) {
    // Who listens to the log is not ours either.
    drop(guarded(|| tracing::error!("{who} failed: {reason}")));
}

/// The reason behind a panic.
pub(crate) fn panic_reason(payload: Box<dyn Any + Send>) -> ExitReason {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let reason = ExitReason::error(format_args!("panic: {}", clipped(text.unwrap_or("no text"))));
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // It panics when it is dropped. What it has thrown then may do the same again, without end: it stays where it is.
        std::mem::forget(another);
    }
    reason
}

/// The reason behind an error: an [`ExitReason`] returned as an error is itself; of another the text, and its sources'.
pub(crate) fn reason_of(error: BoxError) -> ExitReason {
    let error = match error.downcast::<ExitReason>() {
        Ok(reason) => return *reason,
        Err(error) => error,
    };
    let told = guarded(|| text_of(&*error));
    dispose(error);
    match told {
        Ok(text) => ExitReason::Error(text.into()),
        Err(panic) => ExitReason::error(format_args!("an error whose text cannot be had: {panic}")),
    }
}

fn text_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = Clipped(String::new());
    let mut sources = std::iter::successors(Some(error), |error| error.source()).take(SOURCES_MAX + 1).enumerate();
    // It says that it could not be written when there is no more room, or of its own accord.
    let _cut = sources.try_for_each(|(at, error)| if at == 0 { write!(text, "{error}") } else { write!(text, ": {error}") });
    text.0
}

/// A text of at most [`TEXT_MAX`] bytes.
struct Clipped(String);

impl std::fmt::Write for Clipped {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = TEXT_MAX - self.0.len();
        let fits = &more[..more.floor_char_boundary(room)];
        self.0.push_str(fits);
        if fits.len() < more.len() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// Something that holds what is not ours, and is dropped by us.
#[derive(Clone)]
pub(crate) struct Foreign<T>(Option<T>);

impl<T> Foreign<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Foreign<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let Some(value) = &self.0 else { unreachable!("only its drop takes it") };
        value
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        dispose(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Panics when it is dropped, with something that does the same.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self(self.0 + 1));
        }
    }

    #[test]
    fn a_payload_that_panics_without_end_ends_here() {
        let reason = guarded(|| std::panic::panic_any(Bomb(0))).unwrap_err();
        assert_eq!(reason, ExitReason::error("panic: no text"));
        dispose(Bomb(0));
        drop(Foreign::new(Bomb(0)));
        assert_eq!(guarded(|| panic!("told {}", 1)).unwrap_err(), ExitReason::error("panic: told 1"));
    }

    #[derive(Debug)]
    enum Nasty {
        Text,
        Source,
        Drop,
        Endless,
        Refuses,
    }

    impl std::fmt::Display for Nasty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match self {
                Self::Text => panic!("in its text"),
                Self::Refuses => Err(std::fmt::Error),
                _ => f.write_str("nasty"),
            }
        }
    }

    impl std::error::Error for Nasty {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            match self {
                Self::Source => panic!("in its source"),
                Self::Endless => Some(self),
                _ => None,
            }
        }
    }

    impl Drop for Nasty {
        fn drop(&mut self) {
            assert!(!matches!(self, Self::Drop), "in drop");
        }
    }

    #[test]
    fn an_error_is_told_whatever_it_does() {
        let told = |error: Nasty| reason_of(error.into()).to_string();
        assert_eq!(told(Nasty::Text), "an error whose text cannot be had: panic: in its text");
        assert_eq!(told(Nasty::Source), "an error whose text cannot be had: panic: in its source");
        assert_eq!(told(Nasty::Drop), "nasty");
        assert_eq!(told(Nasty::Refuses), "");
        assert_eq!(told(Nasty::Endless).matches("nasty").count(), SOURCES_MAX + 1);
        assert_eq!(reason_of(ExitReason::Normal.into()), ExitReason::Normal);
        assert_eq!(reason_of("ä".repeat(TEXT_MAX).into()).to_string().len(), TEXT_MAX);
    }

    #[tokio::test]
    async fn a_future_is_dropped_under_guard_however_it_ends() {
        let work = |ends: bool| async move {
            let _bomb = Bomb(0);
            if !ends {
                std::future::pending::<()>().await;
            }
        };
        assert_eq!(guard(work(true)).await, Err(ExitReason::error("panic: no text")));
        // The work begins before it is stopped, or there is no bomb yet.
        let mut stopped = Box::pin(guard_until(work(false), tokio::task::yield_now()));
        assert!(futures_util::FutureExt::now_or_never(&mut stopped).is_none());
        assert_eq!(stopped.await, Err(ExitReason::error("panic: no text")));
        assert_eq!(guard_until(std::future::pending::<()>(), std::future::ready(())).await, Ok(None));
        assert_eq!(guard(async { panic!("at once") }).await, Err::<(), _>(ExitReason::error("panic: at once")));
    }
}

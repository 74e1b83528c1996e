//! The clocks. Nothing else reads them.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::base::time::{Mono, Wall};

/// Now, on the monotonic clock.
#[must_use]
pub fn mono() -> Mono {
    let now = clock_gettime(ClockId::Monotonic);
    Mono(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
}

/// Now, on the clock that goes on while the machine is suspended.
#[must_use]
pub fn boottime() -> Mono {
    let now = clock_gettime(ClockId::Boottime);
    Mono(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
}

/// Now, on the wall clock.
#[must_use]
pub fn wall() -> Wall {
    let now = clock_gettime(ClockId::Realtime);
    Wall(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
}

/// Now, in the unit and since the moment in which /proc tells when processes were started (proc_pid_stat(5)).
#[must_use]
pub fn ticks() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let per_second = rustix::param::clock_ticks_per_second();
    now.tv_sec.unsigned_abs() * per_second + now.tv_nsec.unsigned_abs() * per_second / 1_000_000_000
}

/// The monotonic clock as the runtime sees it: tests may stop the runtime's clock, and what is measured here stops with it.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeClock {
    origin: (Mono, tokio::time::Instant),
}

impl RuntimeClock {
    /// The clock, compared with the runtime's now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "one of the clocks")]
    pub fn new() -> Self {
        Self { origin: (mono(), tokio::time::Instant::now()) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Mono {
        self.origin.0 + self.origin.1.elapsed()
    }

    /// Sleeps until `due` has come; for ever, if nothing is due.
    pub async fn sleep_until(&self, due: Option<Mono>) {
        match due {
            // The timer counts whole milliseconds; one more, so that the time has come when it rings.
            Some(due) => tokio::time::sleep((due - self.now()) + Duration::from_millis(1)).await,
            None => std::future::pending().await,
        }
    }
}

impl Default for RuntimeClock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward() {
        let before = mono();
        assert!(before.0 > 0 && mono() >= before);
        assert!(wall().0 > 1_500_000_000_000);
    }
}

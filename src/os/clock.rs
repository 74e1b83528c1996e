//! The clocks. Nothing else reads them.

use rustix::time::{ClockId, clock_gettime};

use crate::base::time::{Mono, Wall};

/// Now, on the monotonic clock.
#[must_use]
pub fn mono() -> Mono {
    let now = clock_gettime(ClockId::Monotonic);
    Mono(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
}

/// Now, on the wall clock.
#[must_use]
pub fn wall() -> Wall {
    let now = clock_gettime(ClockId::Realtime);
    Wall(now.tv_sec * 1000 + now.tv_nsec / 1_000_000)
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

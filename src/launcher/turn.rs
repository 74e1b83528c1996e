//! How long the launcher's turns take: that it waits for nobody is seen by this.

use std::time::Duration;

use super::voice;
use super::wire::ToBrain;
use crate::base::time::Mono;
use crate::os::clock;

/// A turn goes from where the launcher wakes up to where it sleeps again.
#[derive(Default)]
pub(super) struct Turns {
    count: u64,
    longest: Duration,
    recent: Duration,
}

impl Turns {
    /// It has woken up; returns when.
    pub(super) fn begin(&self) -> Mono {
        let now = clock::mono();
        voice::turn(Some(now));
        now
    }

    /// The turn that began at `woke` is over.
    pub(super) fn note(&mut self, woke: Mono) {
        voice::turn(None);
        let lasted = clock::mono().since(woke);
        self.count += 1;
        self.recent = self.recent.max(lasted);
        self.longest = self.longest.max(lasted);
    }

    /// What the brain is told of them.
    pub(super) fn told(&mut self) -> ToBrain {
        ToBrain::Turns { count: self.count, longest: self.longest, recent: std::mem::take(&mut self.recent) }
    }
}

//! Looks whether the machine and this process can look at anything: lag of the runtime, suspensions, pressure.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::context::Context;
use super::{BoxError, TaskContext};
use crate::base::time::Mono;
use crate::event::{Event, HostStatus, Stall, StallOver};
use crate::os::clock::{self, RuntimeClock};
use crate::os::pressure::{PressureFiles, memory_available};
use crate::policy::Machine as _;
use crate::policy::observer::{Effect, LATE, Look, Observer};

/// How often it looks: often enough to know of a stall before the first probe fails because of it.
const TICK: Duration = Duration::from_millis(200);

/// How often it looks what memory is left.
const MEMORY_EVERY: u32 = 5;

/// How many times of standing still are known. Who was not awake for so many has missed the oldest.
const STALLS_MAX: usize = 64;

/// How the machine and this process stand, for all to see.
#[derive(Debug, Default)]
pub struct Host {
    /// When it was looked last; 0 while nobody looks.
    looked: AtomicU64,
    /// When nobody could look the last time; 0: never.
    blind_until: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When nobody could look, the latest last; they do not overlap.
    stalls: VecDeque<(Mono, Mono)>,
    status: HostStatus,
}

impl Host {
    /// How it stands.
    #[must_use]
    pub fn status(&self) -> HostStatus {
        self.seen().status.clone()
    }

    /// When nobody could look, as far as that ended after `after`. A time that has not ended goes on until somebody has looked again: that is
    /// soon, or whoever looks does not run either.
    pub(crate) fn stalls(&self, after: Mono, now: Mono) -> Vec<(Mono, Mono)> {
        let looked = Mono(self.looked.load(Ordering::Acquire));
        let blind_until = Mono(self.blind_until.load(Ordering::Acquire));
        let goes_on = looked.0 > 0 && (blind_until >= looked || now - looked >= TICK + LATE);
        if !goes_on && blind_until <= after {
            return Vec::new();
        }
        let seen = self.seen();
        seen.stalls.iter().copied().filter(|(_, to)| *to > after).chain(goes_on.then_some((looked, now))).collect()
    }

    /// Nobody could look between these.
    pub(crate) fn stood_still(&self, from: Mono, to: Mono) {
        let mut seen = self.seen();
        match seen.stalls.back_mut() {
            Some(last) if from <= last.1 => *last = (last.0.min(from), last.1.max(to)),
            _ => seen.stalls.push_back((from, to)),
        }
        if seen.stalls.len() > STALLS_MAX {
            seen.stalls.pop_front();
        }
        self.blind_until.fetch_max(to.0, Ordering::AcqRel);
    }

    /// It was looked then; 0: nobody looks any more.
    pub(crate) fn looked_at(&self, now: Mono) {
        self.looked.store(now.0, Ordering::Release);
    }

    fn change(&self, change: impl FnOnce(&mut HostStatus)) {
        change(&mut self.seen().status);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// While it is there somebody looks; one that has ended must not look like one that stands still.
struct Looking<'a>(&'a Host);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.looked_at(Mono(0));
    }
}

/// Looks again and again.
///
/// # Errors
/// None.
pub async fn run(task: TaskContext, context: Arc<Context>) -> Result<(), BoxError> {
    let (files, clock) = (PressureFiles::of_this_process(), RuntimeClock::new());
    let looking = Looking(&context.host);
    let mut observer = Observer::default();
    let mut round = 0;
    loop {
        let due = clock.now() + TICK;
        tokio::select! {
            () = task.shutdown_requested() => return Ok(()),
            () = tokio::time::sleep(TICK) => {}
        }
        let now = clock.now();
        let look = Look { boottime: clock::boottime(), late: now - due, pressure: files.look() };
        let memory = (round % MEMORY_EVERY == 0).then(|| memory_available().ok());
        round = round.wrapping_add(1);
        let mut effects = Vec::new();
        observer.step(now, look, &mut effects);
        looking.0.change(|status| {
            (status.pressure, status.lag) = (look.pressure, observer.lag());
            status.memory_available = memory.unwrap_or(status.memory_available);
        });
        carry_out(&context, effects);
        // Only now: what was found is known before it is known that somebody looked.
        looking.0.looked_at(now);
    }
}

fn carry_out(context: &Context, effects: Vec<Effect>) {
    let (host, mut until) = (&context.host, Mono(context.host.blind_until.load(Ordering::Acquire)));
    for effect in effects {
        match effect {
            Effect::Blind(from, to) => {
                host.stood_still(from, to);
                host.change(|status| status.blind = status.blind.saturating_add(to - from.max(until)));
                until = to;
            }
            Effect::Stalled(cause) => {
                let stall = Stall { cause, since: clock::wall() };
                host.change(|status| status.stall = Some(stall));
                context.bus.tell(Event::ObserverStalled(stall));
            }
            Effect::Over { cause, after, blind } => {
                host.change(|status| status.stall = None);
                context.bus.tell(Event::ObserverRecovered(StallOver { cause, after, blind }));
            }
        }
    }
}

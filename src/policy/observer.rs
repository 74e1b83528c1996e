//! When whoever looks at units could not look, because the machine or this process stood still.
//!
//! A probe that fails then says nothing of its unit. Three things tell: a timer that is late, two clocks that differ by the time the machine was
//! suspended, and the time in which everything waited for memory or for disks (PSI, `full`). What they tell is an interval; what a probe
//! that began in it or before finds by failing does not count, and silence in it is none.
//!
//! A hung unit is found all the same. Only the interval itself is excused; and pressure excuses for so long at most
//! ([`PRESSURE_MAX`]): on a machine that waits for its disks day and night that is how it is, and no stall.

use std::collections::VecDeque;
use std::time::Duration;

use super::Machine;
use crate::base::pressure::Pressures;
use crate::base::time::Mono;
use crate::event::StallCause;

/// A timer that is late by so much: the shortest time-out of probes by default. Whoever was to answer in time may have been as late.
pub const LATE: Duration = Duration::from_secs(1);

/// By how much two clocks may differ because one was read after the other.
const SUSPENDED: Duration = Duration::from_millis(100);

/// Everything waited for such a part of [`WINDOW`]: next to nothing has run.
const STALLED_SHARE: f64 = 0.8;

/// The time pressure is judged over: the shortest time-out of probes by default.
const WINDOW: Duration = Duration::from_secs(1);

/// For so long pressure excuses what fails, then that counts again until the machine was calm. Twice what it takes a probe with default settings
/// to fail.
const PRESSURE_MAX: Duration = Duration::from_secs(60);

/// An episode is over when nothing stood still for so long.
const CALM: Duration = Duration::from_secs(10);

/// The time the worst lag is told of: that of PSI's shortest average.
const LAG_WINDOW: Duration = Duration::from_secs(10);

/// The most looks that are kept for a window; looks that come faster push out the oldest.
const LOOKS_MAX: usize = 64;

/// What is seen at regular times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// The clock that goes on while the machine is suspended.
    pub boottime: Mono,
    /// How much later than wanted the look is.
    pub late: Duration,
    /// How much is waited for what.
    pub pressure: Pressures,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nobody could look between these.
    Blind(Mono, Mono),
    /// An episode begins: for the first time in a while something stood still.
    Stalled(StallCause),
    /// It is over.
    Over {
        /// What it began with.
        cause: StallCause,
        /// From its beginning to the end of the last time something stood still.
        after: Duration,
        /// How much of that was excused.
        blind: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Episode {
    cause: StallCause,
    since: Mono,
    /// When something stood still last.
    last: Mono,
    /// Until when that was excused.
    excused: Mono,
    blind: Duration,
    /// How much of it because of pressure.
    pressed: Duration,
}

/// Decides when nobody could look.
#[derive(Clone, Debug, Default)]
pub struct Observer {
    last: Option<(Mono, Mono)>,
    /// For how long everything had waited, at each look of the last window and at one before it.
    waited: VecDeque<(Mono, [Option<Duration>; 2])>,
    /// Lags of the last time, the worst first: each is worse than all after it.
    lags: VecDeque<(Mono, Duration)>,
    episode: Option<Episode>,
}

impl Observer {
    /// The worst lag of the last ten seconds.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.lags.front().map_or(Duration::ZERO, |(_, lag)| *lag)
    }

    fn note_lag(&mut self, now: Mono, late: Duration) {
        while self.lags.back().is_some_and(|(_, lag)| *lag <= late) {
            self.lags.pop_back();
        }
        self.lags.push_back((now, late));
        while self.lags.len() > LOOKS_MAX || self.lags.front().is_some_and(|(at, _)| now - *at > LAG_WINDOW) {
            self.lags.pop_front();
        }
    }

    /// What stood still, and since when.
    fn judge(&mut self, now: Mono, look: &Look) -> Option<(StallCause, Mono)> {
        let (last, boottime) = self.last.replace((now, look.boottime)).unwrap_or((now, look.boottime));
        let pressed = self.pressed(now, look.pressure);
        if look.boottime.since(boottime).saturating_sub(now - last) > SUSPENDED {
            return Some((StallCause::Suspended, last));
        }
        if look.late >= LATE {
            return Some((StallCause::Lag, last));
        }
        pressed
    }

    /// Whether everything waited for most of the last second.
    fn pressed(&mut self, now: Mono, pressure: Pressures) -> Option<(StallCause, Mono)> {
        let total = |of: Option<crate::base::pressure::Pressure>| of.and_then(|pressure| pressure.stood_still);
        let waited = [total(pressure.memory), total(pressure.io)];
        self.waited.push_back((now, waited));
        // One of that age or more stays in front.
        while self.waited.len() > LOOKS_MAX || self.waited.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.waited.pop_front();
        }
        let (from, before) = *self.waited.front().filter(|(at, _)| now - *at >= WINDOW)?;
        let share = |at: usize| {
            let waited = waited[at]?.saturating_sub(before[at]?);
            Some(waited.as_secs_f64() / (now - from).as_secs_f64())
        };
        let causes = [StallCause::Memory, StallCause::Io];
        let cause = causes.into_iter().enumerate().find(|(at, _)| share(*at).is_some_and(|share| share >= STALLED_SHARE))?.1;
        Some((cause, from))
    }

    fn stood_still(&mut self, now: Mono, cause: StallCause, from: Mono, out: &mut Vec<Effect>) {
        let episode = self.episode.get_or_insert_with(|| {
            out.push(Effect::Stalled(cause));
            Episode { cause, since: from, last: now, excused: from, blind: Duration::ZERO, pressed: Duration::ZERO }
        });
        episode.last = now;
        let new = now - episode.excused.max(from);
        if matches!(cause, StallCause::Memory | StallCause::Io) {
            if episode.pressed >= PRESSURE_MAX {
                return;
            }
            episode.pressed = episode.pressed.saturating_add(new);
        }
        episode.blind = episode.blind.saturating_add(new);
        episode.excused = now;
        out.push(Effect::Blind(from, now));
    }
}

impl Machine for Observer {
    type Input = Look;
    type Effect = Effect;

    fn step(&mut self, now: Mono, look: Look, out: &mut Vec<Effect>) {
        self.note_lag(now, look.late);
        match self.judge(now, &look) {
            Some((cause, from)) => self.stood_still(now, cause, from, out),
            None => self.wake(now, out),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        self.episode.map(|episode| episode.last + CALM)
    }

    fn wake(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.deadline().is_some_and(|at| at <= now)
            && let Some(Episode { cause, since, last, blind, .. }) = self.episode.take()
        {
            out.push(Effect::Over { cause, after: last - since, blind });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pressure::Pressure;

    const TICK: Duration = Duration::from_millis(200);

    #[derive(Default)]
    struct World {
        observer: Observer,
        now: Mono,
        suspended: Duration,
        memory: Duration,
        io: Option<Duration>,
        told: Vec<Effect>,
    }

    impl World {
        fn tick(&mut self, late: Duration) {
            self.now = self.now + TICK + late;
            let full = |stood_still| Pressure { stood_still, ..Pressure::default() };
            let pressure = Pressures { cpu: None, memory: Some(full(Some(self.memory))), io: Some(full(self.io)) };
            self.observer.step(self.now, Look { boottime: self.now + self.suspended, late, pressure }, &mut self.told);
        }

        /// So many seconds in which everything waits for memory for such a share.
        fn waits(&mut self, share: f64, seconds: u32) -> Vec<Effect> {
            for _ in 0..seconds * 5 {
                self.memory += TICK.mul_f64(share);
                self.tick(Duration::ZERO);
            }
            std::mem::take(&mut self.told)
        }

        fn seconds(&self) -> f64 {
            (self.now - Mono(0)).as_secs_f64()
        }
    }

    fn excused(told: &[Effect]) -> Duration {
        let mut until = Mono(0);
        told.iter().fold(Duration::ZERO, |sum, effect| match effect {
            Effect::Blind(from, to) => {
                let new = *to - until.max(*from);
                until = *to;
                sum + new
            }
            Effect::Stalled(_) | Effect::Over { .. } => sum,
        })
    }

    #[test]
    fn a_calm_machine_and_small_delays_are_nothing() {
        let mut world = World::default();
        assert_eq!(world.waits(0.0, 20), []);
        world.tick(Duration::from_millis(900));
        world.suspended += Duration::from_millis(90);
        world.tick(Duration::ZERO);
        assert_eq!(world.waits(0.7, 20), [], "something always runs");
        assert_eq!(world.observer.lag(), Duration::ZERO, "it is forgotten");
        world.tick(Duration::from_millis(300));
        world.waits(0.0, 9);
        assert_eq!(world.observer.lag(), Duration::from_millis(300));
    }

    #[test]
    fn lag_and_suspension_excuse_the_time_since_the_last_look() {
        let mut world = World::default();
        world.waits(0.0, 2);
        let before = world.now;
        world.tick(Duration::from_secs(3));
        assert_eq!(std::mem::take(&mut world.told), [Effect::Stalled(StallCause::Lag), Effect::Blind(before, world.now)]);
        let before = world.now;
        world.suspended += Duration::from_secs(3600);
        world.tick(Duration::ZERO);
        assert_eq!(std::mem::take(&mut world.told), [Effect::Blind(before, world.now)], "the episode is told once");
        let (after, blind) = (Duration::from_millis(3400), Duration::from_millis(3400));
        assert_eq!(world.waits(0.0, 12), [Effect::Over { cause: StallCause::Lag, after, blind }]);
    }

    #[test]
    fn pressure_excuses_while_everything_waits_and_no_longer() {
        let mut world = World::default();
        world.waits(0.1, 5);
        let told = world.waits(0.95, 10);
        assert_eq!(told[0], Effect::Stalled(StallCause::Memory));
        // It takes most of a second to be sure, which then counts, too.
        assert!(excused(&told) >= Duration::from_secs(10), "{told:?}");
        assert_eq!(told.last(), Some(&Effect::Blind(Mono(world.now.0 - 1_000_000_000), world.now)));
        let end = world.seconds();
        let told = world.waits(0.0, 20);
        let late = told.iter().filter_map(|effect| if let Effect::Blind(_, to) = effect { Some(to.0 as f64 / 1e9) } else { None });
        assert!(late.into_iter().all(|to| to <= end + 0.4), "{told:?}");
        assert!(matches!(told.last(), Some(Effect::Over { cause: StallCause::Memory, .. })), "{told:?}");
    }

    #[test]
    fn a_machine_that_always_waits_hides_nobody() {
        let mut world = World::default();
        let mut told = world.waits(0.0, 3);
        told.extend(world.waits(1.0, 3600));
        let excused = excused(&told);
        assert!(excused >= PRESSURE_MAX && excused <= PRESSURE_MAX + Duration::from_secs(2), "{excused:?}");
        assert_eq!(told.iter().filter(|effect| matches!(effect, Effect::Stalled(_))).count(), 1);
        // A lag is a lag, whatever is waited for.
        world.tick(Duration::from_secs(2));
        assert!(matches!(world.told[..], [Effect::Blind(..)]));
        world.waits(0.0, 20);
        assert!(matches!(world.waits(1.0, 5)[..], [Effect::Stalled(_), Effect::Blind(..), ..]), "after a calm time it counts anew");
    }

    #[test]
    fn what_is_not_known_says_nothing() {
        let mut world = World::default();
        world.waits(0.0, 3);
        for seconds in 0..10 {
            // It comes and goes, and counts from nothing each time.
            world.io = (seconds % 2 == 0).then(|| Duration::from_secs(1000 - seconds));
            world.tick(Duration::ZERO);
        }
        assert_eq!(world.told, []);
    }
}

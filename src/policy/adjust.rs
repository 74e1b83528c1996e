//! A limit that follows the pressure: raised while too much is waited for, lowered when nothing is for long, never beyond its range.
//!
//! Between the pressure it is raised at and a quarter of that nothing happens, and after each change it is left alone for the cool-down. Memory is
//! only taken back if what is used fits well into what is left: else the next look would have to give it back. What is not known changes
//! nothing, and begins the wait for calm anew.

use super::Machine;
use crate::base::limit::ControlFile;
use crate::base::time::Mono;
use crate::plan::AdjustedLimit;

/// Below this part of the pressure a limit is raised at, it is calm.
const CALM: f64 = 0.25;

/// It has to be calm for so many times the cool-down.
const CALM_FOR: u32 = 2;

/// What is used has to be at most this part of the memory that is left.
const ROOM: f64 = 0.8;

/// The machine is short of memory if less than this share of it is available: then nobody gets more.
const AVAILABLE_LEAST: f64 = 0.1;

/// Memory is given and taken in whole steps of this.
const GRAIN: u64 = 1 << 20;

/// What is measured at one time. What is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// The share of the last ten seconds in which something of it waited, from 0 to 1.
    pub pressure: Option<f64>,
    /// Of memory: how much is used that cannot be dropped at once, in bytes.
    pub used: Option<u64>,
    /// Of memory: the share of the machine's that is available.
    pub available: Option<f64>,
}

/// The limit is to be changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// What it was.
    pub was: u64,
    /// What it is to be.
    pub is: u64,
    /// The pressure that decided.
    pub pressure: f64,
}

/// One limit of one unit or supervisor.
#[derive(Clone, Debug)]
pub struct Adjuster {
    limit: AdjustedLimit,
    value: u64,
    /// When it was changed last, or began.
    changed: Mono,
    /// Since when it is calm.
    calm: Option<Mono>,
}

impl Adjuster {
    /// One that stands at `value`; at what is declared if that is out of its range.
    #[must_use]
    pub const fn new(limit: AdjustedLimit, value: u64, now: Mono) -> Self {
        let value = if limit.holds(value) { value } else { limit.declared };
        Self { limit, value, changed: now, calm: None }
    }

    /// The limit as it is declared.
    #[must_use]
    pub const fn limit(&self) -> &AdjustedLimit {
        &self.limit
    }

    /// Where it stands.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.value
    }

    /// Whether it stands elsewhere than declared.
    #[must_use]
    pub const fn is_adjusted(&self) -> bool {
        self.value != self.limit.declared
    }

    /// The change was not to be had.
    pub const fn go_back(&mut self, value: u64) {
        self.value = value;
    }

    fn is_memory(&self) -> bool {
        self.limit.file == ControlFile::MemoryHigh
    }

    fn raised(&self, sample: &Sample) -> u64 {
        // A weight takes nothing from the machine, only from its neighbours, and that is what it was declared for.
        if self.is_memory() && sample.available.is_none_or(|share| share < AVAILABLE_LEAST) {
            return self.value;
        }
        let more = self.value.saturating_add((self.value / 2).max(1));
        let more = if self.is_memory() { more.div_ceil(GRAIN).saturating_mul(GRAIN) } else { more };
        more.min(self.limit.range.ceiling)
    }

    fn lowered(&self, sample: &Sample) -> u64 {
        let less = self.value - (self.value / 5).max(1).min(self.value);
        let less = if self.is_memory() { less / GRAIN * GRAIN } else { less };
        let less = less.max(self.limit.range.floor);
        #[expect(clippy::cast_precision_loss, reason = "bytes are exact enough")]
        let fits = |used: u64| used as f64 <= less as f64 * ROOM;
        if self.is_memory() && !sample.used.is_some_and(fits) { self.value } else { less }
    }
}

impl Machine for Adjuster {
    type Input = Sample;
    type Effect = Change;

    fn step(&mut self, now: Mono, sample: Sample, out: &mut Vec<Change>) {
        let Some(pressure) = sample.pressure else {
            self.calm = None;
            return;
        };
        let most = f64::from(self.limit.pressure) / 1000.0;
        self.calm = (pressure < most * CALM).then(|| self.calm.unwrap_or(now));
        if now.since(self.changed) < self.limit.cool_down {
            return;
        }
        let is_calm = self.calm.is_some_and(|since| now.since(since) >= self.limit.cool_down.saturating_mul(CALM_FOR));
        let is = match (pressure > most, is_calm) {
            (true, _) => self.raised(&sample),
            (false, true) => self.lowered(&sample),
            (false, false) => return,
        };
        if is != self.value {
            let was = std::mem::replace(&mut self.value, is);
            (self.changed, self.calm) = (now, None);
            out.push(Change { was, is, pressure });
        }
    }

    fn deadline(&self) -> Option<Mono> {
        None
    }

    fn wake(&mut self, _now: Mono, _out: &mut Vec<Change>) {}
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::AdjustRange;

    const MIB: u64 = 1 << 20;
    const COOL_DOWN: Duration = Duration::from_secs(30);

    fn at(second: u64) -> Mono {
        Mono(0) + Duration::from_secs(second)
    }

    fn memory() -> AdjustedLimit {
        let range = AdjustRange { floor: 64 * MIB, ceiling: 512 * MIB };
        AdjustedLimit { file: ControlFile::MemoryHigh, declared: 128 * MIB, range, pressure: 100, cool_down: COOL_DOWN }
    }

    fn weight() -> AdjustedLimit {
        let range = AdjustRange { floor: 50, ceiling: 400 };
        AdjustedLimit { file: ControlFile::CpuWeight, declared: 100, range, pressure: 100, cool_down: COOL_DOWN }
    }

    /// What becomes of a limit under one and the same sample: when, and to what.
    fn under(limit: AdjustedLimit, sample: Sample, seconds: u64) -> Vec<(u64, u64)> {
        let mut adjuster = Adjuster::new(limit, limit.declared, at(0));
        let mut found = Vec::new();
        for second in 0..seconds {
            let mut out = Vec::new();
            adjuster.step(at(second), sample, &mut out);
            found.extend(out.iter().map(|change| (second, change.is)));
        }
        found
    }

    fn sample(pressure: f64, used: u64) -> Sample {
        Sample { pressure: Some(pressure), used: Some(used * MIB), available: Some(0.5) }
    }

    #[test]
    fn pressure_raises_to_the_ceiling_and_calm_lowers_to_what_is_used() {
        let mib = |steps: Vec<(u64, u64)>| steps.into_iter().map(|(second, bytes)| (second, bytes / MIB)).collect::<Vec<_>>();
        assert_eq!(mib(under(memory(), sample(0.3, 120), 1000)), [(30, 192), (60, 288), (90, 432), (120, 512)]);
        assert_eq!(mib(under(memory(), sample(0.0, 60), 1000)), [(60, 102), (121, 81)], "60 MiB are at most 80 % of 81 MiB");
        assert_eq!(mib(under(memory(), sample(0.0, 1), 1000)), [(60, 102), (121, 81), (182, 64)]);
        assert_eq!(under(weight(), sample(0.5, 0), 1000), [(30, 150), (60, 225), (90, 337), (120, 400)]);
        assert_eq!(under(weight(), sample(0.0, 0), 1000), [(60, 80), (121, 64), (182, 52), (243, 50)]);
    }

    #[test]
    fn between_the_two_and_without_data_nothing_happens() {
        assert_eq!(under(memory(), sample(0.1, 1), 1000), []);
        assert_eq!(under(memory(), sample(0.025, 1), 1000), []);
        assert_eq!(under(memory(), Sample { pressure: None, ..sample(0.0, 1) }, 1000), []);
        assert_eq!(under(memory(), Sample { available: Some(0.09), ..sample(0.9, 1) }, 1000), [], "the machine is short of it");
        assert_eq!(under(memory(), Sample { available: None, ..sample(0.9, 1) }, 1000), []);
        assert_eq!(under(memory(), Sample { used: None, ..sample(0.0, 1) }, 1000), []);
        let mut adjuster = Adjuster::new(weight(), 100, at(0));
        let mut out = Vec::new();
        for second in 0..1000 {
            // Each gap begins the wait for calm anew.
            let pressure = (second % 50 != 0).then_some(0.0);
            adjuster.step(at(second), Sample { pressure, ..Sample::default() }, &mut out);
        }
        assert_eq!(out, []);
    }

    #[test]
    fn what_is_found_is_taken_over_if_it_may_be() {
        assert_eq!(Adjuster::new(memory(), 300 * MIB, at(0)).value(), 300 * MIB);
        assert_eq!(Adjuster::new(memory(), 600 * MIB, at(0)).value(), 128 * MIB);
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        let share = || prop::option::weighted(0.9, 0.0..1.0_f64);
        (share(), prop::option::weighted(0.9, 0..600 * MIB), share()).prop_map(|(pressure, used, available)| Sample {
            pressure,
            used,
            available,
        })
    }

    proptest! {
        #[test]
        fn never_out_of_range_and_never_within_the_cool_down(
            is_memory: bool,
            looks in prop::collection::vec((1..20_u64, any_sample()), 1..300),
        ) {
            let limit = if is_memory { memory() } else { weight() };
            let mut adjuster = Adjuster::new(limit, limit.declared, at(0));
            let (mut second, mut last) = (0, 0);
            for (passed, sample) in looks {
                second += passed;
                let before = adjuster.value();
                let mut out = Vec::new();
                adjuster.step(at(second), sample, &mut out);
                prop_assert!(limit.holds(adjuster.value()));
                match out[..] {
                    [] => prop_assert_eq!(adjuster.value(), before),
                    [Change { was, is, .. }] => {
                        prop_assert!(second - last >= 30 && was == before && is == adjuster.value() && is != was);
                        prop_assert!(is <= was + was / 2 + MIB && is + was / 5 + MIB >= was);
                        prop_assert!(sample.pressure.is_some());
                        last = second;
                    }
                    _ => prop_assert!(false, "more than one change"),
                }
            }
        }

        #[test]
        fn under_one_and_the_same_sample_it_settles(is_memory: bool, sample in any_sample()) {
            let found = under(if is_memory { memory() } else { weight() }, sample, 3000);
            prop_assert!(found.iter().all(|(second, _)| *second < 1500), "{:?}", found);
            let values: Vec<_> = found.iter().map(|(_, value)| *value).collect();
            prop_assert!(values.is_sorted() || values.iter().rev().is_sorted(), "one way only: {:?}", values);
        }
    }
}

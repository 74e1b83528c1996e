//! Limits that follow the pressure: every default filled in.

use std::time::Duration;

use serde::Serialize;

use super::limits::LimitsPlan;
use super::resolve::or;
use crate::base::limit::{ControlFile, Setting};
use crate::spec::Field;
use crate::spec::adjust::AdjustSpec;

const DEFAULT_PRESSURE: u32 = 100;
const DEFAULT_COOL_DOWN: Duration = Duration::from_secs(30);

/// Which limits follow the pressure, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdjustPlan {
    /// `memory_high`, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_high: Option<AdjustRange>,
    /// `cpu_weight`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<AdjustRange>,
    /// Beyond this part of the time, in thousandths, a limit is raised.
    pub pressure: u32,
    /// A limit is not changed again for so long.
    pub cool_down: Duration,
}

/// Between what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct AdjustRange {
    /// The least.
    pub floor: u64,
    /// The most.
    pub ceiling: u64,
}

/// One limit that follows the pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjustedLimit {
    /// Which one: `memory.high` or `cpu.weight`.
    pub file: ControlFile,
    /// What it begins with.
    pub declared: u64,
    /// Between what.
    pub range: AdjustRange,
    /// Beyond this part of the time, in thousandths, it is raised.
    pub pressure: u32,
    /// It is not changed again for so long.
    pub cool_down: Duration,
}

impl AdjustedLimit {
    /// Whether it may be so much.
    #[must_use]
    pub const fn holds(&self, value: u64) -> bool {
        self.range.floor <= value && value <= self.range.ceiling
    }

    /// What is written to make it so much.
    #[must_use]
    pub fn setting(&self, value: u64) -> Setting {
        Setting::new(self.file, value.to_string())
    }
}

impl LimitsPlan {
    /// The limits that follow the pressure.
    #[must_use]
    pub fn adjusted(&self) -> Vec<AdjustedLimit> {
        let Some(adjust) = &self.adjust else { return Vec::new() };
        let of = |file, declared, range: Option<AdjustRange>| {
            Some(AdjustedLimit { file, declared, range: range?, pressure: adjust.pressure, cool_down: adjust.cool_down })
        };
        let memory = self.memory_high.0.and_then(|declared| of(ControlFile::MemoryHigh, declared, adjust.memory_high));
        memory.into_iter().chain(of(ControlFile::CpuWeight, self.cpu_weight.into(), adjust.cpu_weight)).collect()
    }

    /// What is declared for a limit that can follow the pressure; `None`: it has no bound, or cannot.
    #[must_use]
    pub fn declared(&self, file: ControlFile) -> Option<u64> {
        match file {
            ControlFile::MemoryHigh => self.memory_high.0,
            ControlFile::CpuWeight => Some(self.cpu_weight.into()),
            _ => None,
        }
    }

    /// What controllers are needed for: what is written into a fresh cgroup, and what may come to be written.
    #[must_use]
    pub fn needed(&self) -> Vec<Setting> {
        let mut settings = self.settings();
        for limit in self.adjusted() {
            if settings.iter().all(|setting| setting.file != limit.file) {
                settings.push(limit.setting(limit.declared));
            }
        }
        settings
    }
}

/// What is declared beside these limits.
pub(super) fn adjust_plan(spec: &Field<AdjustSpec>, limits: &LimitsPlan) -> Option<AdjustPlan> {
    let spec = &spec.as_ref()?.value;
    let range = |declared: u64, floor: Option<u64>, ceiling: Option<u64>| {
        let floor = floor.unwrap_or(declared);
        AdjustRange { floor, ceiling: ceiling.unwrap_or(declared).max(floor) }
    };
    let memory_high = spec.memory_high.as_ref().zip(limits.memory_high.0).map(|(given, declared)| {
        let size = |field: &Field<crate::spec::value::Size<1_048_576>>| or(field, None, |size| Some(size.0));
        range(declared, size(&given.value.floor), size(&given.value.ceiling))
    });
    let cpu_weight = spec.cpu_weight.as_ref().map(|given| {
        let weight = |field: &Field<crate::spec::value::Int<1, 10_000>>| or(field, None, |weight| Some(u64::from(weight.to_u32())));
        range(limits.cpu_weight.into(), weight(&given.value.floor), weight(&given.value.ceiling))
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
    let pressure = or(&spec.pressure, DEFAULT_PRESSURE, |share| (share.0 * 1000.0).round().max(1.0) as u32);
    let cool_down = or(&spec.cool_down, DEFAULT_COOL_DOWN, |time| time.0);
    Some(AdjustPlan { memory_high, cpu_weight, pressure, cool_down })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn ranges_begin_with_what_is_declared() {
        let unit = "unit: a\nexec: x\nlimits: {memory_high: 256MiB, adjust: {memory_high: {ceiling: 1GiB}, cpu_weight: {floor: 50, ceiling: 400}, pressure: 2.5%}}\n";
        let plan = plan_of(&[("units/u.yaml", unit)]);
        let limits = &plan.units["a"].limits;
        let [memory, weight] = limits.adjusted()[..] else { panic!("{limits:?}") };
        assert_eq!((memory.file, memory.declared, memory.range.floor), (ControlFile::MemoryHigh, 256 << 20, 256 << 20));
        assert_eq!((memory.range.ceiling, memory.pressure, memory.cool_down), (1 << 30, 25, DEFAULT_COOL_DOWN));
        assert_eq!((weight.declared, weight.range), (100, AdjustRange { floor: 50, ceiling: 400 }));
        let texts = |settings: Vec<Setting>| settings.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(limits.settings()), ["memory.high=268435456"], "only what differs is written");
        assert_eq!(texts(limits.needed()), ["memory.high=268435456", "cpu.weight=100"]);
    }
}

//! How the kernel is to treat the processes of a unit, in its own numbers.

use super::resolve::or;
use crate::base::cpus::Cpus;
use crate::base::scheduling::{IoClass, SchedulerPolicy, Scheduling};
use crate::spec::scheduling::{IoPrioritySpec, RlimitsSpec, SchedulerSpec};
use crate::spec::unit::UnitSpec;

const DEFAULT_LEVEL: i32 = 4;

/// What is declared for a unit. What is not stays as it is inherited.
pub(super) fn scheduling(spec: &UnitSpec) -> Scheduling {
    Scheduling {
        scheduler: spec.scheduler.as_ref().map(|spec| scheduler(&spec.value)),
        io_priority: spec.io_priority.as_ref().map(|spec| io_priority(&spec.value)),
        affinity: spec.cpu_affinity.as_ref().map(|cpus| mask(&cpus.value.0)),
        rlimits: spec.rlimits.as_ref().map(|spec| rlimits(&spec.value)).unwrap_or_default(),
        oom_score_adj: spec.oom_score_adj.as_ref().map(|score| i32::try_from(score.value.0).unwrap_or(0)),
    }
}

fn scheduler(spec: &SchedulerSpec) -> (i32, i32) {
    let policy = or(&spec.policy, SchedulerPolicy::default(), |policy| policy.0);
    (policy.number(), or(&spec.priority, 0, |priority| i32::try_from(priority.0).unwrap_or(0)))
}

fn io_priority(spec: &IoPrioritySpec) -> i32 {
    let class = or(&spec.class, IoClass::default(), |class| class.0);
    let assumed = if class == IoClass::Idle { 0 } else { DEFAULT_LEVEL };
    class.number(or(&spec.level, assumed, |level| i32::try_from(level.0).unwrap_or(assumed)))
}

fn rlimits(spec: &RlimitsSpec) -> Vec<(u32, u64, u64)> {
    let mut limits: Vec<_> = spec.0.iter().map(|(number, limit)| (*number, limit.value.soft, limit.value.hard)).collect();
    limits.sort_unstable();
    limits
}

/// A bit for each processor.
fn mask(cpus: &Cpus) -> Vec<u64> {
    let mut words = Vec::new();
    for cpu in cpus.iter().map(usize::from) {
        if words.len() <= cpu / 64 {
            words.resize(cpu / 64 + 1, 0);
        }
        words[cpu / 64] |= 1 << (cpu % 64);
    }
    words
}

#[cfg(test)]
mod tests {
    use crate::plan::plan_of;

    #[test]
    fn words_become_the_numbers_of_system_calls() {
        let unit = |text: &str| plan_of(&[("units/u.yaml", &format!("unit: a\nexec: x\n{text}"))]).units["a"].scheduling.clone();
        let all = unit(
            "scheduler: {policy: rr, priority: 5}\nio_priority: 7\ncpu_affinity: 0,65\nrlimits: {nofile: '1024:infinity', core: 0}\noom_score_adj: -5\n",
        );
        assert_eq!((all.scheduler, all.io_priority, all.oom_score_adj), (Some((2, 5)), Some(2 << 13 | 7), Some(-5)));
        assert_eq!(all.affinity, Some(vec![1, 2]));
        assert_eq!(all.rlimits, [(4, 0, 0), (7, 1024, u64::MAX)]);
        assert_eq!(unit("io_priority: idle\nscheduler: batch").io_priority, Some(3 << 13));
        assert_eq!(unit(""), super::Scheduling::default());
    }
}

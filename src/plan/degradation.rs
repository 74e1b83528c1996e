//! What the daemon does without under pressure: every default filled in.

use std::time::Duration;

use serde::Serialize;

use super::resolve::or;
pub use crate::base::choice::DegradationStep;
use crate::spec::Field;
use crate::spec::degradation::DegradationSpec;
use crate::spec::restart::Share;

const DEFAULT_LIMITS: PressureLimits = PressureLimits {
    cpu: Some(0.6),
    memory: Some(0.2),
    io: Some(0.6),
    memory_available: Some(0.05),
    brain_lag: Some(Duration::from_millis(500)),
};
const DEFAULT_FOR: Duration = Duration::from_secs(30);
const DEFAULT_CLEAR: f64 = 0.8;
const DEFAULT_RECOVER_FOR: Duration = Duration::from_secs(60);
const DEFAULT_SLOWDOWN: u32 = 4;
const DEFAULT_STEPS: [DegradationStep; 4] =
    [DegradationStep::SlowSampling, DegradationStep::FewerProbes, DegradationStep::PauseOptional, DegradationStep::StopOptional];

/// What the daemon does without, step by step, while there is too little of something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DegradationPlan {
    /// What is too little.
    pub limits: PressureLimits,
    /// Beyond any limit for so long, the next step is taken.
    #[serde(rename = "for")]
    pub patience: Duration,
    /// All is well below this part of each limit.
    pub clear: f64,
    /// Well for so long, the last step is undone.
    pub recover_for: Duration,
    /// The steps, in the order they are taken.
    pub steps: Vec<DegradationStep>,
    /// How many times more seldom is looked, where that is a step.
    pub slowdown: u32,
}

/// From where on there is too little of something; shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PressureLimits {
    /// The most of the last ten seconds in which something may wait for a processor.
    pub cpu: Option<f64>,
    /// The same for memory.
    pub memory: Option<f64>,
    /// The same for input and output.
    pub io: Option<f64>,
    /// The least of the memory that has to be available.
    pub memory_available: Option<f64>,
    /// How late a timer of the daemon may be.
    pub brain_lag: Option<Duration>,
}

pub(super) fn degradation(spec: &DegradationSpec) -> DegradationPlan {
    let share = |share: &Field<Share>| share.as_ref().map(|share| share.0);
    let given = PressureLimits {
        cpu: share(&spec.cpu_pressure),
        memory: share(&spec.memory_pressure),
        io: share(&spec.io_pressure),
        memory_available: share(&spec.memory_available),
        brain_lag: spec.brain_lag.as_ref().map(|time| time.0),
    };
    let steps = spec.steps.as_ref().map(|steps| &steps.0[..]);
    let slowdown = steps.and_then(|steps| steps.iter().find_map(|step| step.slowdown));
    DegradationPlan {
        limits: if given == PressureLimits::default() { DEFAULT_LIMITS } else { given },
        patience: or(&spec.for_, DEFAULT_FOR, |time| time.0),
        clear: or(&spec.clear, DEFAULT_CLEAR, |share| share.0),
        recover_for: or(&spec.recover_for, DEFAULT_RECOVER_FOR, |time| time.0),
        steps: steps.map_or_else(|| DEFAULT_STEPS.to_vec(), |steps| steps.iter().map(|step| step.kind).collect()),
        slowdown: slowdown.unwrap_or(DEFAULT_SLOWDOWN),
    }
}

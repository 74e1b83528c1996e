//! What is done, step by step, when a unit or a probe fails again and again: every default filled in.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::resolve::or;
pub use crate::base::choice::{RemediationMode, RestartScope};
use crate::base::text::url_host;
use crate::spec::remediation::{RemediationSpec, StepSpec};

const DEFAULT_PERIOD: Duration = Duration::from_secs(600);
const DEFAULT_COOL_DOWN: Duration = Duration::from_secs(60);
const DEFAULT_RESET_AFTER: Duration = Duration::from_secs(600);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
const DEFAULT_BUDGET_PERIOD: Duration = Duration::from_secs(3600);

/// The steps of one unit or probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RemediationPlan {
    /// The first step is taken after so many failures …
    pub failures: u32,
    /// … in this time.
    pub period: Duration,
    /// After it was well for so long the steps begin anew.
    pub reset_after: Duration,
    /// The steps, the mildest first.
    pub steps: Vec<StepPlan>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepPlan {
    /// What is done.
    pub action: Action,
    /// Whether it is.
    pub mode: RemediationMode,
    /// How long it may take.
    pub timeout: Duration,
    /// How long it is given to help.
    pub cool_down: Duration,
    /// How often it may be taken, in which time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<(u32, Duration)>,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Starts again.
    Restart(RestartScope),
    /// Runs a script.
    Run {
        /// The script, relative to the directory of scripts, and its arguments.
        words: Vec<String>,
        /// The user it runs as.
        user: Option<String>,
    },
    /// Sends what has happened to this URL.
    Notify(String),
    /// Stops the unit, as by an operator.
    GiveUp,
}

impl Action {
    /// The same in full, for whoever carries it out.
    #[must_use]
    pub fn in_full(&self) -> String {
        match self {
            Self::Run { words, .. } => format!("run: {}", words.join(" ")),
            Self::Notify(url) => format!("notify: {url}"),
            Self::Restart(_) | Self::GiveUp => self.to_string(),
        }
    }
}

/// As it is told in events: no more than who is run, and who is told, for everybody sees it who sees events.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restart(scope) => write!(f, "restart: {scope}"),
            Self::Run { words, .. } if words.len() > 1 => write!(f, "run: {} …", words[0]),
            Self::Run { words, .. } => write!(f, "run: {}", words.join(" ")),
            Self::Notify(url) => write!(f, "notify: {}", url_host(url)),
            Self::GiveUp => f.write_str("give_up"),
        }
    }
}

/// The plan of a ladder whose texts are expanded by `text`; it begins after so many failures if that is not declared.
pub(super) fn remediation(spec: &RemediationSpec, failures: u32, text: &impl Fn(&str) -> String) -> RemediationPlan {
    let cool_down = or(&spec.cool_down, DEFAULT_COOL_DOWN, |time| time.0);
    let mode = spec.mode.as_ref().map(|mode| mode.0);
    let steps = spec.steps.iter().flat_map(|steps| &steps.value.0);
    RemediationPlan {
        failures: or(&spec.failures, failures, |count| count.to_u32()),
        period: or(&spec.period, DEFAULT_PERIOD, |time| time.0),
        reset_after: or(&spec.reset_after, DEFAULT_RESET_AFTER, |time| time.0),
        steps: steps.map(|step| step_plan(&step.value, cool_down, mode, text)).collect(),
    }
}

fn step_plan(spec: &StepSpec, cool_down: Duration, mode: Option<RemediationMode>, text: &impl Fn(&str) -> String) -> StepPlan {
    let action = match spec {
        StepSpec { restart: Some(scope), .. } => Action::Restart(scope.0),
        StepSpec { run: Some(words), user, .. } => {
            let words = words.value.0.iter().map(|word| text(&word.value)).collect();
            Action::Run { words, user: user.as_ref().map(|user| user.value.0.clone()) }
        }
        StepSpec { notify: Some(url), .. } => Action::Notify(text(&url.0)),
        _ => Action::GiveUp,
    };
    // Beyond restarts of what is its own it only says what it would do, unless somebody has said that it may.
    let assumed = if matches!(action, Action::Restart(_)) { RemediationMode::Enforce } else { RemediationMode::Observe };
    StepPlan {
        action,
        mode: spec.mode.as_ref().map(|mode| mode.0).or(mode).unwrap_or(assumed),
        timeout: or(&spec.timeout, DEFAULT_TIMEOUT, |time| time.0),
        cool_down: or(&spec.cool_down, cool_down, |time| time.0),
        budget: spec.budget.as_ref().map(|budget| {
            // Without a number there is a diagnostic.
            (or(&budget.times, 1, |times| times.to_u32()), or(&budget.period, DEFAULT_BUDGET_PERIOD, |time| time.0))
        }),
    }
}

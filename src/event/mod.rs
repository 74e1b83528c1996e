//! Facts in the past tense, and what can be read off them.

mod adjust;
mod catalog;
mod causes;
mod counters;
mod degradation;
mod envelope;
mod gap;
mod health;
mod host;
mod isolation;
mod limits;
mod notices;
mod overrides;
mod remediation;
mod severity;
mod subject;
mod text;
mod view;
mod watch;
mod wish;

pub use adjust::{AdjustCause, LimitAdjusted};
pub use catalog::Event;
pub use causes::{PauseMeans, RestartCause, ResumeCause};
pub use counters::{BOUNDS, Counters, ExitLabel, Histogram};
pub use degradation::{DegradationStatus, DegradationStepped};
pub use envelope::Envelope;
pub use gap::{Gap, GapReason, gap_line, spill_gap_line};
pub use health::{HealthStatus, ProbeStatus};
pub use host::{HostStatus, Stall, StallCause, StallOver};
pub use isolation::{IsolationIncomplete, IsolationStatus, SecretsRenewed};
pub use limits::{
    GroupUse, LimitCleared, LimitDrifted, LimitReached, LimitRefused, LimitStatus, LimitsChanged, LimitsUnavailable, MEMORY_PRESSURE,
    OomKilled, OomPlace, OomVictim,
};
pub use notices::NoticeDrop;
pub use overrides::{Override, OverrideEnd, OverrideEnded};
pub use remediation::{Remediation, RemediationStage, RemedyContext};
pub use severity::{Severity, severity};
pub use text::event_text;
pub use view::{LastExit, SupervisorStatus, UnitStatus, View};
pub use watch::{ProcessFound, ProcessGone, ProcessSample, UnitFound, UnitLost, WatchStatus};
pub use wish::{Desired, StoreFailure, StoreRestored, StoreStatus, Wish};

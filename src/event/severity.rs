//! How serious an event is.

use super::Event;

/// How serious an event is, in the levels of syslog(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Severity {
    /// Something is not done that ought to be, and will not be by itself.
    Error = 3,
    /// Something went wrong and is dealt with, or may become worse.
    Warning = 4,
    /// Somebody wanted it so, and others may like to know.
    Notice = 5,
    /// The course of things.
    Info = 6,
}

/// How serious it is.
#[must_use]
pub const fn severity(event: &Event) -> Severity {
    match event {
        Event::UnitGivenUp { .. }
        | Event::UnitStartFailed { .. }
        | Event::IntensityReached { .. }
        | Event::DaemonDegraded { .. }
        | Event::BrainEnded { .. }
        | Event::ReloadRefused { .. }
        | Event::UpgradeFailed { .. }
        | Event::StoreFailed { .. } => Severity::Error,
        Event::UnitExited { expected: false, .. }
        | Event::OomKilled(_)
        | Event::LimitRefused(_)
        | Event::LimitDrifted(_)
        | Event::LimitsUnavailable(_)
        | Event::TasksMaxReached(_)
        | Event::MemoryHighReached(_)
        | Event::MemoryPressure(_)
        | Event::IsolationIncomplete(_)
        | Event::UnitTimedOut { .. }
        | Event::UnitUnwell { .. }
        | Event::UnitUnready { .. }
        | Event::UnitLost(_)
        | Event::UnitMainRefused { .. }
        | Event::NotificationsDropped { .. }
        | Event::ProbeChanged { passing: false, .. }
        | Event::BreakerChanged { .. }
        | Event::KeeperLost { .. }
        | Event::LogLost { .. }
        | Event::LogDropped { .. }
        | Event::LogFull { .. }
        | Event::LogBlocked { .. }
        | Event::StoreRestored(_)
        | Event::StoreBackupFailed { .. }
        | Event::WishForgotten { .. }
        | Event::EventsDropped { .. }
        | Event::ObserverStalled(_)
        | Event::DegradationStepped(_)
        | Event::Remediation(_) => Severity::Warning,
        Event::DaemonStarted { .. }
        | Event::DaemonReady { .. }
        | Event::DaemonStopping { .. }
        | Event::DaemonUpgraded { .. }
        | Event::PlanApplied { .. }
        | Event::CommandReceived { .. }
        | Event::OverrideSet(_)
        | Event::OverrideEnded(_)
        | Event::HealthChanged { .. }
        | Event::LimitsChanged(_)
        | Event::LimitAdjusted(_)
        | Event::SecretsRenewed(_) => Severity::Notice,
        _ => Severity::Info,
    }
}

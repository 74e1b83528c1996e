//! Whom an event is about.

use super::catalog::Event;
use super::{
    LimitAdjusted, LimitCleared, LimitDrifted, LimitRefused, LimitsChanged, OverrideEnded, ProcessFound, ProcessGone, UnitFound, UnitLost,
};

impl Event {
    /// The unit, supervisor or child it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        match self {
            Self::UnitStarting { unit, .. }
            | Self::UnitHeldBack { unit, .. }
            | Self::UnitActive { unit, .. }
            | Self::UnitAdopted { unit, .. }
            | Self::UnitStartFailed { unit, .. }
            | Self::UnitExited { unit, .. }
            | Self::ProbeChanged { unit, .. }
            | Self::UnitGivenUp { unit, .. }
            | Self::UnitUnbound { unit, .. }
            | Self::UnitUnwell { unit, .. }
            | Self::UnitUnready { unit, .. }
            | Self::UnitReady { unit }
            | Self::UnitStopping { unit }
            | Self::UnitTimedOut { unit }
            | Self::UnitStopped { unit }
            | Self::UnitSignalled { unit, .. }
            | Self::UnitMainChanged { unit, .. }
            | Self::UnitMainRefused { unit, .. }
            | Self::NotificationsDropped { unit, .. }
            | Self::BreakerChanged { unit, .. }
            | Self::UnitPaused { unit, .. }
            | Self::UnitResumed { unit, .. }
            | Self::LogLost { unit, .. }
            | Self::LogRotated { unit, .. }
            | Self::LogDropped { unit, .. }
            | Self::LogFull { unit, .. }
            | Self::LogHasRoom { unit }
            | Self::LogBlocked { unit, .. } => Some(unit.as_str()),
            Self::LimitsChanged(LimitsChanged { target, .. })
            | Self::LimitRefused(LimitRefused { target, .. })
            | Self::LimitDrifted(LimitDrifted { target, .. })
            | Self::LimitAdjusted(LimitAdjusted { target, .. })
            | Self::LimitCleared(LimitCleared { target, .. }) => Some(target),
            Self::OverrideSet(set) | Self::OverrideEnded(OverrideEnded { ended: set, .. }) => Some(&set.target),
            Self::TasksMaxReached(reached) | Self::MemoryHighReached(reached) | Self::MemoryPressure(reached) => Some(&reached.target),
            Self::OomKilled(killed) => Some(killed.unit.as_str()),
            Self::Remediation(remediation) => Some(remediation.unit.as_str()),
            Self::IsolationIncomplete(incomplete) => Some(incomplete.unit.as_str()),
            Self::SecretsRenewed(renewed) => Some(renewed.unit.as_str()),
            Self::ProcessFound(ProcessFound { unit, .. })
            | Self::ProcessGone(ProcessGone { unit, .. })
            | Self::UnitFound(UnitFound { unit, .. })
            | Self::UnitLost(UnitLost { unit, .. }) => Some(unit.as_str()),
            Self::ChildTerminated { supervisor, .. }
            | Self::HealthChanged { supervisor, .. }
            | Self::SupervisorUp { supervisor }
            | Self::IntensityReached { supervisor, .. }
            | Self::SupervisorEnded { supervisor, .. } => Some(supervisor.as_str()),
            Self::CommandReceived { target, .. } | Self::WishForgotten { target, .. } => Some(target),
            Self::DaemonStarted { .. }
            | Self::BrainEnded { .. }
            | Self::KeeperLost { .. }
            | Self::DaemonUpgraded { .. }
            | Self::UpgradeFailed { .. }
            | Self::DaemonReady { .. }
            | Self::DaemonStopping { .. }
            | Self::DaemonDegraded { .. }
            | Self::PlanApplied { .. }
            | Self::ReloadRefused { .. }
            | Self::StoreFailed { .. }
            | Self::StoreRecovered { .. }
            | Self::StoreRestored(_)
            | Self::StoreBackupFailed { .. }
            | Self::ObserverStalled(_)
            | Self::ObserverRecovered(_)
            | Self::DegradationStepped(_)
            | Self::LimitsUnavailable(_)
            | Self::EventsDropped { .. } => None,
        }
    }
}

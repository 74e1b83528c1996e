//! What a supervisor tells of its children.

use crate::base::choice::RestartType;
use crate::base::shutdown::ShutdownTimeout;
use crate::policy::supervisor::{ChildView, Standing};

use super::handle::ChildRef;

/// A child as its supervisor sees it.
#[derive(Clone, Debug)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub state: ChildState,
    /// Whether it is a supervisor.
    pub supervisor: bool,
    /// When it is started again.
    pub restart: RestartType,
    /// How long it may take to end when asked.
    pub shutdown: ShutdownTimeout,
    /// Whether its end may end its supervisor.
    pub significant: bool,
    /// The incarnation that runs, if one does.
    pub child: Option<ChildRef>,
}

/// Where a child stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It has a process, an actor, a thread, a task.
    Running,
    /// It has none because a restart failed; the next try is due.
    Restarting,
    /// It has none (OTP's `undefined`).
    Stopped,
}

impl ChildInfo {
    pub(super) fn new(view: &ChildView, child: Option<ChildRef>) -> Self {
        let state = match view.standing {
            Standing::Down => ChildState::Stopped,
            Standing::Restarting => ChildState::Restarting,
            Standing::Starting | Standing::Up | Standing::Stopping => ChildState::Running,
        };
        let spec = &view.spec;
        Self {
            id: spec.id.to_string(),
            state,
            supervisor: spec.supervisor,
            restart: spec.restart,
            shutdown: spec.shutdown,
            significant: spec.significant,
            child: child.filter(|_| state == ChildState::Running),
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == ChildState::Running
    }
}

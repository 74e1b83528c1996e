//! What operators ask of the tree, and why it may not be done.

use crate::base::id::SupervisorId;
use crate::event::Desired;
use crate::policy::supervisor::{Request, RequestError, Which};

/// Why nothing is done to what is only watched.
pub(super) const NOT_OURS: &str = "it was not started by us";

/// What is asked of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Start it.
    Start,
    /// Stop it.
    Stop {
        /// Whether it stays stopped whatever its siblings do.
        hold: bool,
    },
    /// Stop it if it runs, and start it.
    Restart,
}

/// What became of what was asked of a child.
#[derive(Debug)]
pub struct Answer {
    /// Whether it was done.
    pub done: Result<(), TreeError>,
    /// Whether it outlives the daemon and the machine's power; why not.
    pub remembered: Result<(), String>,
}

impl Ask {
    pub(super) const fn desired(self) -> Desired {
        match self {
            Self::Stop { .. } => Desired::Stopped,
            Self::Start | Self::Restart => Desired::Started,
        }
    }

    /// As a word.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop { .. } => "stop",
            Self::Restart => "restart",
        }
    }

    pub(super) fn request(self, target: &str) -> Request {
        let child = Which::from(target);
        match self {
            Self::Start => Request::Start(child),
            Self::Stop { hold } => Request::Stop { child, hold },
            Self::Restart => Request::Restart(child),
        }
    }
}

/// Why a request to the tree cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Neither a unit nor a supervisor has this name.
    #[error("there is no unit or supervisor called `{0}`")]
    Unknown(String),
    /// It is the root supervisor, which nobody stands above.
    #[error("`{0}` is the root of the tree; use `stop` on its children, or stop the daemon")]
    Root(String),
    /// The supervisor refuses.
    #[error("cannot {0} `{1}`: {2}")]
    Refused(&'static str, String, RequestError),
    /// It has no process to signal.
    #[error("`{0}` is not a unit")]
    NotAUnit(String),
    /// The unit is in no state for it.
    #[error("cannot {0} `{1}`: {2}")]
    Unfit(&'static str, String, String),
    /// The supervisor above it does not run.
    #[error("`{0}` cannot be reached: its supervisor `{1}` does not run; start that one")]
    SupervisorDown(String, SupervisorId),
}

//! Which process, among all that ever were.

use serde::{Deserialize, Serialize};

/// A process. Its number may be given to another one after it; both together are not, as long as the machine runs.
///
/// Older ones come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// When it was started, in clock ticks since the machine was (proc_pid_stat(5)).
    pub started: u64,
    /// Its process id.
    pub pid: u32,
}

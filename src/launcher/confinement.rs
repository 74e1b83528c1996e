//! What a process is kept from, as the brain tells it to the launcher: nothing is looked up or decided any more.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::id::UnitId;

/// What a process is kept from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// What it finds at which path; a directory stands before what is in it. With any of them it has a mount namespace of its own.
    pub mounts: Vec<Mount>,
    /// It has a network namespace of its own.
    pub private_network: bool,
    /// Instead of namespaces of its own it enters those of this unit's main process.
    pub join: Option<UnitId>,
    /// The capabilities it keeps, as a bit mask; `None`: those that come with its user.
    pub capabilities: Option<u64>,
    /// Whether the others can be taken from the bounding set. Where they cannot, nothing can be gained from it with `no_new_privileges`.
    pub drops_bounding: bool,
    /// It can gain no privilege by what it executes.
    pub no_new_privileges: bool,
    /// It has a session keyring of its own.
    pub private_keyring: bool,
    /// What it may use of files and TCP.
    pub landlock: Option<Landlock>,
    /// Filters of system calls, as `struct sock_filter` one after the other; the last one is installed last.
    pub filters: Vec<Vec<u8>>,
    /// What cannot be had is done without, and said.
    pub best_effort: bool,
}

impl Confinement {
    /// The steps it consists of, the same in any confinement that is as strict.
    #[must_use]
    pub const fn has_namespaces(&self) -> bool {
        !self.mounts.is_empty() || self.private_network
    }
}

/// What a process finds at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The path. It exists.
    pub path: PathBuf,
    /// What is there.
    pub kind: MountKind,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// The same, to be read only, with all that is below.
    ReadOnly,
    /// The same as outside.
    Same,
    /// An empty directory nobody may enter.
    HiddenDirectory,
    /// A file nobody may open.
    HiddenFile,
    /// An empty directory in memory that everybody may write to.
    Temporary,
}

/// What a process may use by Landlock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landlock {
    /// What it may read.
    pub read: Vec<PathBuf>,
    /// What it may read and change.
    pub write: Vec<PathBuf>,
    /// What it may read and execute.
    pub execute: Vec<PathBuf>,
    /// Where it may listen; `None`: anywhere.
    pub bind_tcp: Option<Vec<u16>>,
    /// Where it may connect to; `None`: anywhere.
    pub connect_tcp: Option<Vec<u16>>,
}

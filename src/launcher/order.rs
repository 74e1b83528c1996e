//! The order to start a process.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::confinement::Confinement;
use crate::base::id::UnitId;
use crate::base::limit::Setting;
use crate::base::scheduling::Scheduling;
use crate::base::secret::Secret;

/// Everything needed to start a main process; nothing is looked up any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawn {
    /// The unit.
    pub unit: UnitId,
    /// The number of this run, larger than any before it.
    pub run: u64,
    /// The program, absolute or relative to `directory`.
    pub program: PathBuf,
    /// The arguments, the program's name first.
    pub arguments: Vec<String>,
    /// The whole environment, as `NAME=value`.
    pub environment: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Whom it runs as; `None`: the launcher's own user.
    pub credentials: Option<Credentials>,
    /// The file mode creation mask.
    pub umask: u32,
    /// The scheduling niceness.
    pub nice: i32,
    /// How else the kernel treats it.
    pub scheduling: Scheduling,
    /// The supervisors whose cgroups it is in, from below the root down.
    pub group: Vec<String>,
    /// What is written into the control files of its own cgroup.
    pub limits: Vec<Setting>,
    /// The file its stdin is; /dev/null without.
    pub input: Option<PathBuf>,
    /// Where stdout and stderr go.
    pub output: Output,
    /// The file its stderr is appended to, if not there, too.
    pub stderr: Option<PathBuf>,
    /// Where to bind the unit's notification socket.
    pub notify: Option<PathBuf>,
    /// At which descriptor the unit finds the write end of a readiness pipe.
    pub ready_fd: Option<i32>,
    /// What it is kept from.
    pub confinement: Option<Box<Confinement>>,
    /// Variables besides, as `NAME=value`, that nobody else is to see.
    pub secrets: Vec<Secret>,
}

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Where a unit's stdout and stderr go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// Appended to this file.
    File(PathBuf),
    /// Into a pipe whose read end the brain gets.
    Pipe,
    /// To /dev/null.
    Null,
}

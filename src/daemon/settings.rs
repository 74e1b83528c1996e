//! What `run` tells the brain, through the launcher, as one argument.

use serde::{Deserialize, Serialize};

use crate::cli::Listen;
use crate::os::paths::Directories;

/// What a brain has to know before it reads any file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where things are.
    pub directories: Directories,
    /// Where metrics and health are served, instead of what `daemon.yaml` says.
    pub listen: Option<Listen>,
    /// Whether events are printed.
    pub events: bool,
    /// Whether nothing is printed in colour.
    pub plain: bool,
    /// Whether events go to systemd's journal.
    #[serde(default)]
    pub journald: bool,
    /// Whether the units' output is printed.
    pub logs: bool,
}

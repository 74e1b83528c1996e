//! From files to a plan that fits this machine; and the declarations that were applied last, for a brain that comes back.
#![expect(clippy::disallowed_methods, reason = "remembers what was applied last")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::overrides::{self, Held};
use crate::os::foreign::{self, Purpose, Table};
use crate::os::paths::{Directories, SOCKET_PATH_MAX};
use crate::os::{inherited, logfile, private, trust};
use crate::plan::{LogMode, Plan, resolve, with_sockets};
use crate::spec::{self, Declared, Diagnostics, OVERRIDES, SourceFile};

/// A plan with the files it comes from.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    pub(super) plan: Arc<Plan>,
    files: Vec<SourceFile>,
    /// What operators have set on top of them.
    pub(super) overrides: Vec<Held>,
    /// Whether logs go through pipes because their file system cannot take a file's head off.
    pub(super) pipes_instead: bool,
}

impl Loaded {
    /// The files without what operators have set.
    pub(super) fn files(&self) -> Vec<SourceFile> {
        self.files.iter().filter(|file| file.path != OVERRIDES).cloned().collect()
    }
}

/// The plan the files in the configuration directory declare, with what operators have set. Blocks.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn load(directories: &Directories, overrides: Vec<Held>) -> Result<Loaded, Box<Diagnostics>> {
    foreign::doing(format_args!("reading the declarations in {}", directories.config.display()));
    let declared = spec::load_trusted(&directories.config, inherited::tier().as_deref(), &trust::refusal);
    above(understand(&declared, directories)?, overrides, directories)
}

/// How long it may take to read all declarations. Whoever reloads waits as long.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// Reads declarations by a thread that may hang: they, too, may lie where nobody answers.
///
/// # Errors
/// Everything that is wrong with them, or that they cannot be read in time.
pub(super) async fn in_time(
    directories: &Directories,
    read: impl FnOnce() -> Result<Loaded, Box<Diagnostics>> + Send + 'static,
) -> Result<Loaded, Box<Diagnostics>> {
    match foreign::look((Purpose::Other, Table::Own), "declarations", READ_WITHIN, read).await {
        Ok(loaded) => loaded,
        Err(hangs) => understand(&spec::unreadable(&directories.config, &hangs.to_string()), directories),
    }
}

/// The plan of these files, with what operators have set. Blocks.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn with(files: Vec<SourceFile>, overrides: Vec<Held>, directories: &Directories) -> Result<Loaded, Box<Diagnostics>> {
    above(understand(&spec::parse(files), directories)?, overrides, directories)
}

/// The same, with this on top.
fn above(base: Loaded, overrides: Vec<Held>, directories: &Directories) -> Result<Loaded, Box<Diagnostics>> {
    let Some(source) = overrides::source(&base.plan, &overrides) else { return Ok(Loaded { overrides, ..base }) };
    let files = base.files.into_iter().chain([source]).collect();
    Ok(Loaded { overrides, ..understand(&spec::parse(files), directories)? })
}

/// The plan that was applied last, if that was remembered and still is one. Blocks.
pub(super) fn load_applied(directories: &Directories, overrides: Vec<Held>) -> Option<Loaded> {
    let text = std::fs::read_to_string(applied(directories)).ok()?;
    let files: Vec<(String, String)> = serde_json::from_str(&text).ok()?;
    let files = files.into_iter().map(|(path, text)| SourceFile { path, text }).filter(|file| file.path != OVERRIDES).collect();
    with(files, overrides, directories).ok()
}

/// Remembers the declarations that are applied now. Blocks.
///
/// # Errors
/// The state directory cannot be written; what was remembered before still is.
pub(super) fn remember(loaded: &Loaded, directories: &Directories) -> io::Result<()> {
    let files: Vec<_> = loaded.files.iter().map(|file| (&file.path, &file.text)).collect();
    private::replace(&applied(directories), &serde_json::to_vec(&files)?)
}

fn applied(directories: &Directories) -> PathBuf {
    directories.state.join("applied.json")
}

fn understand(declared: &Declared, directories: &Directories) -> Result<Loaded, Box<Diagnostics>> {
    let found = resolve(declared, &directories.config);
    let (plan, diagnostics) = with_sockets(declared, found, &|unit| directories.notify_socket(unit), SOCKET_PATH_MAX);
    let Some(mut plan) = plan else { return Err(Box::new(diagnostics)) };
    let pipes_instead = fit(&mut plan, &directories.logs);
    Ok(Loaded { plan: Arc::new(plan), files: declared.files().collect(), overrides: Vec::new(), pipes_instead })
}

/// Logs that cannot be rotated under their writers go through pipes. Whether any does.
fn fit(plan: &mut Plan, logs: &Path) -> bool {
    let direct = |plan: &Plan| plan.units.values().any(|unit| unit.logs.mode == LogMode::Direct);
    if !direct(plan) || logfile::supports_collapse(logs) {
        return false;
    }
    for unit in plan.units.values_mut() {
        if unit.logs.mode == LogMode::Direct {
            Arc::make_mut(unit).logs.mode = LogMode::Pipe;
        }
    }
    true
}

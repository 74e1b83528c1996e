//! What `run` does: make sure that it may run here, then become the launcher, with the same process id.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use super::{Settings, declarations};
use crate::launcher;
use crate::os::controllers::Controllers;
use crate::os::lock::{self, LockError};
use crate::os::{inherited, private, systemd};

/// Becomes the launcher. Returns only if that cannot be done: 2 for what the operator can mend, 1 for the rest.
#[must_use]
pub fn launch(settings: &Settings) -> ExitCode {
    match prepare(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("ms-supervisor: {why}");
            ExitCode::from(2)
        }
    }
}

fn prepare(settings: &Settings) -> Result<(), String> {
    let directories = &settings.directories;
    directories.control_socket().map_err(|error| error.to_string())?;
    for (directory, mode) in [(&directories.state, 0o750), (&directories.logs, 0o750), (&directories.run, 0o755)] {
        make(directory, mode)?;
    }
    make(&directories.run.join("notify"), 0o711)?;
    close(&directories.state)?;
    let lock = lock::acquire(&directories.state).map_err(|error| held(&error))?;
    let has_no_place = || inherited::wants_cgroups() && Controllers::survey().usable.is_empty();
    let is_limited = || declarations::load(directories, Vec::new()).is_ok_and(|loaded| loaded.plan.has_limits());
    // The declarations are read once more only where that may matter.
    if systemd::is_there() && !inherited::is_service() && has_no_place() && is_limited() {
        enter_scope();
    }
    let program = std::env::current_exe().map_err(|error| format!("cannot find my own program: {error}"))?;
    let told = serde_json::to_string(settings).map_err(|error| format!("cannot pass on the settings: {error}"))?;
    let brain: Vec<OsString> = vec![program.clone().into(), "brain".into(), told.into()];
    let options = launcher::Options { lock_fd: Some(lock), brain, run_directory: directories.run.clone(), after: None };
    let argv = options.to_argv().map_err(|error| format!("cannot pass on the lock: {error}"))?;
    #[expect(clippy::disallowed_methods, reason = "no process is made: this one becomes the launcher")]
    let error = Command::new(&program).args(argv).exec();
    Err(format!("cannot execute {}: {error}", program.display()))
}

/// Limits are declared, and nobody has delegated a cgroup: systemd may. If it does not, the daemon says which limits have no effect, and why.
fn enter_scope() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let entered = runtime.map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(systemd::enter_scope()));
    match entered {
        Ok(scope) => eprintln!("ms-supervisor: limits are declared: running in {scope}, where they can be kept"),
        Err(why) => eprintln!("ms-supervisor: limits are declared and there is no cgroup for them: {why}"),
    }
}

fn make(directory: &Path, mode: u32) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(mode).create(directory);
    made.map_err(|error| format!("cannot make the directory {}: {error}", directory.display()))
}

/// What is remembered is for the daemon's user only, also what an earlier version has left open. The directory itself may hold sockets and logs
/// that are for others.
fn close(state: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: &std::io::Error| format!("cannot keep {} from others: {error}", path.display());
    for directory in ["store", "incidents"].map(|name| state.join(name)) {
        private::directory(&directory).map_err(|error| failed(&directory, &error))?;
    }
    for name in ["applied.json", "overrides.json", "events.jsonl", "events.jsonl.1", "commands.jsonl", "commands.jsonl.1"] {
        let path = state.join(name);
        private::close_there(&path).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn held(error: &LockError) -> String {
    match error {
        LockError::Held { .. } => format!("{error}; `msctl status` shows what it runs, `msctl -C DIR` talks to another one"),
        LockError::Io { .. } => error.to_string(),
    }
}

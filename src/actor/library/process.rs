//! Children that are OS processes, hosted in-process: for library users, who have no launcher.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal as Kill, kill_process_group};
use tokio::process::{Child, Command};
use tracing::Instrument as _;

use super::incarnation::Incarnation;
use crate::actor::guard::guarded;
use crate::actor::orders::Order;
use crate::actor::supervisor::Begun;
use crate::base::exit::{ExitCause, ExitReason, Signal};

/// A program to run as a child.
///
/// It runs in a process group of its own and inherits stdin's absence (`/dev/null`), stdout and stderr. An orderly stop sends
/// SIGTERM to the group; a kill, or the end of the program itself, sends SIGKILL to what is left of the group. A process that
/// leaves the group leaves supervision: the daemon's launcher finds those too, a library cannot.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
}

impl ProcessSpec {
    /// Runs `program`, searched in `PATH` if it has no slash.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { program: program.into(), arguments: Vec::new(), environment: Vec::new(), directory: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds a variable to the inherited environment.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs it in `directory`.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where a library child's process is made")]
    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command.spawn()
    }
}

/// Starts a program: it is up when it is executed, ended when it and its process group are.
pub(super) fn start_process(life: Incarnation, spec: ProcessSpec) -> Begun {
    let span = life.span();
    // A runtime that cannot wait for processes panics.
    match guarded(|| spec.spawn()) {
        Ok(Ok(child)) => {
            tokio::spawn(watch(life, child).instrument(span));
            return Begun::Up;
        }
        Ok(Err(error)) => life.failed(ExitReason::error(format_args!("cannot run {}: {error}", spec.program.display()))),
        Err(panic) => life.failed(ExitReason::error(format_args!("cannot run {}: {panic}", spec.program.display()))),
    }
    Begun::Later
}

async fn watch(life: Incarnation, mut child: Child) {
    // The group's number is the child's pid and stays taken while the child is not waited for; after that only while the group lives.
    let group = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let signal = |signal| {
        if let Some(group) = group {
            // ESRCH: everybody is gone already.
            let _ = kill_process_group(group, signal);
        }
    };
    let status = tokio::select! {
        status = child.wait() => status,
        () = life.orders.wait(Order::Stop) => {
            if !life.orders.given(Order::Kill) {
                signal(Kill::TERM);
            }
            tokio::select! {
                status = child.wait() => status,
                () = life.orders.wait(Order::Kill) => {
                    signal(Kill::KILL);
                    child.wait().await
                }
            }
        }
    };
    signal(Kill::KILL);
    let asked = life.orders.given(Order::Stop);
    life.ended(match status {
        Err(error) => ExitReason::error(format_args!("cannot wait for it: {error}")),
        Ok(status) => match ExitCause::from_wait_status(status.into_raw()) {
            ExitCause::Signal { signal, .. } if signal == Signal::KILL => ExitReason::Killed,
            ExitCause::Code(0) | ExitCause::Signal { signal: Signal::TERM, .. } if asked => ExitReason::Shutdown,
            ExitCause::Code(0) => ExitReason::Normal,
            cause => ExitReason::error(cause),
        },
    });
}

//! What a supervisor has to offer to be tried.

use std::path::PathBuf;
use std::process::Command;

use super::place::{PATIENCE, Place, wait};
use crate::Fault;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
}

impl End {
    /// As many programs tell it: negative for a signal.
    pub(super) const fn from_number(number: i32) -> Self {
        if number < 0 { Self::Signal(-number) } else { Self::Code(number) }
    }
}

/// A supervisor with its declarations.
pub(super) trait Subject {
    fn name(&self) -> &'static str;

    /// Its version; gets it, if it is one that the benchmark gets.
    fn version(&self) -> Result<String, Fault>;

    /// Writes its declarations.
    fn declare(&self, place: &Place) -> Result<(), Fault>;

    /// Starts it with them; the process an operator calls the supervisor.
    fn start(&self, place: &Place) -> Result<u32, Fault>;

    /// What its manual says is to be done once everything is up, so that it comes back as it was.
    fn keep(&self, _place: &Place) -> Result<(), Fault> {
        Ok(())
    }

    /// The process that is killed.
    fn victim(&self, supervisor: u32) -> Result<u32, Fault> {
        Ok(supervisor)
    }

    /// Whether what is killed is started again by what is left.
    fn comes_back(&self) -> bool {
        false
    }

    /// Starts it once more after it was killed.
    fn restart(&self, place: &Place, _before: u32) -> Result<u32, Fault> {
        self.start(place)
    }

    /// How many units it says are up.
    fn up(&self, place: &Place) -> Result<usize, Fault>;

    /// How it knows that the runs of unit `number` ended, oldest first.
    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault>;

    /// Stops everything.
    fn stop(&self, place: &Place, supervisor: u32) -> Result<(), Fault>;

    /// The command that stops each unit by its name without the supervisor, where there is one.
    fn stop_each(&self, _place: &Place) -> Option<Command> {
        None
    }

    /// Stops one unit.
    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault>;

    /// The log of unit `number`: a file, or a directory of files.
    fn log(&self, place: &Place, number: usize) -> PathBuf {
        place.log(number)
    }
}

/// A command of words.
pub(super) fn command<const N: usize>(program: impl AsRef<std::ffi::OsStr>, words: [&str; N]) -> Command {
    let mut command = Command::new(program);
    command.args(words);
    command
}

/// A line of shell, run in a directory of the place.
pub(super) fn shell(place: &Place, below: &str, line: &str) -> Command {
    let mut command = command("sh", ["-c", line]);
    command.current_dir(place.path().join(below));
    command
}

/// Sends SIGTERM or another signal to the supervisor.
pub(super) fn signal(supervisor: u32, signal: rustix::process::Signal) -> Result<(), Fault> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(supervisor)?).ok_or("a process has a number")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

/// Waits until it says that every unit is up.
pub(super) fn wait_for_up(subject: &dyn Subject, place: &Place) -> Result<bool, Fault> {
    // Its socket may not be there yet.
    wait(PATIENCE, || Ok(subject.up(place).unwrap_or(0) == place.units.len()))
}

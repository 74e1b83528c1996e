//! What cannot be beaten by much: a program that only forks, execs and reaps.

use std::collections::HashMap;
use std::ffi::CString;
use std::process::Command;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, WaitOptions, kill_process, waitpid};

use crate::Fault;
use crate::peer::Peer;
use crate::site::Site;

/// The first argument of the program itself.
pub(crate) const MODE: &str = "--be-the-reference";

pub(crate) struct Reference;

impl Peer for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(MODE).arg(site.units.to_string()).arg(&site.child).arg(site.page.path());
        Ok(command)
    }
}

/// The program: starts a child again as soon as it has died; SIGTERM ends all.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Result<(), Fault> {
    let words = words.map(CString::new).collect::<Result<Vec<_>, _>>()?;
    let [units, child, page] = words.as_slice() else { return Err("--be-the-reference UNITS CHILD PAGE".into()) };
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    signals.thread_block()?;
    let actions = PosixSpawnFileActions::init()?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigmask(&SigSet::empty())?;
    let start = |number: usize| -> Result<i32, Fault> {
        let number = CString::new(number.to_string())?;
        let pid = posix_spawn(child.as_c_str(), &actions, &attributes, &[child, &number, page], &[] as &[&CString])?;
        Ok(pid.as_raw())
    };
    let mut children = HashMap::new();
    for number in 0..units.to_str()?.parse()? {
        children.insert(start(number)?, number);
    }
    while signals.wait()? == Signal::SIGCHLD {
        while let Ok(Some((pid, _))) = waitpid(None, WaitOptions::NOHANG) {
            if let Some(number) = children.remove(&pid.as_raw_pid()) {
                children.insert(start(number)?, number);
            }
        }
    }
    for pid in children.keys().filter_map(|&pid| Pid::from_raw(pid)) {
        kill_process(pid, rustix::process::Signal::TERM)?;
    }
    while waitpid(None, WaitOptions::empty()).is_ok() {}
    Ok(())
}

//! What cannot be beaten by much: a program that only forks, execs and reaps.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, WaitOptions, kill_process, waitpid};

use crate::Fault;
use crate::peer::Peer;
use crate::site::Site;

/// The first argument of the program itself.
pub(crate) const MODE: &str = "--be-the-reference";

/// The last argument of it if there is to be a flood, and of its children.
const FLOOD: &str = "flood";

pub(crate) struct Reference;

/// The reference, whose children but the first flood files of their own, which nobody rotates.
pub(crate) struct FloodedReference;

impl Peer for FloodedReference {
    fn name(&self) -> &'static str {
        "reference, plain"
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let mut command = Reference.prepare(site)?;
        command.current_dir(site.path()).arg(FLOOD);
        Ok(command)
    }
}

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
    let (child, page, units, flood) = match words.as_slice() {
        [units, child, page] => (child, page, units, None),
        [units, child, page, flood] => (child, page, units, Some(flood)),
        _ => return Err("--be-the-reference UNITS CHILD PAGE [flood]".into()),
    };
    let signals = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    signals.thread_block()?;
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigmask(&SigSet::empty())?;
    let start = |number: usize| -> Result<i32, Fault> {
        let mut actions = PosixSpawnFileActions::init()?;
        let mut arguments = vec![child.clone(), CString::new(number.to_string())?, page.clone()];
        let mut opened = None;
        if let Some(flood) = flood.filter(|_| number > 0) {
            let log = File::options().create(true).append(true).open(format!("log{number}"))?;
            actions.add_dup2(log.as_raw_fd(), 1)?;
            opened = Some(log);
            arguments.push(flood.clone());
        }
        let pid = posix_spawn(child.as_c_str(), &actions, &attributes, &arguments, &[] as &[&CString])?;
        drop(opened);
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

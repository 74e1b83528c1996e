//! The end of the daemon: everything that is left is killed and waited for, but not for ever.

use std::time::Duration;

use super::complain;
use super::serve::{Launcher, Role};
use super::tree::send_to_trees;
use crate::base::exit::Signal;
use crate::base::id::UnitId;
use crate::base::time::Mono;
use crate::os::cgroup::Cgroup;
use crate::os::{clock, process};

/// At the end, how long processes that cannot be killed are waited for.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// How long the brain is waited for after its first thread has ended.
const BRAIN_PATIENCE: Duration = Duration::from_secs(1);

/// The end of the daemon, once it has come.
pub(super) struct Closing {
    code: u8,
    pub(super) give_up_at: Mono,
}

impl Launcher {
    /// Somebody has lost patience.
    pub(super) fn force(&mut self, signal: Signal) {
        complain(format_args!("{signal}: killing everything"));
        self.brain.kill();
        self.close(u8::try_from(128 + signal.0).unwrap_or(u8::MAX));
    }

    /// Begins the end: kills whatever is left of any unit.
    pub(super) fn close(&mut self, code: u8) {
        let now = clock::mono();
        self.brain.retire();
        self.closing = Some(Closing { code, give_up_at: now + END_PATIENCE });
        self.adopt_once();
        let units: Vec<UnitId> = self.slots.keys().cloned().collect();
        for unit in &units {
            self.kill_tree(unit, now);
        }
        let nobodys = self.children.iter().filter(|(_, role)| matches!(role, Role::Stray(None))).map(|(&pid, _)| pid);
        send_to_trees(&nobodys.collect::<Vec<_>>(), Signal::KILL);
    }

    /// The exit code, when it is time to go.
    pub(super) fn close_if_done(&mut self, now: Mono) -> Option<u8> {
        if self.leaves {
            self.book.settle();
            return Some(0);
        }
        let closing = self.closing.as_ref()?;
        let (code, give_up) = (closing.code, closing.give_up_at <= now);
        let children = self.children.iter().filter(|(_, role)| !matches!(role, Role::Brain | Role::Keeper)).map(|(&pid, _)| pid);
        let in_cgroups =
            self.slots.values().filter(|slot| slot.lingers).filter_map(|slot| slot.cgroup.as_ref()).flat_map(Cgroup::processes);
        let left: Vec<u32> = children.chain(self.foreign.pids()).chain(in_cgroups).collect();
        if give_up && !left.is_empty() {
            complain(format_args!("cannot end these processes: {left:?}"));
        } else if !left.is_empty() {
            return None;
        }
        // The brain sees that its socket is closed: all is done.
        self.brain.flush();
        self.brain.end(now);
        // One that has ended is reaped in a moment, unless a thread of it waits for a dead disk.
        let is_late = closing.give_up_at.since(now) < END_PATIENCE - BRAIN_PATIENCE;
        let is_over = self.brain.pid().is_none_or(|pid| is_late && process::exit_of_first_thread(pid).is_some());
        if !is_over && !give_up {
            return None;
        }
        self.brain.kill();
        self.keeper.quit(&mut self.book.disk);
        self.spill_rest();
        for slot in self.slots.values_mut() {
            slot.close_run(&mut self.book.disk);
        }
        self.leave_safe_mode();
        if left.is_empty() {
            self.remove_cgroups();
            self.book.close();
        }
        Some(code)
    }
}

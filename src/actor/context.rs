//! What every actor of the daemon may use.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::degradation::Degradation;
use super::gate::Gates;
use super::limits::Limits;
use super::logs::ToLogs;
use super::observer::Host;
use super::prober::Turns;
use super::program::Programs;
use super::remediator::Symptom;
use super::resignation::Resignation;
use super::search::Searches;
use super::wishes::Wishes;
use crate::base::time::Wall;
use crate::event::{Event, View};
use crate::launcher::link;
use crate::os::clock;
use crate::os::paths::Directories;
use crate::os::pump::Pump;
use crate::os::systemd::Dependencies;

/// How many events may wait for the recorder. What comes faster is dropped and counted.
pub const BUS_LIMIT: usize = 65_536;

/// What every actor of the daemon may use.
#[derive(Debug)]
pub struct Context {
    /// How everything stands.
    pub view: View,
    /// Where events go.
    pub bus: Bus,
    /// The way to the launcher.
    pub launcher: link::Sender,
    /// Empties the output pipes.
    pub pump: Pump,
    /// The way to the keeper of the logs.
    pub logs: mpsc::Sender<ToLogs>,
    /// Who stops units that are to stay down after a failure.
    pub resigned: mpsc::Sender<Resignation>,
    /// Who takes remedies.
    pub symptoms: mpsc::Sender<Symptom>,
    /// Who waits for whom.
    pub gates: Gates,
    /// What operators asked for.
    pub wishes: Wishes,
    /// Runs programs that come to an end.
    pub(crate) programs: Arc<Programs>,
    /// Who looks for processes that others start.
    pub searches: Searches,
    /// How many probes may look at once.
    pub turns: Arc<Turns>,
    /// How the machine and this process stand.
    pub host: Arc<Host>,
    /// What units and supervisors may use.
    pub limits: Limits,
    /// What systemd says of its units.
    pub dependencies: Dependencies,
    /// What is done without under pressure.
    pub degradation: Degradation,
    /// Where things are.
    pub directories: Directories,
    /// The environment every unit starts from.
    pub environment: Vec<(String, String)>,
    /// What chance is derived from.
    pub seed: u64,
    /// Whether the whole daemon goes down.
    pub stopping: AtomicBool,
    /// The process that holds descriptors for the next launcher; 0 while there is none.
    pub keeper: AtomicU32,
    /// How long the launcher's turns take, as it said last.
    pub launcher_turns: Mutex<LauncherTurns>,
}

/// How long the launcher's turns take: each goes from where it wakes up to where it sleeps again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LauncherTurns {
    /// How many there were since the launcher began.
    pub count: u64,
    /// The longest of them.
    pub longest: Duration,
    /// The longest of the last second.
    pub recent: Duration,
}

impl Context {
    /// The process that holds descriptors for the next launcher, while there is one.
    pub fn keeper(&self) -> Option<u32> {
        Some(self.keeper.load(Ordering::Relaxed)).filter(|&pid| pid != 0)
    }

    /// How long the launcher's turns take.
    pub fn launcher_turns(&self) -> LauncherTurns {
        *self.launcher_turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The launcher has said how long its turns take.
    pub fn launcher_takes(&self, turns: LauncherTurns) {
        *self.launcher_turns.lock().unwrap_or_else(PoisonError::into_inner) = turns;
    }

    /// This is the keeper now.
    pub fn keeper_is(&self, pid: Option<u32>) {
        let before = self.keeper.swap(pid.unwrap_or(0), Ordering::Relaxed);
        if pid.is_none() && before != 0 {
            self.bus.tell(Event::KeeperLost { pid: before });
        }
    }
}

/// Where events go: a bounded queue that never makes anybody wait.
#[derive(Clone, Debug)]
pub struct Bus {
    queue: mpsc::Sender<(Wall, Event)>,
    dropped: Arc<AtomicU64>,
    /// How many of those were taken note of.
    noted: Arc<AtomicU64>,
}

impl Bus {
    /// A bus and its end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<(Wall, Event)>) {
        let (queue, end) = mpsc::channel(BUS_LIMIT);
        (Self { queue, dropped: Arc::default(), noted: Arc::default() }, end)
    }

    /// Tells the world; never waits.
    pub fn tell(&self, event: Event) {
        if self.queue.try_send((clock::wall(), event)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events were dropped since this was asked last.
    pub fn take_dropped(&self) -> u64 {
        let dropped = self.dropped();
        dropped.saturating_sub(self.noted.swap(dropped, Ordering::Relaxed))
    }

    /// How many events were dropped since the brain started.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

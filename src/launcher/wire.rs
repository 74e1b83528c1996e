//! What launcher and brain say to each other.
//!
//! A stream socket carries frames: a little-endian `u32` length, then one [postcard](https://postcard.jamesmunns.com/wire-format)
//! message. Descriptors travel with the first byte of the frame that owns them (`SCM_RIGHTS`), in the order of [`Fds`].
//! The launcher speaks first: [`ToBrain::Hello`], one [`ToBrain::Held`] for each unit it knows, [`ToBrain::HeldEnd`].
//! From then on both sides speak when they have something to say.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::exit::{ExitCause, Signal, Usage};
use crate::base::id::UnitId;
use crate::base::limit::Setting;
use crate::base::time::{Mono, Wall, format_duration};
use crate::os::controllers::Controllers;

pub use super::confinement::{Confinement, Landlock, Mount, MountKind};
pub use super::limit::{Applied, LimitTarget, group_directory};
pub use super::order::{Credentials, Output, Spawn};
pub use super::pause::{PauseCause, Paused};

/// The version of this format. A brain that hears another one refuses to work and says so.
pub const VERSION: u16 = 8;

/// The longest frame, in bytes: more than execve(2) takes in arguments and environment.
pub const FRAME_MAX: usize = 4 << 20;

/// The longest note the launcher keeps for a unit, in bytes.
pub const NOTE_MAX: usize = 1024;

/// A brain that has said [`ToLauncher::Alive`] once and then does not for this long hangs: the launcher aborts and replaces it.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// A process that has not come to its program after this long is killed; its start has failed with `ETIMEDOUT`, at the step it stands at.
pub const EXEC_WITHIN: Duration = Duration::from_secs(10);

/// How long a process that was killed on its way to its program may take to end. After that its start has failed all the same, and what is left of it
/// counts as a leftover: a process that waits for a dead disk ends when that does.
pub const DIES_WITHIN: Duration = Duration::from_secs(1);

/// How long a brain may take to say it for the first time.
pub const UP_WITHIN: Duration = Duration::from_secs(120);

/// What the brain asks of the launcher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToLauncher {
    /// Start a unit's main process. Refused while anything of an earlier run is left.
    Spawn(Box<Spawn>),
    /// Send a signal to processes of a run. A run that is over is left alone.
    Signal {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// What to send.
        signal: Signal,
        /// To whom.
        target: Target,
    },
    /// Take another process of a run for its main process. Answered with [`ToBrain::MainChanged`] or [`ToBrain::MainRefused`].
    SetMain {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// The process.
        pid: u32,
    },
    /// Let every process of a run stand still, or go on. Standing still on request is answered with [`ToBrain::Paused`].
    Pause {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// Whether it is to stand still.
        pause: bool,
        /// For this cause. It goes on when there is no cause left.
        cause: PauseCause,
    },
    /// The end of this run is written down for good; its exit record may go.
    Ack {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
    },
    /// Keep these bytes for the next brain; they come back in [`ToBrain::Held`]. At most [`NOTE_MAX`] bytes.
    Note {
        /// The unit.
        unit: UnitId,
        /// What to keep.
        note: Vec<u8>,
    },
    /// The unit is not in the plan any more: forget it, once nothing of it is left.
    Forget {
        /// The unit.
        unit: UnitId,
    },
    /// Tell systemd (`sd_notify(3)`), if it listens: `READY=1`, `STATUS=…`, `STOPPING=1`.
    Notify {
        /// The assignments, separated by newlines.
        state: String,
    },
    /// The brain's main loop turns. To be said again well within [`ALIVE_WITHIN`].
    Alive,
    /// Go over to this program, with the same process id. Answered with [`ToBrain::UpgradeRefused`], or by the end of the stream.
    Upgrade {
        /// Its path.
        program: PathBuf,
    },
    /// Every unit is down and the work is done: kill what is left and exit.
    Exit {
        /// The exit code of the daemon.
        code: u8,
    },
    /// End, and leave the units to the next launcher, as if this one had been killed.
    Leave,
    /// Write limits into control files, read them back, and answer with [`ToBrain::Limited`].
    Limit {
        /// Of whom.
        target: LimitTarget,
        /// What is written.
        settings: Vec<Setting>,
    },
    /// A supervisor is not in the plan any more: remove its cgroup, once it is empty.
    Prune {
        /// The names from below the root down to it.
        group: Vec<String>,
    },
    /// Where the output pipe of a unit is emptied to while there is no brain. Without it, it waits for the next one.
    Spill {
        /// The unit.
        unit: UnitId,
        /// Where to.
        to: SpillTo,
    },
}

/// Where a unit's output goes while there is no brain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpillTo {
    /// At the end of this file.
    pub path: PathBuf,
    /// The file grows no further than this, in bytes.
    pub limit: u64,
    /// Whether what has no room there is dropped and counted; otherwise the unit waits.
    pub may_drop: bool,
}

/// Whom a signal is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// The main process.
    Main,
    /// Every process of the unit.
    Tree,
}

/// What the launcher tells the brain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToBrain {
    /// The first message.
    Hello {
        /// [`VERSION`] of the launcher.
        version: u16,
        /// The launcher's process id.
        pid: u32,
        /// How many brains it has started before this one.
        generation: u32,
        /// It has taken over what a launcher that died had left behind.
        inherited: bool,
        /// How the brain before this one ended.
        last: Option<BrainEnd>,
        /// The program was gone over to, or back to.
        upgrade: Option<Upgrade>,
        /// The directory of the cgroup that units' cgroups are in; `None`: there is no place for them.
        cgroup: Option<PathBuf>,
        /// Which controllers work there.
        controllers: Controllers,
        /// systemd was told that the service is up, by a brain before this one.
        announced: bool,
    },
    /// A socket that systemd listens on for us comes with this frame. Told after [`ToBrain::Hello`].
    Listener {
        /// What for: `control` or `metrics`.
        name: String,
    },
    /// A unit the launcher knows from earlier brains.
    Held {
        /// The unit.
        unit: UnitId,
        /// The number of its latest run; 0 if there was none.
        run: u64,
        /// Where that run stands.
        state: HeldState,
        /// Earlier runs whose end nobody has acknowledged, and how they ended.
        earlier: Vec<(u64, Exit)>,
        /// The main process is, or was, not the one that was started.
        has_successor: bool,
        /// The directory of its cgroup.
        cgroup: Option<PathBuf>,
        /// What the last brain left to remember.
        note: Vec<u8>,
        /// Descriptors that come with this frame.
        fds: Fds,
    },
    /// That was every unit.
    HeldEnd,
    /// The main process runs.
    Spawned {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// Its process.
        process: Process,
        /// Why its output goes to /dev/null instead of where it should: an errno.
        output_lost: Option<i32>,
        /// The directory of its cgroup.
        cgroup: Option<PathBuf>,
        /// What it is not kept from because that cannot be done here, each with its errno.
        missing: Vec<(SpawnStep, i32)>,
        /// Descriptors that come with this frame.
        fds: Fds,
    },
    /// Limits were written, or could not be. Told before [`ToBrain::Spawned`] of those that came with the order.
    Limited {
        /// Of whom.
        target: LimitTarget,
        /// The directory of the cgroup; `None`: there is none.
        cgroup: Option<PathBuf>,
        /// What became of each.
        applied: Vec<Applied>,
    },
    /// The main process could not be started; nothing of it is left.
    SpawnFailed {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// What failed.
        step: SpawnStep,
        /// Why: an errno.
        errno: i32,
    },
    /// The main process has ended. Repeated to each new brain until acknowledged.
    Exited {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// How it ended.
        exit: Exit,
        /// Whether processes of the unit are left.
        leftovers: bool,
    },
    /// The last process of a run whose main process had ended before is gone.
    Gone {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
    },
    /// This is the main process of the run now. If the end of the one before it was told, that was not the end of the run.
    MainChanged {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// The process, with the start of the run.
        process: Process,
    },
    /// The process cannot be the run's main process.
    MainRefused {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// The process.
        pid: u32,
        /// Why.
        why: String,
    },
    /// Everything of a run stands still, or could not be made to.
    Paused {
        /// The unit.
        unit: UnitId,
        /// Which of its runs.
        run: u64,
        /// Whether it does.
        outcome: Paused,
    },
    /// The program could not be gone over to; all is as before.
    UpgradeRefused {
        /// Why.
        why: String,
    },
    /// The process that holds descriptors for the next launcher; `None`: there is none at the moment. Told after
    /// [`ToBrain::HeldEnd`], and when it changes.
    Keeper {
        /// Its process id.
        pid: Option<u32>,
    },
    /// How long the launcher's turns take: from where it wakes up to where it sleeps again. Told in answer to [`ToLauncher::Alive`].
    Turns {
        /// How many there were.
        count: u64,
        /// The longest of all.
        longest: Duration,
        /// The longest since this was told last.
        recent: Duration,
    },
    /// The launcher got a signal that is for the daemon: SIGTERM, SIGINT, SIGHUP.
    Signalled {
        /// Which one.
        signal: Signal,
    },
}

/// How an upgrade has gone, from the point of view of the program that runs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// The version that ran before.
    pub other: String,
    /// Why that one has failed and this is the one that was to be replaced; `None`: this is the new one.
    pub failed: Option<String>,
}

/// The end of a brain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrainEnd {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub cause: ExitCause,
    /// How long it had lived.
    pub lived: Duration,
    /// The launcher has ended it, because it hung or talked nonsense.
    pub condemned: bool,
    /// How many in a row have died soon.
    pub in_a_row: u32,
}

/// A main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    /// When it was started.
    pub started: Mono,
    /// The same on the wall clock.
    pub started_wall: Wall,
}

/// The end of a main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The process.
    pub process: Process,
    /// Its exit status.
    pub cause: ExitCause,
    /// What it has used.
    pub usage: Usage,
    /// When it was reaped.
    pub at: Mono,
    /// The same on the wall clock.
    pub at_wall: Wall,
}

/// Where the latest run of a held unit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeldState {
    /// Nothing of it runs and nothing is to be told.
    Idle,
    /// The main process runs.
    Running(Process),
    /// The main process has ended and no brain has acknowledged it.
    Exited {
        /// How it ended.
        exit: Exit,
        /// Whether processes of the unit are left.
        leftovers: bool,
    },
    /// The exit is acknowledged, but processes of the unit are left.
    Leftovers,
}

/// The descriptors that come with a frame, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fds {
    /// A pidfd of the main process.
    pub pidfd: bool,
    /// The unit's notification socket (datagrams).
    pub notify: bool,
    /// The read end of the readiness pipe.
    pub ready: bool,
    /// The read end of the output pipe.
    pub output: bool,
}

/// What the errno of a failed start says.
#[must_use]
pub fn start_error(errno: i32) -> io::Error {
    match errno {
        libc::ETIMEDOUT => io::Error::other(format!("that took longer than {}, so its process was killed", format_duration(EXEC_WITHIN))),
        errno => io::Error::from_raw_os_error(errno),
    }
}

impl Fds {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        [self.pidfd, self.notify, self.ready, self.output].into_iter().filter(|&there| there).count()
    }
}

/// The step of starting a process that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SpawnStep {
    /// Something of an earlier run is left.
    Busy,
    /// Making the notification socket.
    NotifySocket,
    /// Making a pipe.
    Pipe,
    /// Making the process.
    Clone,
    /// Writing its id into the book of the run directory.
    Book,
    /// Making its cgroup.
    MakeCgroup,
    /// Entering its cgroup.
    Cgroup,
    /// Starting a session.
    Session,
    /// Opening the file its stdin is.
    Input,
    /// Opening its log. Only a log that hangs fails a start.
    Log,
    /// Connecting stdin, stdout and stderr.
    Stdio,
    /// Setting the niceness.
    Nice,
    /// Setting the scheduling policy.
    Scheduler,
    /// Setting the I/O priority.
    IoPriority,
    /// Setting the processors it may run on.
    Affinity,
    /// Setting this resource limit.
    Rlimit(u8),
    /// Setting how much the kernel likes to kill it.
    OomScore,
    /// Setting the supplementary groups.
    Groups,
    /// Becoming the group.
    Group,
    /// Becoming the user.
    User,
    /// Entering the working directory.
    WorkingDirectory,
    /// Executing the program.
    Exec,
    /// Making a mount namespace.
    Namespace,
    /// Putting something at the path of this number in [`Confinement::mounts`].
    Mount(u16),
    /// Making a network namespace.
    Network,
    /// Entering the namespaces of a unit.
    Join,
    /// Dropping capabilities.
    Capabilities,
    /// Giving up privileges to come.
    NoNewPrivileges,
    /// Making a session keyring.
    Keyring,
    /// Restricting it by Landlock.
    Landlock,
    /// Looking at the path of this number in [`Confinement::landlock`].
    LandlockPath(u16),
    /// Installing a filter of system calls.
    SystemCallFilter,
}

//! Who is at the other end of a socket: not only which user, but which process, and whether that is one of a unit's.
//!
//! A process cannot leave those above it: what loses its parent becomes the launcher's child. So whoever climbs from a process to the launcher
//! knows that it is inside, whatever it did; whose it is says the main process on the way. After a launcher that was killed, what has lost its
//! parent is another's child; then its cgroup tells that it is inside. Nothing here waits: what is read
//! of /proc takes no lock that a process could hold.
#![expect(unsafe_code, reason = "SO_PEERPIDFD has no safe wrapper, SO_PEERCRED none that knows of other name spaces")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::cgroup;
use super::process::{self, Stat};
use crate::base::command::NotifyAccess;
use crate::base::id::UnitId;

/// So far up it is looked whose a process is. What hides deeper is not known, and may do nothing.
const ANCESTORS_MAX: usize = 256;

/// So often it is looked again if processes on the way have ended meanwhile.
const LOOKS: usize = 4;

/// Whose a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// It is not below the launcher, and in no unit's cgroup.
    Outside,
    /// Below the main process of this unit, or of this program that was run for a purpose.
    Unit(UnitId),
    /// It is below the launcher, or in a unit's cgroup, but it cannot be told for sure of whom.
    Somebody,
    /// It has ended, or is too deep below others to tell.
    Unknown,
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Caller {
    /// Its effective user when it connected.
    pub uid: u32,
    /// Its process; 0 if that is in a process id name space that is not below ours: then it is outside.
    pid: u32,
    /// That process, if it was still there.
    pidfd: Option<OwnedFd>,
}

/// Where units' processes are.
#[derive(Clone, Debug, Default)]
pub struct Household {
    /// The launcher.
    pub launcher: u32,
    /// The cgroup in which those of the units are, as /proc/PID/cgroup names it; none: units have none.
    pub cgroups: Option<String>,
    /// Main processes, and whose they are.
    pub mains: BTreeMap<u32, UnitId>,
}

/// How the processes of one unit are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kin {
    /// The launcher.
    pub launcher: u32,
    /// Its main process.
    pub main: u32,
    /// The process that was started, if another has taken its place.
    pub first: Option<u32>,
    /// Its cgroup, as /proc/PID/cgroup names it; none: it has none.
    pub cgroup: Option<String>,
}

impl Kin {
    /// Whether the notifications of process `pid` count.
    #[must_use]
    pub fn is_heard(&self, pid: u32, access: NotifyAccess) -> bool {
        let is_first = pid == self.main || self.first == Some(pid);
        match access {
            _ if pid == 0 => false,
            NotifyAccess::None => false,
            NotifyAccess::Main => pid == self.main,
            NotifyAccess::Exec => is_first,
            NotifyAccess::All => is_first || self.is_one_of_us(pid),
        }
    }

    /// Whether it is in the unit's cgroup, or, where there is none, below its main process or in its session: nobody enters another's.
    fn is_one_of_us(&self, pid: u32) -> bool {
        if let Some(own) = &self.cgroup {
            let place = cgroup::of_process(pid);
            // One that has ended while its cgroup was removed.
            let place = place.as_deref().map(|place| place.trim_end_matches(" (deleted)"));
            return place
                .and_then(|place| place.strip_prefix(own.as_str()))
                .is_some_and(|below| below.is_empty() || below.starts_with('/'));
        }
        let firsts = self.first.into_iter().chain([self.main]);
        let household =
            Household { launcher: self.launcher, cgroups: None, mains: firsts.clone().map(|pid| (pid, UnitId::from("unit"))).collect() };
        let session = process::stat(pid).map(|stat| stat.session);
        matches!(household.climb(pid), Climb::Main(_)) || firsts.into_iter().any(|first| session == Some(first))
    }
}

/// What was found on the way up.
enum Climb {
    Main(UnitId),
    Launcher,
    Top,
    Lost,
}

impl Caller {
    /// Who has connected. Kernels before 6.5 do not hand out the process itself; its number is looked up then, and believed only if the
    /// process is the user's who connected.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        // Not by a type that holds no process 0: to those in other name spaces the kernel shows just that.
        let libc::ucred { pid, uid, .. } = option(socket, libc::SO_PEERCRED, libc::ucred { pid: 0, uid: 0, gid: 0 })?;
        let pid = pid.cast_unsigned();
        let pidfd = match peer_pidfd(socket) {
            Err(fault) if fault.raw_os_error() == Some(libc::ENOPROTOOPT) => {
                process::open(pid).ok().filter(|_| process::owner(pid) == Some(uid))
            }
            found => found.ok(),
        };
        Ok(Self { uid, pid, pidfd })
    }

    /// Whose it is.
    #[must_use]
    pub fn whose(&self, household: &Household) -> Whose {
        if self.pid == 0 {
            // Nobody can enter a name space that is not below its own: it has never been one of ours.
            return Whose::Outside;
        }
        let Some(pidfd) = &self.pidfd else { return Whose::Unknown };
        let whose = household.whose(self.pid);
        // Only if it still lives the number was its own all the time.
        if has_ended(pidfd.as_fd()) { Whose::Unknown } else { whose }
    }
}

impl Household {
    /// Whose the process `pid` is.
    #[must_use]
    pub fn whose(&self, pid: u32) -> Whose {
        let by_cgroup = self.by_cgroup(pid);
        match (self.climb(pid), by_cgroup) {
            (Climb::Lost, _) => Whose::Unknown,
            (Climb::Top, None) => Whose::Outside,
            // Who is root may move itself, or another, into any cgroup: that shows that it is inside, and not of whom.
            (Climb::Launcher, _) | (Climb::Top, Some(_)) => Whose::Somebody,
            (Climb::Main(main), Some(unit)) if main != unit => Whose::Somebody,
            (Climb::Main(unit), _) => Whose::Unit(unit),
        }
    }

    /// By the name of the cgroup it is in, `UNIT:RUN` below those of supervisors.
    fn by_cgroup(&self, pid: u32) -> Option<UnitId> {
        let place = cgroup::of_process(pid)?;
        let below = place.strip_prefix(self.cgroups.as_deref()?)?.strip_prefix('/')?;
        let (name, _run) = below.split('/').find(|part| !part.ends_with(":supervisor"))?.rsplit_once(':')?;
        Some(name.into())
    }

    fn climb(&self, pid: u32) -> Climb {
        for _ in 0..LOOKS {
            if let Some(found) = self.climb_once(pid) {
                return found;
            }
        }
        Climb::Lost
    }

    /// Whether the parent of `at` lives and is not shown to us: it would be another one by now if it had ended.
    fn is_hidden(&self, stat: &Stat, at: u32) -> bool {
        let still = process::stat(at).is_some_and(|now| (now.parent, now.started) == (stat.parent, stat.started));
        let is_shown = std::path::Path::new("/proc").join(stat.parent.to_string()).exists();
        still && !is_shown && process::stat(self.launcher).is_some()
    }

    /// `None`: somebody on the way has ended meanwhile.
    fn climb_once(&self, pid: u32) -> Option<Climb> {
        let Some(mut stat) = process::stat(pid) else { return Some(Climb::Lost) };
        let mut at = pid;
        for _ in 0..ANCESTORS_MAX {
            if let Some(unit) = self.mains.get(&at) {
                return Some(Climb::Main(unit.clone()));
            }
            if at == self.launcher {
                return Some(Climb::Launcher);
            }
            if stat.parent == 0 {
                return Some(Climb::Top);
            }
            let Some(above) = process::stat(stat.parent) else {
                // One that lives and is not shown (proc(5), hidepid) is another user's: neither the launcher nor above us, who are shown, and of no unit's,
                // for whoever can run units as others sees all.
                return self.is_hidden(&stat, at).then_some(Climb::Top);
            };
            if is_another(&above, &stat) {
                return None;
            }
            (at, stat) = (stat.parent, above);
        }
        Some(Climb::Lost)
    }
}

/// A process that was started after its child is not its parent: the number is used again.
const fn is_another(parent: &Stat, child: &Stat) -> bool {
    parent.started > child.started
}

fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = option(socket, SO_PEERPIDFD, -1)?;
    if fd < 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads an option of the socket, whose value is a plain structure of numbers.
fn option<T: Copy>(socket: BorrowedFd<'_>, name: libc::c_int, empty: T) -> io::Result<T> {
    let mut value = empty;
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: both pointers are to live memory, of the length that is said; callers ask for numbers, of which every bit pattern is one.
    let told = unsafe { libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    if told == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Asks for a descriptor of the process at the other end (asm-generic/socket.h; since Linux 6.5).
const SO_PEERPIDFD: libc::c_int = 77;

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // It would have to be interrupted without waiting.
    poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&at_once)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn own() -> u32 {
        std::process::id()
    }

    /// A shell that has started another one, which prints its own number and that it is there.
    fn nested(script: &str) -> (Child, u32) {
        use std::io::BufRead as _;
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        io::BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (shell, line.trim().parse().unwrap())
    }

    fn end(mut shell: Child, below: u32) {
        let pid = rustix::process::Pid::from_raw(below.cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn whoever_is_below_the_launcher_is_inside() {
        let (shell, below) = nested("sh -c 'echo $$; exec sleep 1000' & wait");
        let mains = BTreeMap::from([(shell.id(), UnitId::from("a"))]);
        let household = Household { launcher: own(), cgroups: None, mains };
        assert_eq!(household.whose(below), Whose::Unit("a".into()));
        assert_eq!(Household { mains: BTreeMap::new(), ..household.clone() }.whose(below), Whose::Somebody);
        assert_eq!(household.whose(std::os::unix::process::parent_id()), Whose::Outside);
        assert_eq!(Household::default().whose(below), Whose::Outside);
        end(shell, below);
    }

    #[test]
    fn only_a_units_own_processes_are_heard() {
        let (shell, below) = nested("sh -c 'echo $$; exec sleep 1000' & wait");
        let parent = std::os::unix::process::parent_id();
        let kin = Kin { launcher: own(), main: shell.id(), first: Some(own()), cgroup: None };
        let heard = |access| [shell.id(), own(), below, parent, 0].map(|pid| kin.is_heard(pid, access));
        assert_eq!(heard(NotifyAccess::None), [false; 5]);
        assert_eq!(heard(NotifyAccess::Main), [true, false, false, false, false]);
        assert_eq!(heard(NotifyAccess::Exec), [true, true, false, false, false]);
        let kin = Kin { first: None, ..kin };
        let heard = |kin: &Kin| [shell.id(), below, own(), parent, 0].map(|pid| kin.is_heard(pid, NotifyAccess::All));
        assert_eq!(heard(&kin), [true, true, false, false, false]);
        assert_eq!(heard(&Kin { cgroup: Some("/nowhere".into()), ..kin }), [true, false, false, false, false]);
        end(shell, below);
    }

    #[test]
    fn a_number_that_is_used_again_is_nobodys_parent() {
        let stat = |started| Stat { parent: 1, group: 1, session: 1, started };
        assert!(is_another(&stat(8), &stat(7)));
        assert!(!is_another(&stat(7), &stat(7)) && !is_another(&stat(6), &stat(7)));
    }

    #[test]
    fn who_has_connected_is_known() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let caller = Caller::of(ours.as_fd()).unwrap();
        assert_eq!((caller.pid, caller.uid), (own(), rustix::process::geteuid().as_raw()));
        assert_eq!(caller.whose(&Household::default()), Whose::Outside);
        assert_eq!(caller.whose(&Household { launcher: own(), ..Household::default() }), Whose::Somebody);
        drop(theirs);
    }
}

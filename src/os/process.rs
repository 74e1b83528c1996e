//! Processes: the end of children, and what /proc says about others.
#![expect(unsafe_code, reason = "wait4(2) has no safe wrapper that also tells the resource usage")]

use std::fs;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use crate::base::exit::{ExitCause, Usage};

/// The variable by which a process of a unit says whose it is: `UNIT:RUN:INSTANCE`.
pub const INVOCATION: &str = "MS_INVOCATION_ID";

/// How much of a process's environment is searched, in bytes.
const ENVIRONMENT_MAX: u64 = 256 << 10;

/// Asks for what the kernel knows of a process (`_IOWR(0xff, 11, struct pidfd_info)` in linux/pidfd.h).
const PIDFD_GET_INFO: libc::Ioctl = 0xc040_ff0b_u32 as libc::Ioctl;

/// In the mask of that structure: how it ended.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// Reaps a child that has ended: `pid`, or any.
#[must_use]
pub fn reap(pid: Option<u32>) -> Option<(u32, ExitCause, Usage)> {
    let pid = pid.map_or(-1, |pid| i32::try_from(pid).unwrap_or(-1));
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to live memory; the structure is valid when zeroed.
    let (reaped, usage) = unsafe { (libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()), usage.assume_init()) };
    let reaped = u32::try_from(reaped).ok().filter(|&reaped| reaped > 0)?;
    Some((reaped, ExitCause::from_wait_status(status), usage_of(&usage)))
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let time =
        |value: libc::timeval| Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(value.tv_usec.unsigned_abs());
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        max_rss: if usage.ru_maxrss > own_peak() { usage.ru_maxrss.unsigned_abs() * 1024 } else { 0 },
        major_faults: usage.ru_majflt.unsigned_abs(),
        voluntary_switches: usage.ru_nvcsw.unsigned_abs(),
        involuntary_switches: usage.ru_nivcsw.unsigned_abs(),
    }
}

/// The largest resident set of this process so far, in KiB.
fn own_peak() -> libc::c_long {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to live memory; the structure is valid when zeroed, and getrusage cannot fail with these arguments.
    unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init().ru_maxrss
    }
}

/// A descriptor for the process `pid`, which may be a thread of nobody we know: check what it is afterwards.
///
/// # Errors
/// As pidfd_open(2).
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// How the process behind `pidfd` has ended, although it is not our child: the kernel tells that after its parent has reaped it (since
/// Linux 6.15). `None`: not reaped yet, or the kernel does not tell.
#[must_use]
pub fn exit_of(pidfd: BorrowedFd<'_>) -> Option<ExitCause> {
    // The first version of the kernel's structure, of 64 bytes: the mask is its first member, the wait status its last one.
    let mut info = [0_u64; 8];
    info[0] = PIDFD_INFO_EXIT;
    // SAFETY: the request says how large the live buffer is, and every bit pattern is a value of it.
    let told = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, info.as_mut_ptr()) };
    let [_, _, _, _, a, b, c, d] = info[7].to_ne_bytes();
    let status = i32::from_ne_bytes([a, b, c, d]);
    (told == 0 && info[0] & PIDFD_INFO_EXIT != 0).then(|| ExitCause::from_wait_status(status))
}

/// The user a process runs as; none if it is gone.
#[must_use]
pub fn owner(pid: u32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// Whether the kernel tells of a process by its pidfd (PIDFD_GET_INFO), and so how one ended that is not our child.
#[must_use]
pub fn tells_exits() -> bool {
    let Ok(own) = open(std::process::id()) else { return false };
    let mut info = [PIDFD_INFO_EXIT, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: as in `exit_of`. Of a process that has not ended the kernel that can tell answers with what it knows.
    (unsafe { libc::ioctl(own.as_raw_fd(), PIDFD_GET_INFO, info.as_mut_ptr()) }) == 0
}

/// Waits until the process behind `pidfd` has ended, but not for longer than this.
pub fn wait_for_end(pidfd: BorrowedFd<'_>, within: Duration) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let within = Timespec::try_from(within).ok();
    // Interrupted: it is as if it had taken too long.
    let _in_time = poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], within.as_ref());
}

/// How `pid`, which nobody has reaped yet, has ended; `None` if it has not, is gone, or we may not know.
#[must_use]
pub fn exit_of_zombie(pid: u32) -> Option<ExitCause> {
    let mut text = [0; 1024];
    let length = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text)).ok()?;
    parse_zombie(text.get(..length)?)
}

/// How the first thread of `pid`, a child of this process, has ended although others of its threads still wait for something; `None` if it lives or
/// is gone. Such a process runs nothing of its own any more once it was killed.
#[must_use]
pub fn exit_of_first_thread(pid: u32) -> Option<ExitCause> {
    let mut text = [0; 1024];
    let length = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text)).ok()?;
    let mut words = after_name(text.get(..length)?)?;
    let state = words.next()?;
    let status = words.nth(52 - 4)?.parse().ok()?;
    (state == "Z").then(|| ExitCause::from_wait_status(status))
}

fn parse_zombie(text: &[u8]) -> Option<ExitCause> {
    let mut words = after_name(text)?;
    let state = words.next()?;
    // Fields 35 and 52 of proc_pid_stat(5). To those who may not know, the kernel shows 0 in both; to others 1 in the first one, as
    // a dead process does not run.
    let may_know = words.nth(35 - 4)? == "1";
    let status = words.nth(52 - 36)?.parse().ok()?;
    (state == "Z" && may_know).then(|| ExitCause::from_wait_status(status))
}

/// What /proc/PID/stat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The parent.
    pub parent: u32,
    /// The process group.
    pub group: u32,
    /// The session.
    pub session: u32,
    /// When it was started, in clock ticks since the machine was: with the process id, its identity.
    pub started: u64,
}

/// What /proc says about `pid`; `None` when it is gone.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    let mut text = [0; 512];
    let length = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut text)).ok()?;
    parse_stat(text.get(..length)?)
}

/// The words from field 3 of proc_pid_stat(5) on.
fn after_name(text: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    // The name is in parentheses and may hold anything, parentheses and bytes that are no UTF-8 among them.
    let name_end = text.iter().rposition(|&byte| byte == b')')?;
    Some(std::str::from_utf8(text.get(name_end + 1..)?).ok()?.split_ascii_whitespace())
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    let mut words = after_name(text)?.skip(1);
    let (parent, group, session) = (words.next()?, words.next()?, words.next()?);
    let started = words.nth(22 - 7)?;
    Some(Stat { parent: parent.parse().ok()?, group: group.parse().ok()?, session: session.parse().ok()?, started: started.parse().ok()? })
}

/// The value of `name` in the environment that `pid` was executed with.
#[must_use]
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let mut environment = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ")).ok()?.take(ENVIRONMENT_MAX).read_to_end(&mut environment).ok()?;
    environment.split(|&byte| byte == 0).find_map(|entry| {
        let value = entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        String::from_utf8(value.to_vec()).ok()
    })
}

/// Every process there is, as far as /proc shows them.
pub fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Appends the children of `pid` to `out`; those that end meanwhile may hide others.
pub fn children(pid: u32, out: &mut Vec<u32>) {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    for thread in threads.flatten() {
        let Ok(mut file) = fs::File::open(thread.path().join("children")) else { continue };
        let _ended_meanwhile = read_children(&mut file, out);
    }
}

/// The orphans this process has got as child subreaper: the children of its first thread, which must not start any itself.
///
/// Children that were left behind by a program executed in place of itself are among them, too.
#[derive(Debug)]
pub struct Orphans(fs::File);

impl Orphans {
    /// Opens the list.
    ///
    /// # Errors
    /// When the kernel has no such list (`CONFIG_PROC_CHILDREN`).
    pub fn open() -> io::Result<Self> {
        let own = std::process::id();
        fs::File::open(format!("/proc/{own}/task/{own}/children")).map(Self)
    }

    /// Appends every orphan to `out`, those that have ended and are not reaped included.
    ///
    /// This is exact, because only the caller takes processes off the list, and new ones come at its end.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn read(&mut self, out: &mut Vec<u32>) -> io::Result<()> {
        rustix::fs::seek(&self.0, rustix::fs::SeekFrom::Start(0))?;
        read_children(&mut self.0, out)
    }
}

fn read_children(file: &mut fs::File, out: &mut Vec<u32>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut number = None;
    loop {
        let length = file.read(&mut buffer)?;
        for &byte in buffer.get(..length).unwrap_or_default() {
            if byte.is_ascii_digit() {
                number = Some(number.unwrap_or(0) * 10 + u32::from(byte - b'0'));
            } else {
                out.extend(number.take());
            }
        }
        if length == 0 {
            out.extend(number);
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn names_cannot_confuse_the_reader() {
        let text = b"42 (a) b (c)\xff) S 7 8 9 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 100";
        assert_eq!(parse_stat(text), Some(Stat { parent: 7, group: 8, session: 9, started: 12345 }));
        assert_eq!(parse_stat(b"42 (a"), None);
    }

    #[test]
    fn the_end_of_a_process_is_told_by_its_descriptor() {
        #[expect(clippy::disallowed_methods, reason = "some process")]
        let mut child =
            std::process::Command::new("sh").args(["-c", "read line; exit 7"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pidfd = open(child.id()).unwrap();
        assert_eq!(exit_of(pidfd.as_fd()), None, "it runs");
        drop(child.stdin.take());
        child.wait().unwrap();
        // Kernels before 6.15 do not tell.
        let told = exit_of(pidfd.as_fd());
        assert!(matches!(told, Some(ExitCause::Code(7)) | None), "{told:?}");
        if told.is_none() {
            println!("SKIPPED: this kernel does not tell how others' children end");
        }
    }

    #[test]
    fn a_zombie_tells_how_it_ended_to_those_who_may_know() {
        let zombie =
            b"9 (s h) Z 1 2 3 0 -1 4 109 0 0 0 0 0 0 0 20 0 1 0 14 0 0 18 0 0 0 0 0 0 0 6 6 1 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1792";
        assert_eq!(parse_zombie(zombie), Some(ExitCause::Code(7)));
        let strangers =
            b"9 (s h) Z 1 2 3 0 -1 4 109 0 0 0 0 0 0 0 20 0 1 0 14 0 0 18 0 0 0 0 0 0 0 6 6 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";
        assert_eq!(parse_zombie(strangers), None, "it may have failed");
        assert_eq!(exit_of_zombie(std::process::id()), None, "it lives");
    }

    #[test]
    fn this_process_is_known_to_proc() {
        let own = stat(std::process::id()).unwrap();
        assert_eq!(own.parent, std::os::unix::process::parent_id());
        assert!(own.started > 0);
        assert_eq!(variable(std::process::id(), "MS_NO_SUCH_VARIABLE"), None);
    }
}

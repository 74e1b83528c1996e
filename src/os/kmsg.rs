//! What the kernel's log says of processes it has killed because memory was short (`/dev/kmsg`).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// So many messages are read at a time.
const MESSAGES_MAX: usize = 4096;

/// A process the kernel has killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Its process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The cgroup it was in, from the top of the hierarchy.
    pub cgroup: String,
    /// The cgroup whose limit was reached; `None`: the machine had no more.
    pub limited: Option<String>,
}

/// The kernel's log, from the time it was opened on.
#[derive(Debug)]
pub struct KernelLog(OwnedFd);

impl KernelLog {
    /// Opens it at its end.
    ///
    /// # Errors
    /// As open(2): `PermissionDenied` for who may not read it.
    pub fn open() -> io::Result<Self> {
        let log = rustix::fs::openat(CWD, "/dev/kmsg", OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::seek(&log, SeekFrom::End(0))?;
        Ok(Self(log))
    }

    /// What was killed since this was asked last.
    #[must_use]
    pub fn kills(&self) -> Vec<Kill> {
        let mut message = vec![0; 8192];
        let mut kills = Vec::new();
        for _ in 0..MESSAGES_MAX {
            match rustix::io::read(&self.0, &mut message) {
                Ok(0) => break,
                Ok(length) => kills.extend(parse(&String::from_utf8_lossy(message.get(..length).unwrap_or_default()))),
                // Messages were overwritten before they were read; the next one is there.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        kills
    }
}

/// A record of /dev/kmsg, if it tells of a kill (`dump_oom_victim` in mm/oom_kill.c).
fn parse(record: &str) -> Option<Kill> {
    let (_, message) = record.split_once(';')?;
    let facts = message.lines().next()?.strip_prefix("oom-kill:")?;
    // The name of a process may hold anything, commas too: it stands between two known words.
    let (facts, rest) = facts.split_once(",task=")?;
    let (rest, _uid) = rest.rsplit_once(",uid=")?;
    let (name, pid) = rest.rsplit_once(",pid=")?;
    let (facts, cgroup) = facts.split_once(",task_memcg=")?;
    let limited = facts.split_once(",oom_memcg=").map(|(_, cgroup)| cgroup.to_owned());
    Some(Kill { pid: pid.parse().ok()?, name: name.to_owned(), cgroup: cgroup.to_owned(), limited })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_read_from_the_log() {
        let limited = "6,1234,99,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a:1,mems_allowed=0,oom_memcg=/s/a:1,task_memcg=/s/a:1/b,task=a,b=c,pid=77,uid=0\n SUBSYSTEM=x\n";
        let expected = Kill { pid: 77, name: "a,b=c".into(), cgroup: "/s/a:1/b".into(), limited: Some("/s/a:1".into()) };
        assert_eq!(parse(limited), Some(expected));
        let host = "6,1,9,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/s/a:1,task=x,pid=7,uid=1\n";
        assert_eq!(parse(host).map(|kill| (kill.pid, kill.limited)), Some((7, None)));
        assert_eq!(parse("6,1,9,-;usb 1-1: new device\n"), None);
        assert_eq!(parse("nonsense"), None);
    }
}

//! Whose sockets there are: a look through /proc, when somebody wants to know.

mod diag;
mod owners;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use procfs::process::{FDTarget, Process};

pub use self::owners::{Roots, UnitProcesses};
use crate::base::id::UnitId;
use crate::os::cgroup;
use crate::os::systemd::Place;
use crate::plan::{Holder, Sockets, TcpSocket, UnixSocket};

/// The most descriptors that are looked at. What is beyond is not looked at, and said.
const DESCRIPTORS_MAX: usize = 1 << 20;

/// In the flags of /proc/net/unix: it takes connections (`__SO_ACCEPTCON`).
const ACCEPTS: u32 = 1 << 16;

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whose systemd it is.
    pub place: Option<Place>,
    /// The unit of systemd that the launcher is in.
    pub service: Option<String>,
    /// The units of systemd that the processes of each unit are in, where it is another one.
    pub homes: BTreeMap<UnitId, BTreeSet<String>>,
    /// All sockets, and whose they are.
    pub sockets: Sockets,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
}

/// Looks at every process of the machine and at all sockets. Blocks: some ten microseconds for each process and one for each descriptor.
#[must_use]
pub fn look(roots: &Roots) -> Seen {
    let mut seen = Seen::default();
    if let Some(cgroup) = cgroup::of_process(roots.launcher) {
        let place = Place::of(&cgroup, rustix::process::getuid().as_raw());
        (seen.place, seen.service) = (Some(place), place.unit(&cgroup));
    }
    let owned = roots.owners(seen.place);
    for (unit, home) in owned.values().filter_map(|owned| Some((owned.unit.clone()?, owned.systemd.clone()?))) {
        if seen.service.as_ref() != Some(&home) {
            seen.homes.entry(unit).or_default().insert(home);
        }
    }
    let mut descriptors = Descriptors::default();
    for (&pid, owned) in &owned {
        // Its own unit's, else that of systemd's unit; others are nobody's.
        let holder = owned.unit.clone().map(Holder::Unit).or_else(|| owned.systemd.clone().map(Holder::Systemd));
        if let Some(holder) = holder {
            descriptors.add(pid, &holder, &mut seen.sockets.holders);
        }
    }
    seen.notes.extend(descriptors.notes());
    for (network, pid) in descriptors.networks {
        seen.sockets.tcp.extend(tcp(network, pid));
    }
    match unix() {
        Ok(sockets) => seen.sockets.unix = sockets,
        Err(fault) => seen.notes.push(format!("sockets: cannot read the list of Unix sockets: {fault}")),
    }
    match diag::peers() {
        Ok(peers) => seen.sockets.unix.iter_mut().for_each(|socket| socket.peer = peers.get(&socket.inode).copied()),
        Err(fault) => {
            let why = if fault.kind() == io::ErrorKind::NotFound { "this kernel has no unix_diag".into() } else { fault.to_string() };
            seen.notes.push(format!("sockets: who is connected to Unix sockets is not known: {why}"));
        }
    }
    seen
}

/// The descriptors of processes.
#[derive(Debug, Default)]
struct Descriptors {
    looked_at: usize,
    /// Processes that may not be looked at.
    hidden: usize,
    /// Network name spaces, each with a process in it.
    networks: BTreeMap<u64, i32>,
}

impl Descriptors {
    fn add(&mut self, pid: u32, holder: &Holder, holders: &mut BTreeMap<u64, BTreeSet<Holder>>) {
        // One that has ended meanwhile holds nothing.
        let Some(process) = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok()) else { return };
        let found = match process.fd() {
            Ok(found) => found,
            Err(procfs::ProcError::PermissionDenied(_)) => {
                self.hidden += 1;
                return;
            }
            Err(_) => return,
        };
        let mut has_sockets = false;
        for descriptor in found.flatten() {
            if self.looked_at == DESCRIPTORS_MAX {
                return;
            }
            self.looked_at += 1;
            if let FDTarget::Socket(inode) = descriptor.target {
                has_sockets = true;
                holders.entry(inode).or_default().insert(holder.clone());
            }
        }
        if has_sockets && let Some(network) = network(pid) {
            self.networks.entry(network).or_insert(process.pid());
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.hidden > 0 {
            let processes = if self.hidden == 1 { "1 process".to_owned() } else { format!("{} processes", self.hidden) };
            notes.push(format!("sockets: {processes} of other users may not be looked at"));
        }
        if self.looked_at == DESCRIPTORS_MAX {
            notes.push(format!("sockets: only the first {DESCRIPTORS_MAX} descriptors were looked at"));
        }
        notes
    }
}

/// The network name space of a process.
fn network(pid: u32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|of| of.ino())
}

/// The TCP sockets of the name space that a process is in; none if it has ended.
fn tcp(network: u64, pid: i32) -> Vec<TcpSocket> {
    use procfs::net::TcpState;
    let Ok(process) = Process::new(pid) else { return Vec::new() };
    // A kernel without IPv6 has one list only.
    let all = [process.tcp(), process.tcp6()].into_iter().flatten().flatten();
    let kept = all.filter(|entry| matches!(entry.state, TcpState::Listen | TcpState::Established));
    kept.map(|entry| TcpSocket {
        network,
        local: entry.local_address,
        remote: entry.remote_address,
        listens: entry.state == TcpState::Listen,
        inode: entry.inode,
    })
    .collect()
}

/// The Unix sockets of this process' name space that are of use.
fn unix() -> io::Result<Vec<UnixSocket>> {
    Ok(std::fs::read("/proc/net/unix")?.split(|byte| *byte == b'\n').skip(1).filter_map(parse_unix).collect())
}

/// A line of /proc/net/unix: `Num RefCount Protocol Flags Type St Inode Path`.
fn parse_unix(line: &[u8]) -> Option<UnixSocket> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(8, ' ').filter(|word| !word.is_empty());
    let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
    let inode_and_path = words.skip(2).collect::<Vec<_>>().join(" ");
    let (inode, path) = inode_and_path.trim_start().split_once(' ').unwrap_or((&inode_and_path, ""));
    let path = Some(path).filter(|path| !path.is_empty()).map(str::to_owned);
    Some(UnixSocket { inode: inode.trim().parse().ok()?, path, listens: flags & ACCEPTS != 0, peer: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_unix_sockets_are_understood() {
        let check = |line: &str, inode, path: Option<&str>, listens| {
            let wanted = UnixSocket { inode, path: path.map(str::to_owned), listens, peer: None };
            assert_eq!(parse_unix(line.as_bytes()), Some(wanted), "{line}");
        };
        check("ffff8a0: 00000002 00000000 00010000 0001 01 16163 /run/a b.sock", 16163, Some("/run/a b.sock"), true);
        check("ffff8a0: 00000003 00000000 00000000 0001 03   163", 163, None, false);
        check("ffff8a0: 00000003 00000000 00000000 0001 03 16300 @/abstract", 16300, Some("@/abstract"), false);
        assert_eq!(parse_unix(b""), None);
    }

    #[test]
    fn own_sockets_are_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let unix_listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let server = unix_listener.accept().unwrap();
        let own = std::process::id();
        let me = UnitProcesses { unit: "me".into(), pids: vec![own], cgroup: None };
        let seen = look(&Roots { launcher: own, units: vec![me] });
        let wanted = listener.local_addr().unwrap();
        let found = seen.sockets.tcp.iter().find(|socket| socket.listens && socket.local == wanted).unwrap();
        assert_eq!(seen.sockets.holders[&found.inode], BTreeSet::from([Holder::Unit("me".into())]));
        let at = |listens: bool| {
            let is_it = |socket: &&UnixSocket| socket.listens == listens && socket.path.as_deref() == path.to_str();
            seen.sockets.unix.iter().find(is_it).unwrap()
        };
        assert!(seen.sockets.holders.contains_key(&at(true).inode));
        match at(false).peer {
            Some(peer) => assert!(seen.sockets.holders.contains_key(&peer)),
            None => println!("SKIPPED: this kernel does not tell the peers of Unix sockets: {:?}", seen.notes),
        }
        drop((client, server));
    }
}

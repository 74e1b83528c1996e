//! Directories, who may write there, and what room there is; and who listens on a port.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::os::{logfile, trust};

/// So many files of the configuration are looked at.
pub const FILES_MAX: usize = 10_000;

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// What it is for: `config`, `state`, `run`, `logs`.
    pub name: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What is known of it, or why it is not there.
    pub facts: Result<DirectoryFacts, String>,
}

/// What is known of a directory that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Whether it is one.
    pub is_directory: bool,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its mode, without the kind.
    pub mode: u32,
    /// Whether this process may write there.
    pub writable: bool,
    /// The file system's free bytes for those without privileges, and all of them.
    pub bytes: (u64, u64),
    /// The same in inodes; both 0 where there is no such limit.
    pub inodes: (u64, u64),
    /// Whether the file system is mounted read-only.
    pub read_only: bool,
    /// Whether a file's head can be taken off under its writer; unknown where nothing may be written.
    pub collapses: Option<bool>,
}

impl Directory {
    /// The directory `path`.
    #[must_use]
    pub fn look(name: &'static str, path: &Path) -> Self {
        Self { name, path: path.to_owned(), facts: facts(path).map_err(|error| error.to_string()) }
    }
}

fn facts(path: &Path) -> std::io::Result<DirectoryFacts> {
    let metadata = std::fs::metadata(path)?;
    let room = rustix::fs::statvfs(path)?;
    let writable = rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    Ok(DirectoryFacts {
        is_directory: metadata.is_dir(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        writable,
        bytes: (room.f_bavail.saturating_mul(room.f_frsize), room.f_blocks.saturating_mul(room.f_frsize)),
        inodes: (room.f_favail, room.f_files),
        read_only: room.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        // A file without a name: nothing is left of it.
        collapses: (writable && metadata.is_dir()).then(|| logfile::supports_collapse(path)),
    })
}

/// The first existing directory on the way up: where a missing one would be made, and whether this process may.
#[must_use]
pub fn parent_of(path: &Path) -> Option<(PathBuf, bool)> {
    let parent = path.ancestors().skip(1).find(|at| at.is_dir())?;
    Some((parent.to_owned(), rustix::fs::access(parent, rustix::fs::Access::WRITE_OK).is_ok()))
}

/// A file or directory that others than root and `uid` may change: and so what the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loose {
    /// Which.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Its mode, without the kind.
    pub mode: u32,
}

/// What others may change in the configuration directory, the scripts included.
#[must_use]
pub fn loose(config: &Path, uid: u32) -> Vec<Loose> {
    let mut open = vec![config.to_owned()];
    let (mut found, mut seen) = (Vec::new(), 0);
    while let Some(path) = open.pop() {
        seen += 1;
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if seen > FILES_MAX || metadata.is_symlink() {
            continue;
        }
        if trust::distrust_at(&path, &metadata, uid).is_some() {
            found.push(Loose { path: path.clone(), uid: metadata.uid(), mode: metadata.mode() & 0o7777 });
        }
        // What the daemon itself keeps below a project is its own.
        if metadata.is_dir() && !path.ends_with(".ms-supervisor") {
            open.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    found
}

/// The inode of the socket that listens on this TCP port, if any does.
#[must_use]
pub fn listener(address: std::net::SocketAddr) -> Option<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables.iter().find_map(|table| listening(table, address))
}

/// In a table of the kernel: `sl local_address rem_address st …`, addresses as `0100007F:1F41`, state 0A listens; the tenth word is the inode.
fn listening(table: &str, address: std::net::SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|row| {
        let words: Vec<_> = row.split_whitespace().collect();
        let (local, port) = words.get(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let anywhere = local.bytes().all(|byte| byte == b'0');
        let fits = anywhere || address.ip().is_unspecified() || local == hex(address.ip());
        (port == address.port() && words.get(3) == Some(&"0A") && fits).then(|| words.get(9)?.parse().ok())?
    })
}

/// As the kernel writes it: words of 32 bits in the machine's order.
fn hex(ip: std::net::IpAddr) -> String {
    let bytes = match ip {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.chunks_exact(4).map(|word| format!("{:08X}", u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))).collect()
}

/// Whether the process `pid` has this socket; none if it may not be asked.
#[must_use]
pub fn has_socket(pid: u32, inode: u64) -> Option<bool> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(descriptors.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|target| target == wanted)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_listener_is_found_and_known() {
        let listener_here = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = listener(listener_here.local_addr().unwrap()).unwrap();
        assert_eq!(has_socket(std::process::id(), inode), Some(true));
        assert_eq!(has_socket(std::process::id(), inode + 1_000_000), Some(false));
        assert_eq!(hex("127.0.0.1".parse().unwrap()), if cfg!(target_endian = "little") { "0100007F" } else { "7F000001" });
    }

    #[test]
    fn directories_are_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        let facts = Directory::look("state", directory.path()).facts.unwrap();
        assert!(facts.is_directory && facts.writable && facts.bytes.1 > 0 && facts.collapses.is_some(), "{facts:?}");
        assert!(Directory::look("state", &directory.path().join("none")).facts.is_err());
        assert_eq!(parent_of(&directory.path().join("a/b")).unwrap(), (directory.path().to_owned(), true));
    }

    #[test]
    fn what_others_may_change_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let units = directory.path().join("units");
        std::fs::create_dir(&units).unwrap();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(loose(directory.path(), own), []);
        let open = units.join("web.yaml");
        std::fs::write(&open, "").unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(loose(directory.path(), own), [Loose { path: open, uid: own, mode: 0o666 }]);
    }
}

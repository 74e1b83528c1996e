//! Opening what somebody else could have put there: without waiting, regular files only, bounded.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, fstatfs, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::doing;

/// The most bytes of an environment file: systemd's bound, too, for what it reads whole.
pub const ENVIRONMENT_MAX: u64 = 1 << 20;

/// The most bytes of a file with certificates. The bundle of a whole system is a quarter of a megabyte.
pub const CERTIFICATES_MAX: u64 = 4 << 20;

/// As many symbolic links as the kernel follows in a path.
const LINKS_MAX: u32 = 40;

/// What /proc is known by (statfs(2)).
const PROC: i64 = 0x9fa0;

/// Opens a regular file to be read. Whatever else it is, a FIFO, a device, a file of /proc that never ends: opening does not wait for it, and
/// it is refused. A mount that does not answer is waited for: not for the runtime's threads.
///
/// # Errors
/// It cannot be opened, or is no such file.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    doing(format_args!("reading {}", path.display()));
    regular(openat(CWD, path, READ, Mode::empty())?)
}

/// How a file is opened that may be a trap.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// The file, if it is a regular one.
pub(in crate::os) fn regular(opened: OwnedFd) -> io::Result<(File, Metadata)> {
    let file = File::from(opened);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // Those have a size of nothing, and some never end.
    if metadata.len() == 0 && fstatfs(&file)?.f_type == PROC {
        return Err(io::Error::other("it is not a regular file, but one that the kernel makes up"));
    }
    Ok((file, metadata))
}

/// Reads a regular file whole.
///
/// # Errors
/// It cannot be opened or read, is no regular file, or has more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    contents(open(path)?.0, most)
}

/// What is in a file.
///
/// # Errors
/// It cannot be read, or has more than `most` bytes.
pub fn contents(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is larger than {}", crate::base::quantity::format_size(most))));
    }
    Ok(bytes)
}

/// Opens a file for a unit of another user than the daemon's. What that user may read is opened as that user, wherever its path leads: nobody
/// gets to see more by it. Anything else is opened as the daemon, if nobody but root and the daemon's user decides where the path leads.
///
/// # Errors
/// It cannot be opened, is no regular file, or somebody else could have the daemon read what the user may not.
pub fn open_for(user: (u32, u32, &[u32]), path: &Path) -> io::Result<(File, Metadata)> {
    doing(format_args!("reading {}", path.display()));
    match as_user(user, || openat(CWD, path, READ, Mode::empty())) {
        Some(Ok(opened)) => regular(opened),
        Some(Err(Errno::ACCESS | Errno::PERM)) | None => open_trusted(path),
        Some(Err(fault)) => Err(fault.into()),
    }
}

/// Opens a file if nobody but root and the daemon's user decides where its path leads: every directory and every link on the way belongs to
/// one of them, and others may not write it (or exchange only what is their own, as in /tmp).
///
/// # Errors
/// It cannot be opened, is no regular file, or somebody else could exchange it.
pub fn open_trusted(path: &Path) -> io::Result<(File, Metadata)> {
    match open_whoever(path)? {
        (file, metadata, None) => Ok((file, metadata)),
        (_, _, Some(whose)) => Err(io::Error::other(whose)),
    }
}

/// Opens a file, and says who else could exchange it, if anybody. Where somebody else decides, no link is followed.
///
/// # Errors
/// It cannot be opened, is no regular file, or somebody else's link leads to it.
pub fn open_whoever(path: &Path) -> io::Result<(File, Metadata, Option<String>)> {
    doing(format_args!("reading {}", path.display()));
    let mut way = Way::begin(path)?;
    while let Some(name) = way.names.pop() {
        let found = statat(&way.directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_last = way.names.is_empty();
        let kind = FileType::from_raw_mode(found.st_mode);
        if kind != FileType::RegularFile || way.is_sticky {
            way.look_at_owner(&name, found.st_uid);
        }
        match kind {
            FileType::Symlink => way.follow(&name)?,
            FileType::Directory if !is_last => way.enter(&name)?,
            _ if is_last => {
                let opened = openat(&way.directory, &name, READ.union(OFlags::NOFOLLOW), Mode::empty())?;
                return regular(opened).map(|(file, metadata)| (file, metadata, way.others));
            }
            _ => return Err(Errno::NOTDIR.into()),
        }
    }
    Err(io::Error::other("it is not a regular file"))
}

/// How a directory is held that is only passed through.
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The way to a file, of which each step is looked at.
struct Way {
    directory: OwnedFd,
    /// Where that is, for people.
    place: PathBuf,
    /// Others may make entries there, and exchange their own.
    is_sticky: bool,
    /// Who else decides from here on, and what to do about it.
    others: Option<String>,
    /// What is to come, the last first.
    names: Vec<OsString>,
    links: u32,
}

impl Way {
    fn begin(path: &Path) -> io::Result<Self> {
        let directory = openat(CWD, "/", PASS, Mode::empty())?;
        let mut way = Self { directory, place: "/".into(), is_sticky: false, others: None, names: Vec::new(), links: 0 };
        way.go(&std::path::absolute(path)?);
        Ok(way)
    }

    /// Puts a path before what is to come.
    fn go(&mut self, path: &Path) {
        self.names.extend(path.components().rev().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        }));
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        self.directory = openat(&self.directory, name, PASS, Mode::empty())?;
        self.place.push(name);
        let found = fstat(&self.directory)?;
        self.is_sticky = found.st_mode & 0o1000 != 0;
        let groups = [0, getegid().as_raw()];
        let others = if groups.contains(&found.st_gid) { 0o002 } else { 0o022 };
        if found.st_mode & others != 0 && !self.is_sticky {
            self.others.get_or_insert_with(|| format!("others may write the directory {0}; chmod go-w {0}", self.place.display()));
        }
        Ok(())
    }

    fn follow(&mut self, name: &OsStr) -> io::Result<()> {
        if let Some(whose) = &self.others {
            return Err(io::Error::other(format!("{} is a link: {whose}", self.place.join(name).display())));
        }
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = readlinkat(&self.directory, name, Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.directory = openat(CWD, "/", PASS, Mode::empty())?;
            (self.place, self.is_sticky) = ("/".into(), false);
        }
        self.go(&target);
        Ok(())
    }

    fn look_at_owner(&mut self, name: &OsStr, owner: u32) {
        if owner != 0 && owner != geteuid().as_raw() {
            let place = self.place.join(name);
            let whose = || format!("{0} belongs to user {owner}, who decides what is read there; chown root {0}", place.display());
            self.others.get_or_insert_with(whose);
        }
    }
}

/// Does something with the rights of a user over files; `None`: this process may not take them on.
#[expect(unsafe_code, reason = "credentials of one thread: no library has them")]
fn as_user<T>((uid, gid, groups): (u32, u32, &[u32]), work: impl FnOnce() -> T) -> Option<T> {
    let own_groups = rustix::process::getgroups().ok()?;
    // SAFETY: a number and a list of so many ids, which the kernel copies. By the bare system call it concerns this thread only.
    let set_groups = |count: usize, list: *const libc::gid_t| unsafe { libc::syscall(libc::SYS_setgroups, count, list) };
    // SAFETY: numbers; they concern this thread only. What they return is who it was before, whatever came of it.
    let set = |uid, gid| unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
    if set_groups(groups.len(), groups.as_ptr()) != 0 {
        return None;
    }
    set(uid, gid);
    // One that is none changes nothing, so this tells how it is now.
    let done = (set(u32::MAX, u32::MAX) == (gid.cast_signed(), uid.cast_signed())).then(work);
    set(geteuid().as_raw(), getegid().as_raw());
    let own_groups: Vec<libc::gid_t> = own_groups.into_iter().map(rustix::process::Gid::as_raw).collect();
    let is_back = set_groups(own_groups.len(), own_groups.as_ptr());
    debug_assert_eq!(is_back, 0, "what was given up could be taken back before");
    done
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    const USER: (u32, u32, &[u32]) = (4321, 4321, &[4321]);

    #[test]
    fn only_regular_files_of_a_bounded_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "it is larger than 4 B");
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
        for trap in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/"), Path::new("/dev/tty")] {
            let why = read(trap, 5).unwrap_err().to_string();
            // There need not be a terminal.
            assert!(why == "it is not a regular file" || trap.ends_with("tty"), "{trap:?}: {why}");
        }
        for made_up in ["/proc/kmsg", "/proc/self/environ"] {
            // Not everybody may open every one.
            let why = read(Path::new(made_up), 5).unwrap_err();
            assert!(why.to_string().contains("the kernel makes up") || why.kind() == io::ErrorKind::PermissionDenied, "{made_up}: {why}");
        }
    }

    #[test]
    fn only_root_decides_where_a_trusted_path_leads() {
        if !geteuid().is_root() {
            return println!("SKIPPED: files of others take root");
        }
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["ours", "theirs", "open"] {
            std::fs::create_dir(at(name)).unwrap();
            std::fs::write(at(name).join("file"), name).unwrap();
            std::fs::set_permissions(at(name).join("file"), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink("../ours/file", at("ours").join("link")).unwrap();
        symlink(at("ours"), at("alternative")).unwrap();
        symlink("loop", at("loop")).unwrap();
        chown(at("theirs"), Some(4321), None).unwrap();
        symlink("../ours/file", at("theirs").join("link")).unwrap();
        std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        let text = |path: PathBuf| match open_trusted(&path) {
            Ok((file, _)) => String::from_utf8(contents(file, 10).unwrap()).unwrap(),
            Err(why) => why.to_string(),
        };
        assert_eq!(text(at("ours/file")), "ours");
        assert_eq!(text(at("ours/link")), "ours");
        assert_eq!(text(at("alternative/link")), "ours");
        assert!(text(at("theirs/file")).contains("belongs to user 4321, who decides"), "{}", text(at("theirs/file")));
        assert!(text(at("open/file")).contains("others may write the directory"), "{}", text(at("open/file")));
        assert!(text(at("loop")).contains("symbolic links"), "{}", text(at("loop")));
        assert_eq!(text(at("ours")), "it is not a regular file");
        assert!(text(at("ours/file/x")).contains("Not a directory"));
        // Files of others among our own are what we have laid there.
        chown(at("ours/file"), Some(4321), None).unwrap();
        assert_eq!(text(at("ours/file")), "ours");
    }

    #[test]
    fn a_user_does_not_get_to_see_more_by_us() {
        if !geteuid().is_root() {
            return println!("SKIPPED: files of others take root");
        }
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("key"), "key").unwrap();
        std::fs::set_permissions(at("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::create_dir(at("app")).unwrap();
        std::fs::write(at("app/env"), "own").unwrap();
        std::fs::set_permissions(at("app/env"), std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(at("app/env"), Some(4321), Some(4321)).unwrap();
        symlink("../key", at("app/link")).unwrap();
        chown(at("app"), Some(4321), Some(4321)).unwrap();
        let open = |name: &str| open_for(USER, &at(name)).map_err(|why| why.to_string());
        assert!(open("app/env").is_ok());
        // Root's own decision.
        assert!(open("key").is_ok());
        assert!(open("app/link").unwrap_err().contains("belongs to user 4321"));
        assert!(open("app/none").unwrap_err().contains("No such file"));
        // Nothing of that sticks.
        assert!(File::open(at("key")).is_ok() && std::fs::read(at("app/env")).is_ok());
    }
}

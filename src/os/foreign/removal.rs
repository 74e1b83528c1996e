//! Removing a directory that somebody else could fill: however deep it is, no link is followed, and what is open are two descriptors.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, fstat, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The most entries that are removed at a time. What is left is left, and said.
const ENTRIES_MAX: usize = 200_000;

/// Removes a directory and all that is in it. Goes down by descriptors and up by `..`, where it looks whether it is back in the same directory.
/// Blocks.
///
/// # Errors
/// Something cannot be removed, was moved meanwhile, or there is more than is removed at a time.
pub fn remove(path: &Path) -> io::Result<()> {
    let mut directory = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        top => top?,
    };
    // Names within the directory above, and which one that is.
    let mut way: Vec<(CString, (u64, u64))> = Vec::new();
    let mut left = ENTRIES_MAX;
    loop {
        if let Some(name) = empty(&directory, &mut left)? {
            let below = open(directory.as_fd(), name.as_c_str())?;
            way.push((name, identity(&directory)?));
            directory = below;
            continue;
        }
        let Some((name, above)) = way.pop() else { break };
        let up = openat(&directory, c"..", DIRECTORY, Mode::empty())?;
        if identity(&up)? != above {
            return Err(io::Error::other("somebody has moved a directory in it meanwhile"));
        }
        unlinkat(&up, &name, AtFlags::REMOVEDIR)?;
        directory = up;
    }
    drop(directory);
    Ok(unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open(at: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> rustix::io::Result<OwnedFd> {
    if !geteuid().is_root() {
        // Whoever has closed it is the same user. It is none, or somebody else's: opening tells.
        let _not_ours = chmodat(at, name, Mode::RWXU, AtFlags::empty());
    }
    openat(at, name, DIRECTORY, Mode::empty())
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let found = fstat(directory)?;
    Ok((found.st_dev, found.st_ino))
}

/// Removes the entries of a directory up to a directory that is not empty, and names that.
fn empty(directory: &OwnedFd, left: &mut usize) -> io::Result<Option<CString>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other(format!("it has more than {ENTRIES_MAX} entries")))?;
        match unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            removed => {
                removed?;
                continue;
            }
        }
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
            removed => removed?,
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_links_and_closed_directories_are_no_matter() {
        let place = tempfile::tempdir().unwrap();
        let (victim, path) = (place.path().join("victim"), place.path().join("x"));
        std::fs::create_dir(&victim).unwrap();
        std::fs::write(victim.join("file"), "").unwrap();
        std::fs::create_dir_all(path.join("a/b")).unwrap();
        std::os::unix::fs::symlink(&victim, path.join("a/b/link")).unwrap();
        std::fs::write(path.join("a/file"), "").unwrap();
        // Five times as deep as this stack bears, and deeper than there are descriptors.
        let mut deep = open(CWD, path.join("a").as_path()).unwrap();
        for _ in 0..2000 {
            rustix::fs::mkdirat(&deep, "d", Mode::RWXU).unwrap();
            deep = open(deep.as_fd(), "d").unwrap();
        }
        std::fs::set_permissions(path.join("a/b"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let removed = std::thread::Builder::new().stack_size(64 << 10).spawn(move || remove(&path)).unwrap().join().unwrap();
        removed.unwrap();
        assert!(!place.path().join("x").exists() && victim.join("file").exists());
        remove(&place.path().join("x")).unwrap();
    }
}

//! One daemon per state directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("cannot use {}: another ms-supervisor{} is using it", dir.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The state directory.
        dir: PathBuf,
        /// That daemon, if it has said who it is.
        pid: Option<u32>,
    },
    /// A system call failed.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Locks the directory `dir` for this process; the lock lives as long as the descriptor and its duplicates.
///
/// # Errors
/// When somebody else has it, or a system call fails.
pub fn acquire(dir: &Path) -> Result<OwnedFd, LockError> {
    let path = dir.join("lock");
    let fail = |source| LockError::Io { path: path.clone(), source };
    let mut file = File::options().read(true).write(true).create(true).truncate(false).mode(0o644).open(&path).map_err(fail)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            return Err(LockError::Held { dir: dir.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(errno) => return Err(fail(errno.into())),
    }
    // The file itself stays for ever: who removes a lock file may remove somebody else's lock.
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail)?;
    Ok(file.into())
}

/// Lets `fd` survive the next exec, or not.
///
/// # Errors
/// When the descriptor is not open.
pub fn set_inheritable(fd: impl AsFd, inheritable: bool) -> io::Result<()> {
    let flags = fcntl_getfd(&fd)?;
    Ok(fcntl_setfd(&fd, if inheritable { flags - FdFlags::CLOEXEC } else { flags | FdFlags::CLOEXEC })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = acquire(dir.path()).unwrap();
        let text = match acquire(dir.path()) {
            Err(error @ LockError::Held { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(text.ends_with(&format!("another ms-supervisor (process {}) is using it", std::process::id())), "{text}");
        drop(lock);
        acquire(dir.path()).unwrap();
        assert!(matches!(acquire(&dir.path().join("missing")), Err(LockError::Io { .. })));
    }

    #[test]
    fn the_lock_can_survive_exec() {
        let dir = tempfile::tempdir().unwrap();
        let lock = acquire(dir.path()).unwrap();
        assert!(fcntl_getfd(&lock).unwrap().contains(FdFlags::CLOEXEC));
        set_inheritable(&lock, true).unwrap();
        assert!(!fcntl_getfd(&lock).unwrap().contains(FdFlags::CLOEXEC));
        set_inheritable(&lock, false).unwrap();
        assert!(fcntl_getfd(&lock).unwrap().contains(FdFlags::CLOEXEC));
    }
}

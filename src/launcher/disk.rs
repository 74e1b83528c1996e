//! The run directory: it should be in memory. Where it is on a disk, that may hang, and the launcher does not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::aside::Aside;

/// How long the launcher waits for a disk.
pub(super) const DISK_WITHIN: Duration = Duration::from_millis(250);

/// File systems that wait for nobody (linux/magic.h): tmpfs, ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// How the run directory is written to.
pub(super) struct Disk {
    /// `None`: it is in memory, and nothing waits.
    aside: Option<Aside>,
}

impl Disk {
    /// The one that `directory` is on.
    pub(super) fn of(directory: &Path) -> Self {
        let is_in_memory = rustix::fs::statfs(directory).is_ok_and(|found| IN_MEMORY.contains(&(found.f_type as u64)));
        Self { aside: (!is_in_memory).then(Aside::default) }
    }

    /// Whether nothing waits there.
    pub(super) const fn is_in_memory(&self) -> bool {
        self.aside.is_none()
    }

    /// Makes a call that may wait for the disk.
    ///
    /// # Errors
    /// Its own, and `ETIMEDOUT` after [`DISK_WITHIN`], then it may still be carried out later; at once while an earlier call hangs.
    pub(super) fn call<T: Send + 'static>(&mut self, call: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        match &mut self.aside {
            None => call(),
            Some(aside) if !aside.is_free() => Err(hangs()),
            Some(aside) => aside.within(DISK_WITHIN, call).unwrap_or_else(|| Err(hangs())),
        }
    }

    /// Removes a name, if it is there.
    pub(super) fn remove(&mut self, path: PathBuf) {
        let _already_gone = self.call(move || Ok(rustix::fs::unlink(path)?));
    }
}

/// The disk does not answer. With an errno, because that is what starts are told to have failed by.
fn hangs() -> io::Error {
    io::Error::from_raw_os_error(libc::ETIMEDOUT)
}

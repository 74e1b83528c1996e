//! What the launcher is told when it is started, as a command line.
#![expect(unsafe_code, reason = "a descriptor that comes through execve is known by its number only")]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;

/// Comes before what a launcher of another version has to say.
const AFTER: &str = "--after";

/// What the launcher has to know.
#[derive(Debug)]
pub struct Options {
    /// Held open, and with it the lock on it, for as long as the launcher lives.
    pub lock_fd: Option<OwnedFd>,
    /// The brain's program (a path) and its arguments. The brain finds the socket at the descriptor in `MS_LAUNCHER_FD`.
    pub brain: Vec<OsString>,
    /// Where notification sockets go; made if it is not there.
    pub run_directory: PathBuf,
    /// What a launcher of another version, whose process this was, has to say: JSON.
    pub after: Option<String>,
}

impl Options {
    /// The arguments after the program's name: `launcher RUN_DIRECTORY LOCK_FD|- BRAIN…`.
    /// The lock's descriptor can be inherited from then on: execute them soon.
    ///
    /// # Errors
    /// When the lock's descriptor cannot be made inheritable.
    pub fn to_argv(&self) -> io::Result<Vec<OsString>> {
        let lock = match &self.lock_fd {
            Some(lock) => {
                rustix::io::fcntl_setfd(lock, FdFlags::empty())?;
                lock.as_raw_fd().to_string()
            }
            None => "-".into(),
        };
        let head = ["launcher".into(), self.run_directory.clone().into_os_string(), lock.into()];
        Ok(head.into_iter().chain(self.brain.iter().cloned()).collect())
    }

    /// The arguments for `program` to go on in this process: its name, `launcher --after JSON` and the rest as above. The brain is the same program.
    pub(super) fn to_argv_after(&self, program: &Path, after: &str) -> Vec<OsString> {
        let lock = self.lock_fd.as_ref().map_or_else(|| "-".into(), |lock| lock.as_raw_fd().to_string());
        let head =
            [program.into(), "launcher".into(), AFTER.into(), after.into(), self.run_directory.clone().into(), lock.into(), program.into()];
        head.into_iter().chain(self.brain.iter().skip(1).cloned()).collect()
    }

    /// Reads what [`Options::to_argv`] wrote, the word `launcher` included.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn from_argv(argv: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        const USAGE: &str = "usage: ms-supervisor launcher RUN_DIRECTORY LOCK_FD|- BRAIN [ARGUMENT]…";
        let mut argv = argv.into_iter().skip(1).peekable();
        let after = argv.next_if(|word| word == AFTER).and_then(|_| argv.next()?.into_string().ok());
        let (Some(run_directory), Some(lock)) = (argv.next(), argv.next()) else { return Err(USAGE.into()) };
        let brain: Vec<OsString> = argv.collect();
        if brain.is_empty() {
            return Err(USAGE.into());
        }
        let number = |lock: &OsString| lock.to_str().and_then(|lock| lock.parse().ok()).unwrap_or(-1);
        let lock_fd = if lock == "-" {
            None
        } else {
            Some(inherited(number(&lock)).map_err(|_| format!("{} is no descriptor to hold", lock.display()))?)
        };
        Ok(Self { lock_fd, brain, run_directory: run_directory.into(), after })
    }
}

/// Takes over a descriptor that came through execve(2).
pub(super) fn inherited(number: RawFd) -> Result<OwnedFd, String> {
    let bad = || format!("{number} is no descriptor to hold");
    if number <= 2 {
        return Err(bad());
    }
    // SAFETY: fcntl with a bad descriptor only fails. The caller passes what it inherited for us to own, and calls this once.
    let fd = unsafe {
        if libc::fcntl(number, libc::F_GETFD) < 0 {
            return Err(bad());
        }
        OwnedFd::from_raw_fd(number)
    };
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(|_| bad())?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_command_line() {
        let lock = rustix::fs::openat(rustix::fs::CWD, "/dev/null", rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty()).unwrap();
        let brain = vec!["/bin/ms-supervisor".into(), "brain".into(), "--x".into()];
        let options = Options { lock_fd: Some(lock), brain: brain.clone(), run_directory: "/run/ms".into(), after: None };
        let argv = options.to_argv().unwrap();
        let number = options.lock_fd.as_ref().unwrap().as_raw_fd();
        std::mem::forget(options);
        let read = Options::from_argv(argv).unwrap();
        assert_eq!((&read.brain, &read.run_directory), (&brain, &"/run/ms".into()));
        assert_eq!(read.lock_fd.as_ref().unwrap().as_raw_fd(), number);
        let after = read.to_argv_after(Path::new("/bin/new"), "{}");
        std::mem::forget(read);
        let read = Options::from_argv(after.into_iter().skip(1)).unwrap();
        assert_eq!((read.after.as_deref(), read.run_directory), (Some("{}"), "/run/ms".into()));
        assert_eq!(read.brain, ["/bin/new", "brain", "--x"].map(OsString::from));
    }

    #[test]
    fn bad_command_lines_are_refused() {
        for bad in [&["launcher"][..], &["launcher", "/run", "-"], &["launcher", "/run", "2", "b"], &["launcher", "/run", "x", "b"]] {
            assert!(Options::from_argv(bad.iter().map(Into::into)).is_err(), "{bad:?}");
        }
    }
}

//! What the process was started with: its environment and the descriptors in it.
#![expect(unsafe_code, reason = "a descriptor that comes through execve is known by its number only")]

use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use rustix::fs::fstat;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// The variables every unit starts with, as far as the daemon has them. Nothing else is passed on: what a unit gets must not
/// depend on who started the daemon.
const PASSED_ON: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR"];

/// The variables every unit starts with.
#[must_use]
pub fn base_environment() -> Vec<(String, String)> {
    let mut environment: Vec<_> = PASSED_ON.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    if !environment.iter().any(|(name, _)| name == "PATH") {
        environment.push(("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()));
    }
    environment
}

/// Whether systemd keeps what this process prints in its journal. Its variable alone says nothing: a shell of a desktop has inherited it
/// (systemd.exec(5), `$JOURNAL_STREAM`).
#[must_use]
pub fn is_in_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let is_it = |fd: BorrowedFd<'_>| fstat(fd).is_ok_and(|stat| format!("{}:{}", stat.st_dev, stat.st_ino) == stream);
    is_it(rustix::stdio::stderr()) || is_it(rustix::stdio::stdout())
}

/// Whether systemd started this process as a service: it names this process, or wants to be told of it (systemd.exec(5), `$SYSTEMD_EXEC_PID`; `sd_notify(3)`).
#[must_use]
pub fn is_service() -> bool {
    let is_started = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    is_started || std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Whether units may have cgroups: tests see what happens without (`MS_NO_CGROUPS`).
#[must_use]
pub fn wants_cgroups() -> bool {
    std::env::var_os("MS_NO_CGROUPS").is_none()
}

/// Whether units are in a cgroup of another service than the daemon's own (`MS_UNITS_CGROUP`), where systemd leaves them alone when it starts the daemon
/// again.
#[must_use]
pub fn has_units_elsewhere() -> bool {
    std::env::var_os("MS_UNITS_CGROUP").is_some_and(|name| !name.is_empty())
}

/// Whether the user wants no colours (<https://no-color.org>).
#[must_use]
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The tier that the environment names (`MS_TIER`), over what the declarations say.
#[must_use]
pub fn tier() -> Option<String> {
    std::env::var_os("MS_TIER").filter(|value| !value.is_empty()).map(|value| value.to_string_lossy().into_owned())
}

/// The socket the launcher passed on, by its number in `MS_LAUNCHER_FD`. To be called once.
///
/// # Errors
/// There is none.
pub fn launcher_socket() -> Result<OwnedFd, String> {
    let missing = || "the brain is started by the launcher; use `ms-supervisor run`".to_owned();
    let number: RawFd = std::env::var("MS_LAUNCHER_FD").ok().and_then(|number| number.parse().ok()).ok_or_else(missing)?;
    if number < 3 {
        return Err(missing());
    }
    // SAFETY: a bad number is found out just below; a good one is ours, as the launcher passed it on for this, and is taken once.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    match fcntl_getfd(&socket).and_then(|flags| fcntl_setfd(&socket, flags | FdFlags::CLOEXEC)) {
        Ok(()) => Ok(socket),
        Err(_) => {
            std::mem::forget(socket);
            Err(missing())
        }
    }
}

//! What the launcher tells systemd.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use super::complain;
use crate::base::time::Mono;
use crate::os::sd_notify;

/// How many signs of life systemd gets in the time in which it expects one.
const SIGNS: u32 = 3;

/// The way to systemd, if it listens.
pub(super) struct Systemd {
    listener: Option<(OwnedFd, SocketAddrUnix)>,
    /// How long systemd waits for a sign of life.
    patience: Option<Duration>,
    next: Mono,
    /// It was told that the service is up.
    pub(super) announced: bool,
}

impl Systemd {
    /// Reads `$NOTIFY_SOCKET`, `$WATCHDOG_USEC` and `$WATCHDOG_PID`. `announced`: a program before us has told it that the service is up.
    pub(super) fn from_environment(announced: bool) -> Self {
        let listener = std::env::var_os("NOTIFY_SOCKET").and_then(|name| match connect(Path::new(&name)) {
            Ok(listener) => Some(listener),
            Err(fault) => {
                complain(format_args!("cannot use $NOTIFY_SOCKET: {fault}"));
                None
            }
        });
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let patience = number("WATCHDOG_USEC").filter(|&micros| micros > 0 && is_ours).map(Duration::from_micros);
        Self { patience: patience.filter(|_| listener.is_some()), listener, next: Mono(0), announced }
    }

    /// Passes on what the brain has to say.
    pub(super) fn tell(&mut self, state: &str) {
        self.announced |= state.starts_with("READY=1");
        if let Err(fault) = self.send(state, &[]) {
            complain(format_args!("cannot notify systemd: {fault}"));
        }
    }

    /// The same, with descriptors.
    pub(super) fn send(&self, state: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.listener.as_ref().map_or(Ok(()), |(socket, address)| sd_notify::send(socket, address, state, fds))
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.patience.map(|_| self.next)
    }

    /// Gives a sign of life when it is time to. A brain that hangs or dies is the launcher's to mend: systemd could only end everything. Only when that
    /// does not succeed, and nobody watches the units any more (`is_well`), is there none.
    pub(super) fn tick(&mut self, now: Mono, is_well: bool) {
        let Some(patience) = self.patience.filter(|_| self.next <= now) else { return };
        self.next = now + patience / SIGNS;
        if is_well {
            self.tell("WATCHDOG=1");
        }
    }
}

fn connect(name: &Path) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    Ok((sd_notify::sender()?, sd_notify::address(name)?))
}

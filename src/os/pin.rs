//! A process that is no child of ours, by descriptor: its end is told at once, and no other process can take its place.
#![expect(unsafe_code, reason = "only the caller can promise that a registered descriptor stays open")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{process, signal};
use crate::base::exit::{ExitCause, Signal};
use crate::base::identity::Identity;

/// How long the parent of a dead process may take to reap it, before we stop waiting for its exit status. The end is to be told at once.
const REAPED_WITHIN: Duration = Duration::from_millis(50);

/// Why a process cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// It has ended.
    #[error("process {0} is gone")]
    Gone(u32),
    /// The kernel refuses.
    #[error("cannot watch process {0}: {1}")]
    Failed(u32, io::Error),
}

/// A process.
#[derive(Debug)]
pub struct Pin {
    process: Identity,
    pidfd: AsyncFd<OwnedFd>,
}

/// A descriptor for `process` and no other. Looks into /proc.
///
/// # Errors
/// It is gone, or there is no descriptor to be had.
pub fn open(process: Identity) -> Result<OwnedFd, PinError> {
    let pidfd = process::open(process.pid).map_err(|fault| match fault.raw_os_error() {
        Some(libc::ESRCH) => PinError::Gone(process.pid),
        _ => PinError::Failed(process.pid, fault),
    })?;
    // What has the number now had it when the descriptor was made, if it is older than that.
    if process::stat(process.pid).is_some_and(|stat| stat.started == process.started) {
        Ok(pidfd)
    } else {
        Err(PinError::Gone(process.pid))
    }
}

impl Pin {
    /// Takes a descriptor that [`open`] made; must be called within a tokio runtime.
    ///
    /// # Errors
    /// It cannot be registered with the runtime.
    pub fn new(process: Identity, pidfd: OwnedFd) -> Result<Self, PinError> {
        // SAFETY: the descriptor is open, and nobody else can close it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        let pidfd = pidfd.map_err(|fault| PinError::Failed(process.pid, fault.into()))?;
        Ok(Self { process, pidfd })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// As pidfd_send_signal(2).
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        signal::kill_pidfd(self.pidfd.as_fd(), signal)
    }

    /// Waits until it has ended, and tells how, if that can be known soon.
    pub async fn ended(&self) -> ExitCause {
        let mut is_reaped = self.next().await;
        if let Some(cause) = process::exit_of(self.pidfd.as_fd()) {
            return cause;
        }
        let process = self.process;
        if let Ok(Some(cause)) = tokio::task::spawn_blocking(move || exit_of_zombie(process)).await {
            return cause;
        }
        // The hang-up that comes with the reaping wakes us.
        let reaped = async {
            while !is_reaped {
                is_reaped = self.next().await;
            }
        };
        let _not_in_time = tokio::time::timeout(REAPED_WITHIN, reaped).await;
        process::exit_of(self.pidfd.as_fd()).unwrap_or(ExitCause::Unknown)
    }

    /// Waits for what happens next: it ends, or is reaped. Whether it is reaped.
    async fn next(&self) -> bool {
        // It cannot fail while the runtime lives.
        let Ok(mut happened) = self.pidfd.readable().await else { return true };
        let is_reaped = happened.ready().is_read_closed();
        happened.clear_ready();
        is_reaped
    }
}

/// How it ended, as long as its parent has not reaped it.
fn exit_of_zombie(process: Identity) -> Option<ExitCause> {
    let cause = process::exit_of_zombie(process.pid);
    // By then the number may be another's.
    cause.filter(|_| process::stat(process.pid).is_some_and(|stat| stat.started == process.started))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn identity(pid: u32) -> Identity {
        Identity { started: process::stat(pid).unwrap().started, pid }
    }

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap()
    }

    #[tokio::test]
    async fn the_end_is_told_with_how() {
        let mut child = shell("read line; exit 7");
        let process = identity(child.id());
        let pin = Pin::new(process, open(process).unwrap()).unwrap();
        drop(child.stdin.take());
        // Nobody has reaped it: it is a zombie of ours, which tells.
        assert_eq!(pin.ended().await, ExitCause::Code(7));
        child.wait().unwrap();
        assert!(matches!(open(process), Err(PinError::Gone(_))));
        assert!(pin.signal(Signal::TERM).is_err());
    }

    #[tokio::test]
    async fn another_process_of_the_same_number_is_not_taken() {
        let mut child = shell("read line");
        let process = identity(child.id());
        let earlier = Identity { started: process.started - 1, ..process };
        assert!(matches!(open(earlier), Err(PinError::Gone(pid)) if pid == process.pid));
        let pin = Pin::new(process, open(process).unwrap()).unwrap();
        pin.signal(Signal::KILL).unwrap();
        let cause = pin.ended().await;
        assert_eq!(cause, ExitCause::Signal { signal: Signal::KILL, core: false });
        child.wait().unwrap();
    }
}

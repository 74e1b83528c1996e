//! The brain's end of the socket, on tokio.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::codec::{self, Decoder, Fault};
use super::wire::{Fds, SpawnStep, ToBrain, ToLauncher};

/// How many messages one write gathers at most.
const BATCH: usize = 256;

/// How many bytes an idle write buffer keeps.
const KEEP: usize = 64 << 10;

/// The brain's end of the socket.
#[derive(Debug)]
pub struct Link;

impl Link {
    /// Splits the socket that the launcher passed on into its two directions. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the descriptor cannot be watched.
    pub fn from_fd(socket: OwnedFd) -> io::Result<(Sender, Receiver)> {
        let socket = StdUnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UnixStream::from_std(socket)?);
        // Unbounded, because a machine must never wait for the launcher (promise 7), and because what can wait here is bounded
        // by the plan: a unit has at most one start, a few signals and one acknowledgement under way.
        let (queue, queued) = mpsc::unbounded_channel();
        let (refuse, refused) = mpsc::unbounded_channel();
        tokio::spawn(write(Arc::clone(&socket), queued, refuse));
        Ok((Sender { queue }, Receiver { socket, decoder: Decoder::default(), fds: VecDeque::new(), refused }))
    }
}

/// Speaks to the launcher. Clones speak in the order of their calls.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: mpsc::UnboundedSender<ToLauncher>,
}

impl Sender {
    /// Sends a message; never waits. When the launcher is gone the message is dropped, and [`Receiver::recv`] tells so.
    ///
    /// After [`ToLauncher::Exit`] wait for [`Receiver::recv`] to return `None`: the launcher then has heard it and done it.
    pub fn send(&self, message: ToLauncher) {
        let _gone = self.queue.send(message);
    }
}

/// The descriptors that came with a message.
#[derive(Debug, Default)]
pub struct FdSet {
    /// A pidfd of the main process.
    pub pidfd: Option<OwnedFd>,
    /// The unit's notification socket: datagrams, non-blocking, with credentials.
    pub notify: Option<OwnedFd>,
    /// The read end of the readiness pipe, non-blocking.
    pub ready: Option<OwnedFd>,
    /// The read end of the output pipe, non-blocking.
    pub output: Option<OwnedFd>,
    /// A socket that systemd listens on.
    pub listener: Option<OwnedFd>,
}

/// Hears the launcher.
#[derive(Debug)]
pub struct Receiver {
    socket: Arc<UnixStream>,
    decoder: Decoder,
    fds: VecDeque<OwnedFd>,
    /// Answers to messages that never left because they were too long.
    refused: mpsc::UnboundedReceiver<ToBrain>,
}

impl Receiver {
    /// The next message and its descriptors; `None` when the launcher has closed the socket. May be cancelled at any point.
    ///
    /// # Errors
    /// When the socket fails or says what is no message.
    pub async fn recv(&mut self) -> io::Result<Option<(ToBrain, FdSet)>> {
        loop {
            if let Some(message) = self.decoder.next()? {
                let fds = match message {
                    ToBrain::Listener { .. } => FdSet { listener: self.fds.pop_front(), ..FdSet::default() },
                    _ => self.take_fds(fds_of(&message))?,
                };
                return Ok(Some((message, fds)));
            }
            tokio::select! {
                Some(message) = self.refused.recv() => return Ok(Some((message, FdSet::default()))),
                ready = self.socket.readable() => {
                    ready?;
                    let receive = || codec::receive(self.socket.as_fd(), &mut self.decoder, &mut self.fds);
                    match self.socket.try_io(Interest::READABLE, receive) {
                        Ok(0) if self.decoder.is_midframe() => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(0) => return Ok(None),
                        Ok(_) => {}
                        Err(fault) => match fault.kind() {
                            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                            io::ErrorKind::ConnectionReset => return Ok(None),
                            _ => return Err(fault),
                        },
                    }
                }
            }
        }
    }

    fn take_fds(&mut self, which: Fds) -> io::Result<FdSet> {
        if self.fds.len() < which.count() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors are missing"));
        }
        let mut take = |there: bool| if there { self.fds.pop_front() } else { None };
        Ok(FdSet {
            pidfd: take(which.pidfd),
            notify: take(which.notify),
            ready: take(which.ready),
            output: take(which.output),
            listener: None,
        })
    }
}

/// Which descriptors `message` has.
fn fds_of(message: &ToBrain) -> Fds {
    match message {
        ToBrain::Held { fds, .. } | ToBrain::Spawned { fds, .. } => *fds,
        _ => Fds::default(),
    }
}

/// Writes what is queued, many messages at once, until every sender or the launcher is gone.
async fn write(
    socket: Arc<UnixStream>,
    mut queued: mpsc::UnboundedReceiver<ToLauncher>,
    refuse: mpsc::UnboundedSender<ToBrain>,
) -> io::Result<()> {
    let mut batch = Vec::new();
    let mut bytes = Vec::new();
    while queued.recv_many(&mut batch, BATCH).await > 0 {
        for message in batch.drain(..) {
            if let Err(fault) = codec::encode(&message, &mut bytes) {
                refuse_long(message, &fault, &refuse);
            }
        }
        let mut sent = 0;
        while sent < bytes.len() {
            socket.writable().await?;
            match socket.try_io(Interest::WRITABLE, || codec::send(socket.as_fd(), &bytes[sent..], &[])) {
                Ok(written) => sent += written,
                Err(fault) if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(fault) => return Err(fault),
            }
        }
        bytes.clear();
        bytes.shrink_to(KEEP);
    }
    Ok(())
}

/// Answers for the launcher: execve would refuse what does not fit into a frame.
fn refuse_long(message: ToLauncher, fault: &Fault, refuse: &mpsc::UnboundedSender<ToBrain>) {
    match message {
        ToLauncher::Spawn(spawn) => {
            let errno = Errno::TOOBIG.raw_os_error();
            let _gone = refuse.send(ToBrain::SpawnFailed { unit: spawn.unit, run: spawn.run, step: SpawnStep::Exec, errno });
        }
        message => tracing::error!("cannot tell the launcher {:?}: {fault}", std::mem::discriminant(&message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::wire::{FRAME_MAX, HeldState, Output, Spawn};

    #[tokio::test]
    async fn messages_and_descriptors_arrive_in_order() {
        let (here, there) = StdUnixStream::pair().unwrap();
        let (_sender, mut receiver) = Link::from_fd(here.into()).unwrap();
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let mut bytes = Vec::new();
        codec::encode(&ToBrain::HeldEnd, &mut bytes).unwrap();
        codec::send(there.as_fd(), &bytes, &[]).unwrap();
        let fds = Fds { output: true, ..Fds::default() };
        let held = ToBrain::Held {
            unit: "a".into(),
            run: 1,
            state: HeldState::Idle,
            earlier: vec![],
            has_successor: false,
            cgroup: None,
            note: vec![],
            fds,
        };
        bytes.clear();
        codec::encode(&held, &mut bytes).unwrap();
        codec::send(there.as_fd(), &bytes, &[read.as_fd()]).unwrap();
        drop(there);
        assert_eq!(receiver.recv().await.unwrap().unwrap().0, ToBrain::HeldEnd);
        let (message, fds) = receiver.recv().await.unwrap().unwrap();
        assert_eq!(message, held);
        assert!(fds.output.is_some() && fds.pidfd.is_none());
        assert!(receiver.recv().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_start_that_fits_no_frame_fails_like_execve() {
        let (here, _there) = StdUnixStream::pair().unwrap();
        let (sender, mut receiver) = Link::from_fd(here.into()).unwrap();
        let spawn = Spawn {
            unit: "a".into(),
            run: 9,
            program: "a".into(),
            arguments: vec!["x".repeat(FRAME_MAX)],
            environment: vec![],
            directory: "/".into(),
            credentials: None,
            umask: 0o22,
            nice: 0,
            scheduling: crate::base::scheduling::Scheduling::default(),
            group: vec![],
            limits: vec![],
            input: None,
            output: Output::Null,
            stderr: None,
            notify: None,
            ready_fd: None,
            confinement: None,
            secrets: vec![],
        };
        sender.send(ToLauncher::Spawn(Box::new(spawn)));
        let failed = ToBrain::SpawnFailed { unit: "a".into(), run: 9, step: SpawnStep::Exec, errno: libc::E2BIG };
        assert_eq!(receiver.recv().await.unwrap().unwrap().0, failed);
    }
}

//! The keeper: a process that only holds descriptors, so that they outlive the launcher: of each unit its process, its output pipe, its notification
//! socket. How a unit ended while there was no launcher, what it wrote, what it told: the next launcher finds it.
//!
//! ```text
//! packet   operation, which descriptors, 0, 0, place (u32), run (u64)   and the descriptors themselves
//! ```
//!
//! It knows nothing of units and hears one launcher at a time. It ends when it is told to, and when its socket's name is gone.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with,
    recvmsg, sendmsg, sockopt,
};

use super::options::inherited;
use super::wire::Fds;
use crate::os::memory;
use crate::os::signal::SignalFd;

/// Where the keeper finds its socket.
pub(super) const SOCKET_AT: i32 = 3;

/// How often it looks whether anybody can still come.
const LOOK: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The most descriptors of a unit.
const FDS_MAX: usize = 4;

const PACKET: usize = 16;

/// What launcher and keeper say to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Hold these for this place, and nothing else. In answer to `Return`: this is held.
    Keep = 1,
    /// Hold nothing for this place.
    Forget = 2,
    /// Give everything back; it is held all the same. The answer ends with `End`.
    Return = 3,
    /// That was all. The place is the keeper's process id.
    End = 4,
    /// Go.
    Quit = 5,
}

/// A packet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) operation: Operation,
    pub(super) place: u32,
    pub(super) run: u64,
    /// In the order of [`Fds`].
    pub(super) fds: [Option<OwnedFd>; FDS_MAX],
}

/// Holds what it is given until it is told to go. `arguments`: the path of its socket.
pub fn keep(path: &Path) -> ExitCode {
    // Who ends a service by a signal to all of it means the launcher.
    let _blocked = SignalFd::new(&[], &[]);
    let served = inherited(SOCKET_AT).map_err(io::Error::other).and_then(|listener| serve(&listener, path));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            super::complain(format_args!("cannot keep descriptors: {fault}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(listener: &OwnedFd, path: &Path) -> io::Result<()> {
    let own = std::fs::symlink_metadata(path)?.ino();
    let mut kept = BTreeMap::new();
    loop {
        if !readable(listener)? {
            if std::fs::symlink_metadata(path).map_or(0, |socket| socket.ino()) != own {
                return Ok(());
            }
            continue;
        }
        let launcher = match accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(launcher) => launcher,
            Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let is_ours = sockopt::socket_peercred(&launcher).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if is_ours && hear(&launcher, &mut kept) {
            return Ok(());
        }
    }
}

/// Serves a launcher until it is gone; whether it said to go.
fn hear(launcher: &OwnedFd, kept: &mut BTreeMap<u32, Packet>) -> bool {
    let mut has_begun = true;
    loop {
        match readable(launcher) {
            Ok(true) => {}
            Ok(false) => {
                if std::mem::take(&mut has_begun) {
                    // Most of the program was needed to begin only.
                    let _stays = memory::forget_code();
                }
                continue;
            }
            Err(_) => return false,
        }
        let Ok(Some(packet)) = receive(launcher) else { return false };
        match packet.operation {
            Operation::Keep => drop(kept.insert(packet.place, packet)),
            Operation::Forget => drop(kept.remove(&packet.place)),
            Operation::Return => {
                let all = kept.values().map(|held| (Operation::Keep, held.place, held.run, held.fds.each_ref()));
                let end = (Operation::End, std::process::id(), 0, [const { &None }; FDS_MAX]);
                for (operation, place, run, fds) in all.chain([end]) {
                    if send(launcher, operation, place, run, &fds.map(|fd| fd.as_ref().map(AsFd::as_fd)), SendFlags::empty()).is_err() {
                        return false;
                    }
                }
            }
            Operation::Quit => return true,
            Operation::End => {}
        }
    }
}

/// Waits until there is something to read; false: not for a while.
fn readable(fd: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    match poll(&mut fds, Some(&LOOK)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Sends a packet.
pub(super) fn send(
    to: &OwnedFd,
    operation: Operation,
    place: u32,
    run: u64,
    fds: &[Option<BorrowedFd<'_>>; FDS_MAX],
    flags: SendFlags,
) -> Result<(), Errno> {
    let mut packet = [0; PACKET];
    packet[0] = operation as u8;
    packet[1] = fds.iter().enumerate().filter(|(_, fd)| fd.is_some()).fold(0, |mask, (at, _)| mask | 1 << at);
    packet[4..8].copy_from_slice(&place.to_le_bytes());
    packet[8..].copy_from_slice(&run.to_le_bytes());
    let there: Vec<BorrowedFd<'_>> = fds.iter().flatten().copied().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !there.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&there));
    }
    rustix::io::retry_on_intr(|| sendmsg(to, &[IoSlice::new(&packet)], &mut control, flags | SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives a packet; `None` at the end, and for what is none.
pub(super) fn receive(from: &OwnedFd) -> io::Result<Option<Packet>> {
    let mut packet = [0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| recvmsg(from, &mut [IoSliceMut::new(&mut packet)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    let mut came = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            came.extend(fds);
        }
    }
    let [operation, mask, _, _, a, b, c, d, run @ ..] = packet;
    let operation = match operation {
        1 => Operation::Keep,
        2 => Operation::Forget,
        3 => Operation::Return,
        4 => Operation::End,
        5 => Operation::Quit,
        _ => return Ok(None),
    };
    if received.bytes != PACKET || came.len() != mask.count_ones() as usize {
        return Ok(None);
    }
    let mut came = came.into_iter();
    let fds = std::array::from_fn(|at| (mask & 1 << at != 0).then(|| came.next()).flatten());
    Ok(Some(Packet { operation, place: u32::from_le_bytes([a, b, c, d]), run: u64::from_le_bytes(run), fds }))
}

/// The descriptors of a unit in the order of a packet.
pub(super) fn in_order<'a>(fds: Fds, there: &[BorrowedFd<'a>]) -> [Option<BorrowedFd<'a>>; FDS_MAX] {
    let mut there = there.iter().copied();
    [fds.pidfd, fds.notify, fds.ready, fds.output].map(|is_there| is_there.then(|| there.next()).flatten())
}

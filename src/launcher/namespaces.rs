//! The namespaces of a unit, for programs that are run beside its main process: probes.
//!
//! They are known by descriptors of what was made for the unit, sent by the process that made it before it ran anything of the unit's. Where the main
//! process is by then does not count: a unit may leave for a namespace it has made itself, where every path is what it wants it to be.
#![expect(unsafe_code, reason = "namespaces are entered by raw system calls, and asked for their owner by ioctl(2)")]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::{c_int, c_long};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::child::{call, step};
use super::exec::Failure;
use super::wire::SpawnStep;

/// Asks for the user namespace that owns a namespace (`_IO(0xb7, 1)`, ioctl_ns(2)).
const NS_GET_USERNS: libc::Ioctl = 0xb701;

/// What can be entered.
#[derive(Default)]
pub(super) struct Namespaces {
    pub(super) mount: Option<OwnedFd>,
    pub(super) network: Option<OwnedFd>,
}

/// Which namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Mount = 1,
    Network = 2,
}

impl Kind {
    const fn own(self) -> &'static CStr {
        match self {
            Self::Mount => c"/proc/self/ns/mnt",
            Self::Network => c"/proc/self/ns/net",
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
        }
    }
}

impl Namespaces {
    /// Those a process is in now, for one whose own are not known: a launcher before this one had their descriptors. As far as they are `wanted`.
    pub(super) fn of_process(pid: u32, wanted: &[Kind]) -> io::Result<Self> {
        let mut found = Self::default();
        for kind in wanted {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            found.set(*kind, rustix::fs::openat(CWD, format!("/proc/{pid}/ns/{}", kind.file()), flags, Mode::empty())?);
        }
        Ok(found)
    }

    /// Whether each of these is known.
    pub(super) fn have(&self, wanted: &[Kind]) -> bool {
        wanted.iter().all(|kind| match kind {
            Kind::Mount => self.mount.is_some(),
            Kind::Network => self.network.is_some(),
        })
    }

    fn set(&mut self, kind: Kind, fd: OwnedFd) {
        match kind {
            Kind::Mount => self.mount = Some(fd),
            Kind::Network => self.network = Some(fd),
        }
    }

    /// Receives what a process has sent by [`tell`]; false once that has come to its end.
    pub(super) fn hear(&mut self, told: &OwnedFd) -> bool {
        loop {
            let mut kind = [0];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            match recvmsg(told, &mut [io::IoSliceMut::new(&mut kind)], &mut control, flags) {
                Ok(received) if received.bytes > 0 => {}
                Ok(_) => return false,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return errno == rustix::io::Errno::AGAIN,
            }
            for message in control.drain() {
                let RecvAncillaryMessage::ScmRights(fds) = message else { continue };
                for fd in fds {
                    self.set(if kind[0] == Kind::Mount as u8 { Kind::Mount } else { Kind::Network }, fd);
                }
            }
        }
    }

    /// Whether each of them belongs to the launcher's own user namespace. Who makes another one is root in it, and in what belongs to it.
    pub(super) fn are_ours(&self) -> bool {
        let Ok(own) = rustix::fs::stat("/proc/self/ns/user") else { return false };
        [&self.mount, &self.network].into_iter().flatten().all(|namespace| {
            // SAFETY: the request takes no argument and answers with a descriptor that nobody else knows.
            let owner = unsafe {
                let owner = libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS);
                (owner >= 0).then(|| OwnedFd::from_raw_fd(owner))
            };
            let stat = owner.and_then(|owner| rustix::fs::fstat(owner).ok());
            stat.is_some_and(|stat| (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino))
        })
    }

    /// Enters them: what the process does itself.
    pub(super) fn enter(&self) -> Result<(), Failure> {
        let enter = |namespace: &Option<OwnedFd>, flag: c_int| match namespace {
            Some(fd) => step(SpawnStep::Join, call(libc::SYS_setns, [fd.as_raw_fd().into(), flag.into(), 0, 0])),
            None => Ok(()),
        };
        enter(&self.network, libc::CLONE_NEWNET)?;
        enter(&self.mount, libc::CLONE_NEWNS)
    }
}

/// A control message with one descriptor, as the kernel reads it (cmsg(3)).
#[repr(C, align(8))]
struct Rights {
    header: libc::cmsghdr,
    fd: c_int,
}

/// Sends a descriptor of the namespace the process has just entered, which it has made. A launcher that does not get it asks /proc.
pub(super) fn tell(tells: c_int, kind: Kind) {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD.into(), kind.own().as_ptr() as c_long, flags.into(), 0]);
    if fd < 0 {
        return;
    }
    let mut byte = kind as u8;
    let mut piece = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: two structures of numbers and pointers, for which zeroes are values.
    let (mut message, mut header): (libc::msghdr, libc::cmsghdr) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<c_int>()) as _;
    (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    let mut rights = Rights { header, fd: fd as c_int };
    (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1 as _);
    (message.msg_control, message.msg_controllen) = ((&raw mut rights).cast(), size_of::<Rights>() as _);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    call(libc::SYS_sendmsg, [tells.into(), (&raw const message) as c_long, flags.into(), 0]);
    call(libc::SYS_close, [fd, 0, 0, 0]);
}

//! Datagram sockets for `sd_notify(3)`: the one systemd listens on, and those for units.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendmsg_addr,
};

/// The address in `$NOTIFY_SOCKET`: a path, or a name in the abstract name space after an `@`.
///
/// # Errors
/// When it is too long for an address.
pub fn address(name: &Path) -> io::Result<SocketAddrUnix> {
    match name.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => Ok(SocketAddrUnix::new_abstract_name(name)?),
        None => Ok(SocketAddrUnix::new(name)?),
    }
}

/// A socket to send notifications from.
///
/// # Errors
/// As socket(2).
pub fn sender() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

/// The most descriptors that go with one notification.
pub const FDS_MAX: usize = 4;

/// Sends `state`, and `fds` with it, to who listens at `address`; never waits.
///
/// # Errors
/// As sendmsg(2); `INVAL` for more than [`FDS_MAX`] descriptors.
pub fn send(socket: &OwnedFd, address: &SocketAddrUnix, state: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::INVAL);
    }
    sendmsg_addr(socket, address, &[IoSlice::new(state.as_bytes())], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Binds a notification socket at `path` that `owner` may write to, and whose messages say who sent them.
///
/// # Errors
/// As socket(2), bind(2), chmod(2), chown(2). Nothing is left at `path` then.
pub fn bind(path: &Path, owner: Option<(u32, u32)>) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = sender()?;
    rustix::net::sockopt::set_socket_passcred(&socket, true)?;
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(fault) => return Err(fault.into()),
    }
    rustix::net::bind(&socket, &address)?;
    let hand_over = || {
        rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR)?;
        match owner {
            Some((uid, gid)) => {
                rustix::fs::chownat(CWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
            }
            None => Ok(()),
        }
    };
    if let Err(fault) = hand_over() {
        let _already_gone = rustix::fs::unlink(path);
        return Err(fault.into());
    }
    Ok(socket)
}

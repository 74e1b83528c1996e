//! Datagram sockets for `sd_notify(3)`: the one systemd listens on, and those for units.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

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

/// Sends `state` to who listens at `address`; never waits.
///
/// # Errors
/// As sendto(2).
pub fn send(socket: &OwnedFd, address: &SocketAddrUnix, state: &str) -> io::Result<()> {
    rustix::net::sendto(socket, state.as_bytes(), SendFlags::NOSIGNAL, address)?;
    Ok(())
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
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
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

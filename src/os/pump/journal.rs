//! Lines to systemd's journal, in its native protocol: one datagram each (`systemd.journal-fields(7)`, "Native Journal Protocol").

use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendmsg_addr, socket_with,
};

use crate::base::id::UnitId;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// The priority of a line that says nothing of it: informational.
const INFO: u8 = b'6';

/// The facility of daemons.
const DAEMON: u8 = 3;

/// A way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

/// Whose lines they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) unit: UnitId,
    pub(super) run: u64,
}

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { socket, address: SocketAddrUnix::new(path)? })
    }

    /// Hands over one line without its newline. `AGAIN`: the journal takes no more for now.
    pub(super) fn send(&self, origin: &Origin, line: &[u8]) -> Result<(), Errno> {
        let datagram = datagram(origin, line);
        match rustix::net::sendto(&self.socket, &datagram, SendFlags::NOSIGNAL, &self.address) {
            Ok(_) => Ok(()),
            // Larger than a datagram may be: the journal takes a sealed file in its place.
            Err(Errno::MSGSIZE | Errno::NOBUFS) => self.send_file(&datagram),
            Err(errno) => Err(errno),
        }
    }

    fn send_file(&self, datagram: &[u8]) -> Result<(), Errno> {
        use rustix::fs::{MemfdFlags, SealFlags};
        let memory = rustix::fs::memfd_create(c"ms-supervisor-line", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = std::fs::File::from(memory);
        file.write_all(datagram).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg_addr(&self.socket, &self.address, &[], &mut control, SendFlags::NOSIGNAL).map(drop)
    }
}

/// One entry. A prefix such as `<3>` is the line's priority (`sd-daemon(3)`) and no part of the message.
fn datagram(origin: &Origin, line: &[u8]) -> Vec<u8> {
    let (priority, message) = match line {
        [b'<', digit @ b'0'..=b'7', b'>', message @ ..] => (*digit, message),
        _ => (INFO, line),
    };
    let Origin { unit, run } = origin;
    let mut fields = format!(
        "PRIORITY={}\nSYSLOG_FACILITY={DAEMON}\nSYSLOG_IDENTIFIER={unit}\nMS_UNIT={unit}\nMS_RUN={run}\nMS_INVOCATION_ID={unit}:{run}\n",
        char::from(priority)
    )
    .into_bytes();
    // With its length, because it may hold anything.
    fields.extend(b"MESSAGE\n");
    fields.extend((message.len() as u64).to_le_bytes());
    fields.extend(message);
    fields.push(b'\n');
    fields
}

/// Where the journal listens on this machine.
pub(super) fn socket_path() -> PathBuf {
    SOCKET.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_fields() {
        let origin = Origin { unit: "web@2".into(), run: 7 };
        let entry = datagram(&origin, b"<3>it \xff failed");
        let text = String::from_utf8_lossy(&entry);
        assert!(text.starts_with(
            "PRIORITY=3\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=web@2\nMS_UNIT=web@2\nMS_RUN=7\nMS_INVOCATION_ID=web@2:7\nMESSAGE\n"
        ));
        assert!(entry.ends_with(b"\x0b\0\0\0\0\0\0\0it \xff failed\n"), "{text}");
        assert!(datagram(&origin, b"<9>odd").starts_with(b"PRIORITY=6\n"));
    }
}

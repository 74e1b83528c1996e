//! Entries of systemd's journal, in its native protocol: one datagram each (`systemd.journal-fields(7)`, "Native Journal Protocol").

use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendmsg_addr, socket_with,
};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: OwnedFd,
    address: SocketAddrUnix,
}

impl Journal {
    /// A way to the journal that listens at `path`.
    ///
    /// # Errors
    /// As socket(2), or `path` is too long for an address.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        Ok(Self { socket, address: SocketAddrUnix::new(path)? })
    }

    /// Hands over one entry; never waits.
    ///
    /// # Errors
    /// As sendto(2); `AGAIN`: the journal takes no more for now.
    pub fn send(&self, entry: &Entry) -> Result<(), Errno> {
        match rustix::net::sendto(&self.socket, &entry.0, SendFlags::NOSIGNAL, &self.address) {
            Ok(_) => Ok(()),
            // Larger than a datagram may be: the journal takes a sealed file in its place.
            Err(Errno::MSGSIZE | Errno::NOBUFS) => self.send_file(&entry.0),
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

/// An entry of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry(Vec<u8>);

impl Entry {
    /// Adds a field. Names have capital letters, digits and underscores, and begin with a letter.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if value.contains(&b'\n') {
            return self.with_any(name, value);
        }
        self.0.extend(name.as_bytes());
        self.0.push(b'=');
        self.0.extend(value);
        self.0.push(b'\n');
        self
    }

    /// Adds what is said.
    #[must_use]
    pub fn message(self, message: &[u8]) -> Self {
        self.with_any("MESSAGE", message)
    }

    /// With its length, because the value may hold anything.
    fn with_any(mut self, name: &str, value: &[u8]) -> Self {
        self.0.extend(name.as_bytes());
        self.0.push(b'\n');
        self.0.extend((value.len() as u64).to_le_bytes());
        self.0.extend(value);
        self.0.push(b'\n');
        self
    }
}

/// Where the journal listens on this machine.
#[must_use]
pub fn socket_path() -> PathBuf {
    SOCKET.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_fields() {
        let entry = Entry::default().with("PRIORITY", "3").message(b"it \xff").with("X", "a\nb");
        assert_eq!(entry.0, b"PRIORITY=3\nMESSAGE\n\x04\0\0\0\0\0\0\0it \xff\nX\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}

//! Which Unix sockets are connected to each other: the kernel tells it by netlink (sock_diag(7)), not in /proc.

use std::collections::BTreeMap;
use std::io;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

/// What of netlink(7) and linux/unix_diag.h is needed.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const AF_UNIX: u8 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UNIX_DIAG_PEER: u16 = 2;

/// In front of each message: length, type, flags, number, sender.
const HEADER: usize = 16;

/// What is told of each socket before its attributes: family, type, state, inode, a cookie.
const FIXED: usize = 16;

/// The kernel sends at most so much at once, in bytes.
const AT_ONCE: usize = 64 << 10;

/// For each socket that is connected the inode of the other end. Blocks for a moment.
///
/// # Errors
/// The kernel does not tell, as without its module `unix_diag`.
pub(super) fn peers() -> io::Result<BTreeMap<u64, u64>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    sendto(&socket, &request(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut peers = BTreeMap::new();
    let mut buffer = vec![0; AT_ONCE];
    loop {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if is_last(buffer.get(..length).unwrap_or_default(), &mut peers)? {
            return Ok(peers);
        }
    }
}

fn request() -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + 24);
    // The header, its length first; then `struct unix_diag_req`: family, protocol, states (all), inode, what to show, cookie.
    request.extend_from_slice(&40_u32.to_ne_bytes());
    request.extend_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[AF_UNIX, 0, 0, 0]);
    request.extend_from_slice(&u32::MAX.to_ne_bytes());
    request.extend_from_slice(&0_u32.to_ne_bytes());
    request.extend_from_slice(&UDIAG_SHOW_PEER.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request
}

/// Takes in the messages of one datagram; whether the last one is among them.
fn is_last(mut datagram: &[u8], peers: &mut BTreeMap<u64, u64>) -> io::Result<bool> {
    while let Some((length, kind)) = u32_at(datagram, 0).zip(u16_at(datagram, 4)) {
        let length = length as usize;
        let Some(body) = datagram.get(HEADER..length) else { break };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => {
                let code = u32_at(body, 0).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => peers.extend(peer(body)),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// A socket and the one it is connected to.
fn peer(body: &[u8]) -> Option<(u64, u64)> {
    let inode = u32_at(body, 4)?;
    let mut attributes = body.get(FIXED..)?;
    while let Some((length, kind)) = u16_at(attributes, 0).zip(u16_at(attributes, 2)) {
        if kind == UNIX_DIAG_PEER {
            return Some((inode.into(), u32_at(attributes, 4)?.into()));
        }
        // One that is shorter than its own head would never end.
        attributes = attributes.get(usize::from(length).max(4).next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
}

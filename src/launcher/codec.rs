//! Frames on a stream, and the descriptors that travel with them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
    sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::FRAME_MAX;

/// The most descriptors one frame has.
pub(super) const FDS_MAX: usize = 4;

/// How much is read at once, and how much an idle buffer may keep.
pub(super) const CHUNK: usize = 16 << 10;

/// The length in front of a frame, in bytes.
const PREFIX: usize = size_of::<u32>();

/// Why a stream of frames cannot be understood any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// A frame longer than [`FRAME_MAX`].
    #[error("a frame of {0} bytes is longer than {FRAME_MAX}")]
    TooLong(usize),
    /// Bytes that are no message of this version.
    #[error("a frame that is no message: {0}")]
    Garbled(#[from] postcard::Error),
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Appends `message` to `out` as one frame. On an error `out` is as before.
///
/// # Errors
/// When the message is too long for a frame.
pub(super) fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), Fault> {
    let start = out.len();
    let mut buffer = mem::take(out);
    buffer.extend_from_slice(&[0; PREFIX]);
    *out = postcard::to_extend(message, buffer)?;
    let length = out.len() - start - PREFIX;
    match u32::try_from(length) {
        Ok(prefix) if length <= FRAME_MAX => {
            out[start..start + PREFIX].copy_from_slice(&prefix.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(Fault::TooLong(length))
        }
    }
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// What is before this has been handed out.
    start: usize,
}

impl Decoder {
    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The stream cannot be understood from here on.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Fault> {
        let Some((prefix, rest)) = self.bytes[self.start..].split_first_chunk::<PREFIX>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > FRAME_MAX {
            return Err(Fault::TooLong(length));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let message = postcard::from_bytes(frame)?;
        self.start += PREFIX + length;
        Ok(Some(message))
    }

    /// The buffer, with at least [`CHUNK`] bytes of room for more of the stream.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.shrink_to(2 * CHUNK);
        self.bytes.reserve(CHUNK);
        &mut self.bytes
    }

    /// Whether a frame has begun and not ended.
    pub(super) fn is_midframe(&self) -> bool {
        self.start < self.bytes.len()
    }
}

/// Sends `bytes` and `fds`; returns how many of the bytes went. The descriptors went if any byte did.
///
/// # Errors
/// As sendmsg(2); `WouldBlock` when the socket is full.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
}

/// Receives bytes into `decoder` and descriptors into `fds`; returns how many bytes came, 0 at the end of the stream.
///
/// # Errors
/// As recvmsg(2); `WouldBlock` when there is nothing; an error when descriptors were lost on the way.
pub(super) fn receive(socket: BorrowedFd<'_>, decoder: &mut Decoder, fds: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffer = decoder.room();
    let filled = buffer.len();
    buffer.resize(filled + CHUNK, 0);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut buffer[filled..])], &mut control, RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT);
    buffer.truncate(filled + received.as_ref().map_or(0, |message| message.bytes));
    let received = received?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost: too many open files?"));
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::wire::ToLauncher;

    fn note(unit: &str, length: usize) -> ToLauncher {
        ToLauncher::Note { unit: unit.into(), note: vec![7; length] }
    }

    #[test]
    fn frames_survive_any_cut() {
        let sent = [note("a", 0), ToLauncher::Alive, note("b", 300), ToLauncher::Exit { code: 3 }];
        let mut stream = Vec::new();
        for message in &sent {
            encode(message, &mut stream).unwrap();
        }
        for step in 1..stream.len() {
            let mut decoder = Decoder::default();
            let mut heard: Vec<ToLauncher> = Vec::new();
            for part in stream.chunks(step) {
                decoder.room().extend_from_slice(part);
                while let Some(message) = decoder.next().unwrap() {
                    heard.push(message);
                }
            }
            assert_eq!(heard, sent, "in parts of {step}");
            assert!(!decoder.is_midframe());
        }
    }

    #[test]
    fn long_frames_are_refused_on_both_sides() {
        let mut stream = b"kept".to_vec();
        assert!(matches!(encode(&note("a", FRAME_MAX), &mut stream), Err(Fault::TooLong(_))));
        assert_eq!(stream, b"kept");
        let mut decoder = Decoder::default();
        decoder.room().extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.next::<ToLauncher>(), Err(Fault::TooLong(_))));
    }

    #[test]
    fn buffers_shrink_again() {
        let mut decoder = Decoder::default();
        encode(&note("a", 1 << 20), decoder.room()).unwrap();
        assert!(matches!(decoder.next(), Ok(Some(ToLauncher::Note { .. }))));
        assert!(decoder.room().capacity() <= 3 * CHUNK);
    }
}

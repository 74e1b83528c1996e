//! Looking at what is in a pipe without taking it out, so that nothing is lost when the process is killed in between.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, tee};

/// How much is looked at, or read, at once.
pub(super) const PEEK: usize = 64 * 1024;

/// The size of the second pipe, which holds a copy of what is looked at. Larger than [`PEEK`], because a pipe counts pages and small
/// pieces take one each.
const SCRATCH: usize = 1 << 20;

/// What all sinks use in turn.
pub(super) struct Kit {
    scratch: (OwnedFd, OwnedFd),
    buffer: Vec<u8>,
}

impl Kit {
    pub(super) fn new() -> io::Result<Self> {
        let scratch = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Without it less is seen at once.
        let _size = fcntl_setpipe_size(&scratch.1, SCRATCH);
        Ok(Self { scratch, buffer: vec![0; PEEK] })
    }

    /// What is in the pipe, up to [`PEEK`] bytes; nothing when it has no writer any more.
    pub(super) fn peek(&mut self, pipe: &OwnedFd) -> Result<&[u8], Errno> {
        let mut length = tee(pipe, &self.scratch.1, PEEK, SpliceFlags::NONBLOCK)?;
        let mut filled = 0;
        while length > 0 {
            let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.scratch.0, &mut self.buffer[filled..]))?;
            filled += read;
            length = length.saturating_sub(read);
        }
        Ok(&self.buffer[..filled])
    }

    /// Takes `count` bytes out of the pipe that were looked at before; how many were.
    pub(super) fn consume(&mut self, pipe: &OwnedFd, count: usize) -> usize {
        let mut done = 0;
        while done < count {
            match self.read(pipe, count - done) {
                Ok([]) => break,
                Ok(bytes) => done += bytes.len(),
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        done
    }

    /// Takes up to `max` bytes out of the pipe.
    pub(super) fn read(&mut self, pipe: &OwnedFd, max: usize) -> Result<&[u8], Errno> {
        let room = self.buffer.len().min(max);
        let length = rustix::io::read(pipe, &mut self.buffer[..room])?;
        Ok(&self.buffer[..length])
    }
}

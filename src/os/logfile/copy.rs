//! Copying the head of a live file into an archive.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, copy_file_range, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

/// How much is copied at once, in bytes.
const PIECE: usize = 1 << 20;

/// What addresses and lengths of direct writes are multiples of, on every disk there is.
const ALIGNMENT: usize = 4096;

/// Copies the first `len` bytes. Past the page cache where that can be: the archive has to be on the disk anyway before the head may go, and is
/// seldom read soon, so pages for it would be made only to be thrown away.
///
/// # Errors
/// As read(2) and write(2).
pub(super) fn copy_head(from: &File, to: &File, len: u64) -> io::Result<()> {
    if len.is_multiple_of(ALIGNMENT as u64)
        && let Some(done) = directly(from, to, len)
    {
        return done;
    }
    let (mut read, mut written) = (0, 0);
    while written < len {
        let rest = usize::try_from(len - written).unwrap_or(usize::MAX);
        match copy_file_range(from.as_fd(), Some(&mut read), to.as_fd(), Some(&mut written), rest) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter meanwhile")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// `None`: it cannot be done so here.
fn directly(from: &File, to: &File, len: u64) -> Option<io::Result<()>> {
    let flags = fcntl_getfl(to).ok()?;
    fcntl_setfl(to, flags | OFlags::DIRECT).ok()?;
    let mut room = vec![0; PIECE + ALIGNMENT];
    let offset = room.as_ptr().align_offset(ALIGNMENT);
    let copied = room.get_mut(offset..offset + PIECE).map_or(Ok(()), |piece| copy_by(piece, from, to, len));
    let _stays = fcntl_setfl(to, flags);
    match copied {
        // A file system that takes the flag and not the write.
        Err(fault) if fault.raw_os_error() == Some(libc::EINVAL) => None,
        copied => Some(copied),
    }
}

fn copy_by(piece: &mut [u8], from: &File, to: &File, len: u64) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let length = usize::try_from(len - at).map_or(piece.len(), |rest| rest.min(piece.len()));
        let piece = &mut piece[..length];
        from.read_exact_at(piece, at)?;
        to.write_all_at(piece, at)?;
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_copied_whatever_their_length() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..3 * PIECE + 5 * ALIGNMENT + 7).map(|at| (at % 251) as u8).collect();
        let path = dir.path().join("from");
        std::fs::write(&path, &bytes).unwrap();
        let from = File::open(&path).unwrap();
        for length in [ALIGNMENT, PIECE, 2 * PIECE + ALIGNMENT, bytes.len()] {
            let to = File::options().read(true).write(true).create(true).truncate(true).open(dir.path().join("to")).unwrap();
            copy_head(&from, &to, length as u64).unwrap();
            assert_eq!(std::fs::read(dir.path().join("to")).unwrap(), bytes[..length], "{length}");
            assert!(!fcntl_getfl(&to).unwrap().contains(OFlags::DIRECT));
        }
        let to = File::create(dir.path().join("to")).unwrap();
        assert!(
            copy_head(&from, &to, (bytes.len() + ALIGNMENT) as u64 / ALIGNMENT as u64 * ALIGNMENT as u64).is_err(),
            "it is not that long"
        );
    }
}

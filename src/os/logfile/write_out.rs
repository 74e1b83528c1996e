//! Writing a part of a file out to the disk.
#![expect(unsafe_code, reason = "sync_file_range(2) has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Writes out what of `file` begins at `start`, up to `length` bytes or to its end, and waits until the disk has it. Where in the file the bytes
/// belong is durable only with what the file system writes down next, such as a directory that is synced. That costs nothing for the rest of
/// the file, however much of it waits to be written.
///
/// # Errors
/// As sync_file_range(2).
pub(super) fn write_out(file: &File, start: u64, length: Option<u64>) -> io::Result<()> {
    let offset = |at: u64| i64::try_from(at).map_err(|_| io::ErrorKind::InvalidInput);
    // 0: to its end.
    let (start, length) = (offset(start)?, offset(length.unwrap_or(0))?);
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: only numbers are passed; the descriptor is open.
    if unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, flags) } == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // An emulation, or a sandbox.
        fault if fault.raw_os_error() == Some(libc::ENOSYS) => file.sync_data(),
        fault => Err(fault),
    }
}

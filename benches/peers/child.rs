//! The child of every supervisor in the benchmark: notes its start on the page, then sleeps or writes a log.
//!
//! `child NUMBER PAGE [write SECONDS|flood]`. The number may have a `u` in front; without one it is that of the working directory (`u17`),
//! and without a page that is the file `page` there. Compiled by the benchmark itself, as a static program without Rust's own start-up code, so that it costs as
//! little as a C program and what is measured is the supervisor.
#![no_main]

use std::ffi::{CStr, OsStr, c_char, c_int, c_long};
use std::fs::{File, OpenOptions};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn pause() -> c_int;
    fn write(fd: c_int, bytes: *const u8, length: usize) -> isize;
}

const CLOCK_MONOTONIC: c_int = 1;

fn now() -> u64 {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    unsafe { clock_gettime(CLOCK_MONOTONIC, &raw mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    let started = now();
    let word = |at: usize| (at < count as usize).then(|| unsafe { CStr::from_ptr(*words.add(at)) });
    let text = |at: usize| word(at).and_then(|word| word.to_str().ok());
    let here = || std::env::current_dir().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let number = text(1).map_or_else(here, str::to_owned);
    let number: u64 = number.trim_start_matches('u').parse().unwrap();
    let page = word(2).map_or(OsStr::new("page"), |word| OsStr::from_bytes(word.to_bytes()));
    let page = OpenOptions::new().write(true).open(page).unwrap();
    note(&page, number, u64::from(std::process::id()), started);
    if text(3) == Some("write") {
        let seconds: u64 = text(4).unwrap().parse().unwrap();
        note(&page, number + 1, write_lines(started + seconds * 1_000_000_000), now());
    }
    while text(3) == Some("flood") {
        // A megabyte a second.
        let chunk = [b'x'; 4096];
        unsafe { write(1, chunk.as_ptr(), chunk.len()) };
        std::thread::sleep(std::time::Duration::from_millis(4));
    }
    // The descriptor is left open: nothing is to happen any more.
    let _ = page.into_raw_fd();
    loop {
        unsafe { pause() };
    }
}

/// Writes lines of 64 bytes, each by itself, until `end`; how many.
fn write_lines(end: u64) -> u64 {
    let line = b"2026-01-01T00:00:00Z INFO a line as long as many a line in logs\n";
    let mut lines = 0;
    while now() < end {
        for _ in 0..64 {
            if unsafe { write(1, line.as_ptr(), line.len()) } == line.len() as isize {
                lines += 1;
            }
        }
    }
    lines
}

/// A record of the page: a value, then the time it was written, in this order.
fn note(page: &File, number: u64, value: u64, time: u64) {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&value.to_le_bytes());
    record[8..].copy_from_slice(&time.to_le_bytes());
    page.write_at(&record, number * 16).unwrap();
}

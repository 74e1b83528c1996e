//! The unit in the survival table: keeps a record of its own, which no supervisor knows of.
//!
//! `unit NUMBER RECORDS log|silent|escape`; SIGUSR1 makes it exit with 41. The record is the file `NUMBER-PID` in the directory
//! RECORDS: process id, start time, whether another run of the same unit was alive, lines begun, lines written, lines refused.
//! What escapes is a grandchild without parent, session, environment and descriptors; its record is `escaped-PID`.
//! Compiled by the benchmark itself, as a static program.
#![no_main]

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::fs::File;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

unsafe extern "C" {
    fn pause() -> c_int;
    fn fork() -> c_int;
    fn setsid() -> c_int;
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int;
    fn execve(program: *const c_char, words: *const *const c_char, environment: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn _exit(code: c_int) -> !;
    fn write(fd: c_int, bytes: *const u8, length: usize) -> isize;
}

const SIGUSR1: c_int = 10;

/// 200 lines a second.
const INTERVAL: Duration = Duration::from_millis(5);

/// With its end.
const LINE: usize = 48;

#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    let word = |at: usize| {
        assert!(at < count as usize, "unit NUMBER RECORDS log|silent|escape");
        unsafe { CStr::from_ptr(*words.add(at)) }.to_str().unwrap()
    };
    let (number, records) = (word(1), word(2));
    // Before the record, by which others know that it can be asked to exit.
    unsafe { signal(SIGUSR1, leave) };
    let mut record = Record::new(records, number);
    match word(3) {
        "log" => write_lines(number, &mut record),
        "escape" => escape(records),
        // Now it has none at all.
        "escaped" => drop(record),
        _ => {}
    }
    loop {
        unsafe { pause() };
    }
}

extern "C" fn leave(_: c_int) {
    unsafe { _exit(41) }
}

struct Record {
    file: File,
    begun: u64,
    written: u64,
    refused: u64,
}

impl Record {
    fn new(records: &str, number: &str) -> Self {
        let lock = File::create(format!("{records}/{number}.lock")).unwrap();
        let is_second = lock.try_lock().is_err();
        if number != "escaped" {
            // It is held until the process ends.
            let _ = lock.into_raw_fd();
        }
        let pid = std::process::id();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let started: u64 = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(22 - 3).unwrap().parse().unwrap();
        let file = File::create(format!("{records}/{number}-{pid}")).unwrap();
        let record = Self { file, begun: 0, written: 0, refused: 0 };
        record.note(1, &[started, u64::from(is_second), 0, 0, 0]);
        // The last word, by which others know that the record is whole.
        record.note(0, &[u64::from(pid)]);
        record
    }

    fn note(&self, from: u64, values: &[u64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.write_all_at(&bytes, from * 8).unwrap();
    }

    fn note_lines(&self) {
        self.note(3, &[self.begun, self.written, self.refused]);
    }
}

/// Like most programs, it goes on when a line cannot be written, unless SIGPIPE ends it.
fn write_lines(number: &str, record: &mut Record) -> ! {
    let pid = std::process::id();
    loop {
        record.begun += 1;
        record.note_lines();
        let text = format!("{number} {pid} {} ", record.begun);
        let line = format!("{text:.<width$}\n", width = LINE - 1);
        if unsafe { write(1, line.as_ptr(), LINE) } == LINE as isize {
            record.written += 1;
        } else {
            record.refused += 1;
        }
        record.note_lines();
        std::thread::sleep(INTERVAL);
    }
}

fn escape(records: &str) {
    let child = unsafe { fork() };
    if child != 0 {
        unsafe { waitpid(child, std::ptr::null_mut(), 0) };
        return;
    }
    unsafe { setsid() };
    if unsafe { fork() } != 0 {
        unsafe { _exit(0) };
    }
    let words = ["escaped", "escaped", records, "escaped"].map(|word| CString::new(word).unwrap());
    let words = [words[0].as_ptr(), words[1].as_ptr(), words[2].as_ptr(), words[3].as_ptr(), std::ptr::null()];
    std::env::set_current_dir("/").unwrap();
    unsafe {
        close_range(0, c_uint::MAX, 0);
        execve(c"/proc/self/exe".as_ptr(), words.as_ptr(), [std::ptr::null()].as_ptr());
        _exit(1)
    }
}

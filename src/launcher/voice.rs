//! What the launcher says on stderr, and the one who watches whether it stands still.
//!
//! A terminal that somebody has stopped, a pager, a journal that hangs: none of them may hold the launcher. So its working thread only leaves lines
//! here, and the first thread, which has nothing else to do, writes them. It may wait for a reader as long as it likes.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::time::Mono;
use crate::os::clock;

/// So many lines wait for a reader; what comes after that is counted, and the number told.
const LINES_MAX: usize = 256;

/// How long the launcher waits, when it ends or becomes another program, until everything is said.
const SAID_WITHIN: Duration = Duration::from_millis(500);

/// How often the first thread looks whether the launcher stands still, and after how long that is told.
const LOOK: Duration = Duration::from_secs(5);

static LINES: Mutex<Lines> = Mutex::new(Lines { waiting: VecDeque::new(), lost: 0, is_heard: false, is_speaking: false, is_over: false });

/// There is something to say, or nothing any more.
static NEWS: Condvar = Condvar::new();

/// When the launcher's present turn began, in nanoseconds of the monotonic clock; 0 while it sleeps.
static TURN: AtomicU64 = AtomicU64::new(0);

struct Lines {
    waiting: VecDeque<String>,
    /// How many had no room.
    lost: u64,
    /// There is a thread that says them.
    is_heard: bool,
    /// It is about to write one.
    is_speaking: bool,
    /// Nothing more will come.
    is_over: bool,
}

/// Says on stderr what is wrong, and waits for nobody. The launcher has nobody else to tell, and lives on if nobody listens.
pub(super) fn complain(what: fmt::Arguments<'_>) {
    let line = format!("ms-supervisor launcher: {what}\n");
    let mut lines = lock();
    if !lines.is_heard {
        drop(lines);
        return write(&line);
    }
    if lines.waiting.len() < LINES_MAX {
        lines.waiting.push_back(line);
    } else {
        lines.lost += 1;
    }
    NEWS.notify_all();
}

/// From now on there is a thread that says what is wrong.
pub(super) fn begin() {
    lock().is_heard = true;
}

/// Says what is wrong, until [`end`] is called.
pub(super) fn speak() {
    let mut told = 0;
    loop {
        let Some(line) = next(&mut told) else { return };
        write(&line);
        lock().is_speaking = false;
        NEWS.notify_all();
    }
}

/// The next line; `told`: the turn that was told to be long already.
fn next(told: &mut u64) -> Option<String> {
    let mut lines = lock();
    loop {
        let lost = std::mem::take(&mut lines.lost);
        let first = lines.waiting.pop_front();
        if lost > 0 {
            lines.waiting.push_back(format!("ms-supervisor launcher: nobody has read stderr; {lost} lines are lost\n"));
        }
        if let Some(line) = first.or_else(|| standing_still(told)) {
            lines.is_speaking = true;
            return Some(line);
        }
        if lines.is_over {
            return None;
        }
        lines = NEWS.wait_timeout(lines, LOOK).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn standing_still(told: &mut u64) -> Option<String> {
    let began = TURN.load(Ordering::Relaxed);
    let lasts = clock::mono().since(Mono(began));
    if began == 0 || began == *told || lasts < LOOK {
        return None;
    }
    *told = began;
    Some(format!("ms-supervisor launcher: it has stood still for {} s; no unit is started or stopped meanwhile\n", lasts.as_secs()))
}

/// Waits a little until everything is said; whether it is.
pub(super) fn finish() -> bool {
    let mut lines = lock();
    let end = clock::mono() + SAID_WITHIN;
    while lines.is_speaking || !lines.waiting.is_empty() {
        let left = end.since(clock::mono());
        if left.is_zero() {
            return false;
        }
        lines = NEWS.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

/// Nothing more will be said.
pub(super) fn end() {
    lock().is_over = true;
    NEWS.notify_all();
}

/// A turn of the launcher begins, or is over.
pub(super) fn turn(began: Option<Mono>) {
    TURN.store(began.map_or(0, |began| began.0), Ordering::Relaxed);
}

fn lock() -> MutexGuard<'static, Lines> {
    // Nothing that is done under it panics.
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write(line: &str) {
    let _nobody_listens = io::stderr().write_all(line.as_bytes());
}

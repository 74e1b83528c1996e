//! Who writes the book where its disk may hang: a thread that has, of each slot, what is to stand there last.
//!
//! The launcher leaves a slot and goes on. What it leaves while the disk hangs is written when that answers again, the newest of each.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::book::{Slot, write_slot};
use super::complain;
use crate::os::clock;

/// How much stack the thread has, in bytes.
const STACK: usize = 128 << 10;

/// What is to be written.
#[derive(Default)]
struct Desk {
    /// At most one for each unit.
    slots: BTreeMap<u32, Box<Slot>>,
    /// One is being written.
    is_writing: bool,
    /// A write has failed, and none has succeeded since.
    is_failing: bool,
}

/// The thread's desk.
#[derive(Clone, Default)]
pub(super) struct Scribe(Arc<(Mutex<Desk>, Condvar)>);

impl Scribe {
    /// Begins to write into `file`, which is called `name`.
    pub(super) fn begin(file: Arc<OwnedFd>, name: String) -> std::io::Result<Self> {
        let scribe = Self::default();
        let own = scribe.clone();
        thread::Builder::new().name("scribe".into()).stack_size(STACK).spawn(move || own.write(&file, &name))?;
        Ok(scribe)
    }

    /// Leaves a slot to be written.
    pub(super) fn leave(&self, number: u32, slot: Box<Slot>) {
        self.desk().slots.insert(number, slot);
        self.0.1.notify_all();
    }

    /// Waits until everything that was left is written, for so long at most; whether it is.
    pub(super) fn finish(&self, within: Duration) -> bool {
        let end = clock::mono() + within;
        let mut desk = self.desk();
        while desk.is_writing || !desk.slots.is_empty() {
            let left = end.since(clock::mono());
            if left.is_zero() {
                return false;
            }
            desk = self.0.1.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        !desk.is_failing
    }

    fn write(&self, file: &OwnedFd, name: &str) {
        let mut desk = self.desk();
        loop {
            let Some((number, slot)) = desk.slots.pop_first() else {
                desk = self.0.1.wait(desk).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            desk.is_writing = true;
            drop(desk);
            let written = write_slot(file, number, &slot);
            desk = self.desk();
            desk.is_writing = false;
            let was_failing = std::mem::replace(&mut desk.is_failing, written.is_err());
            if let (Err(fault), false) = (written, was_failing) {
                complain(format_args!("cannot write {name}: {fault}; should I die, what I start now will not be found"));
            }
            self.0.1.notify_all();
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing that is done under it panics.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

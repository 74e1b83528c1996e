//! Calls that may wait for a disk, a mount or a process: they are made by another thread, and waited for no longer than is said.
//!
//! A thread that does not come back is left behind: nothing ends one that waits for a dead disk. It goes by itself when its call is done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// So many threads are left behind; with more, calls are not made any more until one comes back.
const LEFT_MAX: usize = 16;

/// How much stack such a thread has, in bytes.
const STACK: usize = 128 << 10;

type Call = Box<dyn FnOnce() + Send>;

/// How many have been looked at, and what was found at which of them.
type Found<T> = Arc<Mutex<(usize, Vec<(u32, T)>)>>;

/// Another thread, made when it is needed.
#[derive(Default)]
pub(super) struct Aside {
    calls: Option<SyncSender<Call>>,
    /// How many threads have not come back.
    left: Arc<AtomicUsize>,
}

impl Aside {
    /// What `call` returns; `None` if it takes longer than `within`, goes on by itself, and what it returns is lost.
    pub(super) fn within<T: Send + 'static>(&mut self, within: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let answered = self.begin(call)?;
        let answer = answered.recv_timeout(within);
        if answer.is_err() {
            // The next call has another thread.
            self.calls = None;
        }
        answer.ok()
    }

    /// Has another thread make `call`; where its answer comes.
    fn begin<T: Send + 'static>(&mut self, call: impl FnOnce() -> T + Send + 'static) -> Option<Receiver<T>> {
        if self.is_stuck() {
            return None;
        }
        let (answer, answered) = sync_channel(1);
        let left = Arc::clone(&self.left);
        left.fetch_add(1, Ordering::AcqRel);
        let call: Call = Box::new(move || {
            let done = call();
            left.fetch_sub(1, Ordering::AcqRel);
            // Nobody may wait for it any more.
            let _late = answer.send(done);
        });
        if self.thread().and_then(|calls| calls.try_send(call).ok()).is_none() {
            self.left.fetch_sub(1, Ordering::AcqRel);
            self.calls = None;
            return None;
        }
        Some(answered)
    }

    /// What `look` returns for each of `numbers`. One that takes longer than `within` is left out, and the others are looked at all the same.
    pub(super) fn each<T: Send + 'static>(&mut self, within: Duration, numbers: Vec<u32>, look: fn(u32) -> Option<T>) -> Vec<(u32, T)> {
        let (found, mut next) = (Found::default(), 0);
        while next < numbers.len() {
            let (rest, desk) = (numbers[next..].to_vec(), Arc::clone(&found));
            let first = next;
            let looked = self.while_it_goes_on(within, Arc::clone(&found), move || {
                for (at, number) in rest.into_iter().enumerate() {
                    let seen = look(number);
                    let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
                    if desk.0 != first + at {
                        // Left behind: others have gone on from here.
                        return;
                    }
                    desk.0 += 1;
                    desk.1.extend(seen.map(|seen| (number, seen)));
                }
            });
            let mut desk = found.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some() || self.is_stuck() {
                return std::mem::take(&mut desk.1);
            }
            // The one it hangs at is left out.
            desk.0 += 1;
            next = desk.0;
        }
        let mut desk = found.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut desk.1)
    }

    /// Waits for `call` as long as it gets any further within that time: the first number counts how far.
    fn while_it_goes_on<T: Send + 'static>(
        &mut self,
        within: Duration,
        progress: Found<T>,
        call: impl FnOnce() + Send + 'static,
    ) -> Option<()> {
        let answered = self.begin(call)?;
        let mut before = usize::MAX;
        loop {
            if answered.recv_timeout(within).is_ok() {
                return Some(());
            }
            let now = progress.lock().unwrap_or_else(PoisonError::into_inner).0;
            if now == before {
                self.calls = None;
                return None;
            }
            before = now;
        }
    }

    /// Whether too many threads have not come back.
    pub(super) fn is_stuck(&self) -> bool {
        self.left.load(Ordering::Acquire) >= LEFT_MAX
    }

    /// Whether every call has come back.
    pub(super) fn is_free(&self) -> bool {
        self.left.load(Ordering::Acquire) == 0
    }

    fn thread(&mut self) -> Option<&SyncSender<Call>> {
        if self.calls.is_none() {
            let (calls, called) = sync_channel(1);
            let serve = move |called: Receiver<Call>| called.into_iter().for_each(|call| call());
            // Without a thread the call is not made: the same as one that takes too long.
            let _thread = thread::Builder::new().name("aside".into()).stack_size(STACK).spawn(move || serve(called)).ok()?;
            self.calls = Some(calls);
        }
        self.calls.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call that is over when the test says so.
    fn held() -> (SyncSender<()>, impl FnOnce() + Send + 'static) {
        let (go, wait) = sync_channel::<()>(1);
        let call = move || {
            let _over = wait.recv();
        };
        (go, call)
    }

    #[test]
    fn a_call_that_hangs_holds_nobody_and_others_are_made() {
        let mut aside = Aside::default();
        let long = Duration::from_secs(60);
        assert_eq!(aside.within(long, || 7), Some(7));
        let mut hung = Vec::new();
        for _ in 0..LEFT_MAX {
            let (go, call) = held();
            assert_eq!(aside.within(Duration::from_millis(1), call), None);
            hung.push(go);
            assert_eq!(aside.within(long, || 8), (hung.len() < LEFT_MAX).then_some(8), "{} hang", hung.len());
        }
        assert!(aside.is_stuck());
        drop(hung);
        while !aside.is_free() {
            thread::yield_now();
        }
        assert_eq!(aside.within(long, || 9), Some(9), "they have come back");
    }

    #[test]
    fn one_that_hangs_among_many_is_left_out() {
        static GO: Mutex<()> = Mutex::new(());
        let held = GO.lock().unwrap();
        let look = |number: u32| {
            if number == 3 {
                drop(GO.lock());
            }
            (number != 5).then_some(number * 10)
        };
        let mut aside = Aside::default();
        let found = aside.each(Duration::from_millis(50), (0..8).collect(), look);
        assert_eq!(found, [0, 1, 2, 4, 6, 7].map(|number| (number, number * 10)));
        assert_eq!(aside.each(Duration::from_millis(50), vec![], look), []);
        drop(held);
        while !aside.is_free() {
            thread::yield_now();
        }
    }
}

//! The kernel says by itself that a cgroup is at a limit, or waits for memory.
//!
//! A file of counters, like `memory.events`, is ready with `EPOLLPRI` when it has changed (cgroup-v2.rst, "Polling"); the kernel says so every 10 ms
//! at most. One epoll instance of our own, which the runtime waits for, holds all of them. They are registered by edge: each change is told once, nothing
//! has to be read to hear the next one, and the file of a cgroup that is gone, which is ready for ever, is told once too.
//!
//! A trigger written into `memory.pressure` is ready when something has waited for long within a window (Documentation/accounting/psi.rst). Who asks
//! whether it is, takes that away; so does an epoll instance that only asks another one. Triggers are therefore registered with the runtime itself.
#![expect(unsafe_code, reason = "only the caller can promise that a registered descriptor stays open")]

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fs::{Mode, OFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::cgroup::Cgroup;
use crate::base::pressure::STRAINED;

/// So many are taken at a time; what is more is there at the next time.
const BATCH: usize = 256;

/// The windows of a trigger, in microseconds, best first. Without `CAP_SYS_RESOURCE` the kernel takes multiples of 2 s only, before 6.5 none.
const WINDOWS: [u32; 2] = [1_000_000, 2_000_000];

/// What is to be heard of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// That memory reaches a limit, or somebody is killed.
    pub memory: bool,
    /// That no more processes can be made.
    pub tasks: bool,
    /// That it waits for memory.
    pub pressure: bool,
}

impl Sources {
    /// Whether there is anything.
    #[must_use]
    pub const fn any(self) -> bool {
        self.memory || self.tasks || self.pressure
    }
}

/// Something has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The number it was registered with. Nothing may be registered with it any more by now.
    pub number: u64,
    /// It waits for memory; else a counter has changed.
    pub is_pressure: bool,
}

/// What is heard of one cgroup. Nothing more is when it is dropped.
#[derive(Debug, Default)]
pub struct Line {
    files: Vec<OwnedFd>,
    trigger: Option<Trigger>,
}

#[derive(Debug)]
struct Trigger {
    /// Kept, so that whoever ends it knows that it is closed.
    file: Arc<AsyncFd<OwnedFd>>,
    /// Waits for it.
    waits: AbortOnDropHandle<()>,
}

impl Line {
    /// Whether the kernel says that it waits for memory.
    #[must_use]
    pub const fn hears_pressure(&self) -> bool {
        self.trigger.is_some()
    }

    /// Ends it. To close a trigger takes the kernel about 10 ms, and blocks: that is waited for here, and not in the runtime.
    pub fn close(self) {
        let Some(Trigger { file, waits }) = self.trigger else { return };
        waits.abort();
        let _aborted = Handle::current().block_on(waits);
        drop(file);
    }
}

/// Hears it.
#[derive(Debug)]
pub struct Alarms {
    epoll: AsyncFd<OwnedFd>,
    waiting: Arc<Waiting>,
}

/// The numbers of those that wait for memory, until that is told.
#[derive(Debug, Default)]
struct Waiting {
    numbers: Mutex<BTreeSet<u64>>,
    more: Notify,
}

impl Alarms {
    /// Nothing is heard yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As epoll_create1(2).
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // SAFETY: the descriptor is open, and nobody else can close it.
        let epoll = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) };
        Ok(Self { epoll: epoll.map_err(io::Error::from)?, waiting: Arc::default() })
    }

    /// Hears of the cgroup at `path` from now on, as far as the kernel says these things. What has happened before is not told. Opens files.
    #[must_use]
    pub fn listen(&self, number: u64, path: &Path, sources: Sources) -> Line {
        let mut line = Line::default();
        // One that is gone, or of which a file is missing, says nothing.
        let Ok(cgroup) = Cgroup::at(path.to_path_buf()) else { return line };
        let counters = [(sources.memory, "memory.events"), (sources.tasks, "pids.events")];
        let counters = counters.into_iter().filter(|(is_wanted, _)| *is_wanted);
        line.files.extend(counters.filter_map(|(_, name)| self.counters(&cgroup, name, number).ok()));
        if sources.pressure {
            line.trigger = self.trigger(&cgroup, "memory.pressure", number).ok();
        }
        line
    }

    fn counters(&self, cgroup: &Cgroup, name: &str, number: u64) -> io::Result<OwnedFd> {
        let file = rustix::fs::openat(cgroup.fd(), name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // Who has not read yet is told at once.
        rustix::io::read(&file, &mut [0; 512])?;
        epoll::add(self.epoll.as_fd(), &file, epoll::EventData::new_u64(number), epoll::EventFlags::PRI | epoll::EventFlags::ET)?;
        Ok(file)
    }

    fn trigger(&self, cgroup: &Cgroup, name: &str, number: u64) -> io::Result<Trigger> {
        let file = rustix::fs::openat(cgroup.fd(), name, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let mut taken = Err(io::ErrorKind::Unsupported.into());
        for window in WINDOWS {
            // The last byte is cut off by the kernel.
            let trigger = format!("some {:.0} {window}\0", f64::from(window) * STRAINED);
            taken = rustix::io::write(&file, trigger.as_bytes()).map_err(io::Error::from);
            if taken.is_ok() {
                break;
            }
        }
        taken?;
        // SAFETY: the descriptor is open, and nobody else can close it.
        let file = unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) };
        let file = Arc::new(file.map_err(io::Error::from)?);
        let (own, waiting) = (file.clone(), self.waiting.clone());
        let waits = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok(mut ready) = own.ready(Interest::PRIORITY).await {
                ready.clear_ready();
                waiting.numbers.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
                waiting.more.notify_one();
            }
        }));
        Ok(Trigger { file, waits })
    }

    /// Waits until something happens. If the future is dropped before, nothing is lost.
    pub async fn next(&self) -> Vec<Alarm> {
        loop {
            let heard: Vec<_> = tokio::select! {
                counted = self.counted() => counted,
                () = self.waiting.more.notified() => {
                    let numbers = std::mem::take(&mut *self.waiting.numbers.lock().unwrap_or_else(PoisonError::into_inner));
                    numbers.into_iter().map(|number| Alarm { number, is_pressure: true }).collect()
                }
            };
            if !heard.is_empty() {
                return heard;
            }
        }
    }

    async fn counted(&self) -> Vec<Alarm> {
        loop {
            // It cannot fail while the runtime lives.
            let Ok(mut ready) = self.epoll.readable().await else { return std::future::pending().await };
            let mut events = Vec::with_capacity(BATCH);
            let found = epoll::wait(self.epoll.as_fd(), spare_capacity(&mut events), Some(&Timespec::default()));
            if found.is_ok_and(|count| count > 0) {
                return events.iter().map(|event: &epoll::Event| Alarm { number: event.data.u64(), is_pressure: false }).collect();
            }
            ready.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use super::*;

    fn cgroup(name: &str) -> Option<Cgroup> {
        let name = format!("ms-supervisor-alarm-{name}-{}", std::process::id());
        Cgroup::own().and_then(|own| own.child(&name)).inspect_err(|fault| println!("SKIPPED: cgroups cannot be made here: {fault}")).ok()
    }

    fn process(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().unwrap()
    }

    fn remove(cgroup: &Cgroup) {
        while cgroup.remove().is_err() {
            std::thread::yield_now();
        }
    }

    async fn is_silent(alarms: &Alarms) -> bool {
        let next = std::pin::pin!(alarms.next());
        // The runtime looks for what is ready in between.
        tokio::select! { biased; _ = next => false, () = tokio::time::sleep(Duration::from_millis(1)) => true }
    }

    /// What is gone may ring once more, and not for ever.
    async fn becomes_silent(alarms: &Alarms) {
        let mut rings = 0;
        while !is_silent(alarms).await {
            rings += 1;
            assert!(rings < 5, "it rings for ever");
        }
    }

    async fn next(alarms: &Alarms) -> Vec<Alarm> {
        tokio::time::timeout(Duration::from_secs(60), alarms.next()).await.unwrap_or_default()
    }

    #[tokio::test]
    async fn a_counter_that_changes_is_told_and_one_that_is_gone_does_not_ring_for_ever() {
        let Some(cgroup) = cgroup("events") else { return };
        let alarms = Alarms::new().unwrap();
        // The kernel tells of this file as it does of memory.events, which needs a controller.
        let file = alarms.counters(&cgroup, "cgroup.events", 7).unwrap();
        assert!(is_silent(&alarms).await, "nothing has happened");
        let expected = [Alarm { number: 7, is_pressure: false }];
        let mut child = process("exec sleep 1000");
        for _ in 0..2 {
            cgroup.put(child.id()).unwrap();
            assert_eq!(next(&alarms).await, expected, "it has a process");
            Cgroup::own().unwrap().put(child.id()).unwrap();
            assert_eq!(next(&alarms).await, expected, "it has none");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        remove(&cgroup);
        becomes_silent(&alarms).await;
        drop(file);
    }

    #[tokio::test]
    async fn who_waits_for_long_is_told_of() {
        let Some(cgroup) = cgroup("pressure") else { return };
        let alarms = Alarms::new().unwrap();
        // Processors are made short more easily than memory is.
        let trigger = match alarms.trigger(&cgroup, "cpu.pressure", 9) {
            Ok(trigger) => trigger,
            Err(fault) => {
                remove(&cgroup);
                return println!("SKIPPED: the kernel takes no trigger here: {fault}");
            }
        };
        assert!(is_silent(&alarms).await);
        let mut busy: Vec<_> =
            (0..2 * std::thread::available_parallelism().unwrap().get()).map(|_| process("while :; do :; done")).collect();
        for child in &busy {
            cgroup.put(child.id()).unwrap();
        }
        // It goes on: it is told again.
        let heard = [next(&alarms).await, next(&alarms).await];
        for child in &mut busy {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(heard, [[Alarm { number: 9, is_pressure: true }]; 2]);
        remove(&cgroup);
        becomes_silent(&alarms).await;
        let line = Line { trigger: Some(trigger), ..Line::default() };
        tokio::task::spawn_blocking(|| line.close()).await.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_heard_is_left_out() {
        let alarms = Alarms::new().unwrap();
        let all = Sources { memory: true, tasks: true, pressure: true };
        let line = alarms.listen(1, Path::new("/no/such"), all);
        assert!(line.files.is_empty() && !line.hears_pressure());
        let directory = tempfile::tempdir().unwrap();
        for name in ["memory.events", "pids.events", "memory.pressure"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        // Files that nobody can wait for.
        let line = alarms.listen(1, directory.path(), all);
        assert!(line.files.is_empty() && !line.hears_pressure());
        assert!(is_silent(&alarms).await);
    }
}

//! What a process says of itself between its birth and its program: a page of memory it shares with the launcher.
//!
//! The child only stores numbers into it, so it can say where it stands without a system call that might wait. What it says last counts
//! once the launcher has seen that it executed its program or ended.
#![expect(unsafe_code, reason = "memory that two processes share")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::exec::Failure;
use super::wire::SpawnStep;

/// What can be done without, if it has to be: the step, and the place of its errno.
const PARTS: [SpawnStep; 7] = [
    SpawnStep::Namespace,
    SpawnStep::Network,
    SpawnStep::Capabilities,
    SpawnStep::NoNewPrivileges,
    SpawnStep::Keyring,
    SpawnStep::Landlock,
    SpawnStep::SystemCallFilter,
];

/// Every step, those with a number at 0, in an order that launcher and child share: they are one program.
const STEPS: [SpawnStep; 32] = [
    SpawnStep::Clone,
    SpawnStep::Busy,
    SpawnStep::NotifySocket,
    SpawnStep::Pipe,
    SpawnStep::MakeCgroup,
    SpawnStep::Book,
    SpawnStep::Cgroup,
    SpawnStep::Session,
    SpawnStep::Input,
    SpawnStep::Log,
    SpawnStep::Stdio,
    SpawnStep::Nice,
    SpawnStep::Scheduler,
    SpawnStep::IoPriority,
    SpawnStep::Affinity,
    SpawnStep::Rlimit(0),
    SpawnStep::OomScore,
    SpawnStep::Groups,
    SpawnStep::Group,
    SpawnStep::User,
    SpawnStep::WorkingDirectory,
    SpawnStep::Exec,
    SpawnStep::Namespace,
    SpawnStep::Mount(0),
    SpawnStep::Network,
    SpawnStep::Join,
    SpawnStep::Capabilities,
    SpawnStep::NoNewPrivileges,
    SpawnStep::Keyring,
    SpawnStep::Landlock,
    SpawnStep::LandlockPath(0),
    SpawnStep::SystemCallFilter,
];

/// The page.
pub(super) struct Report(NonNull<Page>);

#[derive(Default)]
struct Page {
    /// The step that is being taken.
    step: AtomicU32,
    /// The errno of that step, once it has failed.
    failed: AtomicI32,
    /// Why its output goes to /dev/null: an errno.
    output_lost: AtomicI32,
    /// Why something could not be had: an errno for each of [`PARTS`], 0 for those that could.
    missing: [AtomicI32; PARTS.len()],
}

impl Report {
    pub(super) fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at a place of the kernel's choice, of at least a page, zeroed: every member is a number.
        let page = unsafe { libc::mmap(ptr::null_mut(), size_of::<Page>(), protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(page.cast()).map(Self).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    fn page(&self) -> &Page {
        // SAFETY: it is mapped until `self` is dropped, and holds nothing but atomic numbers, whoever writes them.
        unsafe { self.0.as_ref() }
    }

    /// Forgets what it was told, for another process. The one before must have ended.
    pub(super) fn clear(&self) {
        let Page { step, failed, output_lost, missing } = self.page();
        step.store(0, Ordering::Relaxed);
        [failed, output_lost].into_iter().chain(missing).for_each(|number| number.store(0, Ordering::Relaxed));
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a reference into it. A child that still lives has its own.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Page>()) };
    }
}

/// The child's side.
impl Report {
    /// Says which step comes now.
    pub(super) fn at(&self, step: SpawnStep) {
        self.page().step.store(encode(step), Ordering::Release);
    }

    /// Says that a step has failed, and the process ends.
    pub(super) fn fail(&self, (step, errno): Failure) {
        self.at(step);
        self.page().failed.store(errno, Ordering::Release);
    }

    /// Says that there is no log to write to.
    pub(super) fn lose_output(&self, errno: i32) {
        self.page().output_lost.store(errno, Ordering::Release);
    }

    /// Says what is done without; false: that cannot be done without.
    pub(super) fn miss(&self, (step, errno): Failure) -> bool {
        let place = PARTS.iter().zip(&self.page().missing).find(|(known, _)| **known == part_of(step));
        place.inspect(|(_, place)| place.store(errno, Ordering::Release)).is_some()
    }
}

/// The launcher's side.
impl Report {
    /// The step it has come to.
    pub(super) fn step(&self) -> SpawnStep {
        decode(self.page().step.load(Ordering::Acquire))
    }

    /// The step that has failed.
    pub(super) fn failure(&self) -> Option<Failure> {
        let errno = self.page().failed.load(Ordering::Acquire);
        (errno != 0).then(|| (self.step(), errno))
    }

    /// Why there is no log to write to.
    pub(super) fn output_lost(&self) -> Option<i32> {
        Some(self.page().output_lost.load(Ordering::Acquire)).filter(|errno| *errno != 0)
    }

    /// Everything that is done without, each with its errno.
    pub(super) fn missing(&self) -> Vec<Failure> {
        let errnos = PARTS.iter().zip(&self.page().missing).map(|(step, errno)| (*step, errno.load(Ordering::Acquire)));
        errnos.filter(|(_, errno)| *errno != 0).collect()
    }
}

/// What cannot be had when this step fails.
const fn part_of(step: SpawnStep) -> SpawnStep {
    match step {
        SpawnStep::Mount(_) => SpawnStep::Namespace,
        SpawnStep::LandlockPath(_) => SpawnStep::Landlock,
        other => other,
    }
}

/// A step as a number: its place in [`STEPS`], and its own number above that.
fn encode(step: SpawnStep) -> u32 {
    let (kind, number) = match step {
        SpawnStep::Rlimit(number) => (SpawnStep::Rlimit(0), u16::from(number)),
        SpawnStep::Mount(number) => (SpawnStep::Mount(0), number),
        SpawnStep::LandlockPath(number) => (SpawnStep::LandlockPath(0), number),
        other => (other, 0),
    };
    let place = (0_u32..).zip(STEPS).find(|(_, known)| *known == kind).map_or(0, |(place, _)| place);
    place | u32::from(number) << 16
}

fn decode(code: u32) -> SpawnStep {
    let number = (code >> 16) as u16;
    match STEPS.get((code & 0xffff) as usize) {
        Some(SpawnStep::Rlimit(_)) => SpawnStep::Rlimit(number as u8),
        Some(SpawnStep::Mount(_)) => SpawnStep::Mount(number),
        Some(SpawnStep::LandlockPath(_)) => SpawnStep::LandlockPath(number),
        Some(other) => *other,
        None => SpawnStep::Clone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_read_as_it_was_written() {
        let numbered = [SpawnStep::Rlimit(15), SpawnStep::Mount(u16::MAX), SpawnStep::LandlockPath(300)];
        for step in STEPS.into_iter().chain(numbered) {
            assert_eq!(decode(encode(step)), step);
        }
    }

    #[test]
    fn what_is_told_last_counts_until_it_is_cleared() {
        let report = Report::new().unwrap();
        assert_eq!((report.step(), report.failure(), report.output_lost()), (SpawnStep::Clone, None, None));
        report.at(SpawnStep::Stdio);
        report.lose_output(libc::ENOENT);
        assert!(report.miss((SpawnStep::Mount(3), libc::EPERM)));
        assert!(!report.miss((SpawnStep::User, libc::EPERM)), "nobody does without that");
        report.fail((SpawnStep::Mount(7), libc::EIO));
        assert_eq!(report.failure(), Some((SpawnStep::Mount(7), libc::EIO)));
        assert_eq!((report.output_lost(), report.missing()), (Some(libc::ENOENT), vec![(SpawnStep::Namespace, libc::EPERM)]));
        report.clear();
        assert_eq!((report.failure(), report.output_lost(), report.missing()), (None, None, vec![]));
    }
}

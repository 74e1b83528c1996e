//! The book: a file that tells the next launcher what this one has started, should it die without an end.
//!
//! ```text
//! header   version, boot, process id name space, instance   (one slot)
//! slot     process id, length, record                       (one for each unit)
//! ```
//!
//! A slot is written by one pwrite(2) inside one page, which no signal cuts in two. A process writes its own slot, with its id, before it does anything
//! else, so that there is no instant at which it runs and the book does not know it. The book is for the death of the launcher, not
//! of the machine: nothing is synced, and a book of another boot is thrown away. It should be in memory; where it is on a disk, another thread
//! writes it ([`super::scribe`]).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::complain;
use super::disk::Disk;
use super::scribe::Scribe;
use super::upgrade::Carried;
use super::wire::Exit;
use crate::base::id::UnitId;
use crate::base::time::{Mono, Wall};

/// The version of this format. A book of another version belongs to another ms-supervisor, whose units may run.
pub const VERSION: u16 = 1;

/// How much one unit takes, in bytes. A divisor of the page size.
const SLOT: usize = 4096;

/// For so many slots there is room on the disk before they are needed: a disk that is full later costs no unit.
const ROOM: u32 = 256;

/// What stands about one unit.
pub(super) type Slot = [u8; SLOT];

/// How much of a slot is the process id, in bytes.
const PID: usize = size_of::<u32>();

/// How long the launcher waits, before it leaves or becomes another program, until all it knows is written.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

/// Where in its slot a record begins: after the process id and the record's length.
const RECORD: usize = 8;

const MAGIC: [u8; 8] = *b"msbook\0\0";

/// What is written of a unit, besides the process id.
///
/// A field that comes to it later stands at the end and has a zero for what was before it: in a slot of an earlier version zeros are read there, and
/// an earlier version does not look so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) unit: UnitId,
    pub(super) run: u64,
    /// When its latest main process was started, on both clocks.
    pub(super) started: Mono,
    pub(super) started_wall: Wall,
    /// The same as the kernel tells it: with the process id, the identity of the process.
    pub(super) ticks: Ticks,
    /// How its runs ended, until that is acknowledged.
    pub(super) exits: Vec<(u64, Exit)>,
    pub(super) note: Vec<u8>,
    /// The inode of the pipe it writes to.
    pub(super) output: Option<u64>,
    /// The descriptor of its readiness pipe.
    pub(super) ready: Option<i32>,
    /// Its notification socket and the owner of that.
    pub(super) notify: Option<(PathBuf, Option<(u32, u32)>)>,
    /// The directory of its cgroup.
    pub(super) cgroup: Option<PathBuf>,
    /// Descriptors that came along from the launcher before, if this one runs in its process.
    pub(super) carried: Option<Carried>,
    /// Its main process is, or was, not the one that was started.
    pub(super) has_successor: bool,
}

/// When a process was started, in the kernel's clock ticks since the machine was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ticks {
    /// There is none, or it was gone too soon to ask.
    #[default]
    Unknown,
    /// It is being started, and not before this.
    Since(u64),
    At(u64),
}

/// A process that was being started when the launcher died began at most so many ticks (10 s) after it was announced. Its number cannot be another's
/// as soon as that: the numbers would have to go round.
const BEGUN_WITHIN: u64 = 1000;

impl Ticks {
    /// Whether a process with the right number that began at `started` is the one meant.
    pub(super) fn matches(self, started: u64) -> bool {
        match self {
            Self::Unknown => false,
            Self::Since(earliest) => (earliest..=earliest + BEGUN_WITHIN).contains(&started),
            Self::At(at) => at == started,
        }
    }
}

/// A record as it was found, with the process id of the main process if there was one.
pub(super) type Found = (Option<u32>, Record);

/// What tells this book from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    magic: [u8; 8],
    version: u16,
    /// The kernel's random number for this boot.
    boot: u128,
    /// The inode of the process id name space: in another one the ids mean nothing.
    name_space: u64,
    /// A random number that the units' processes carry.
    instance: u64,
}

/// The file, open for as long as the launcher lives.
pub(super) struct Book {
    path: PathBuf,
    file: Arc<OwnedFd>,
    /// How what else is in its directory is written.
    pub(super) disk: Disk,
    /// Who writes it; `None`: the launcher itself, as nothing waits.
    scribe: Option<Scribe>,
    instance: u64,
    /// Places nobody uses, and the first one never used.
    free: Vec<u32>,
    end: u32,
    /// A write has failed and nobody has been told otherwise since.
    failing: bool,
}

/// A unit's place in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

impl Place {
    /// What tells it from others.
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// Where the process id goes.
    pub(super) const fn offset(self) -> u64 {
        self.0 as u64 * SLOT as u64
    }
}

impl Book {
    /// Opens the book in `directory`; what a launcher before us has left in it comes back, each with its new place.
    ///
    /// # Errors
    /// A sentence, when there is no book to be had or the one there may not be touched.
    pub(super) fn open(directory: &Path) -> Result<(Self, Vec<(Place, Found)>), String> {
        let path = directory.join("book");
        let cannot = |fault: io::Error| format!("cannot keep the book {}: {fault}", path.display());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(|fault| cannot(fault.into()))?;
        let own = own_header().map_err(cannot)?;
        let known = match read_header(&file).map_err(cannot)? {
            Some(header) if header.boot != own.boot || header.name_space != own.name_space => None,
            Some(header) if header.version != VERSION => {
                return Err(format!(
                    "{} was left by another version of ms-supervisor (format {}, mine is {VERSION}), and its units may still run: \
                     start that version to take them over, or stop them and remove the file",
                    path.display(),
                    header.version
                ));
            }
            known => known,
        };
        let found = match known {
            Some(_) => read_records(&file).map_err(cannot)?,
            None => {
                rustix::fs::ftruncate(&file, 0).map_err(|fault| cannot(fault.into()))?;
                Vec::new()
            }
        };
        reserve_room(&file, 0);
        let header = known.unwrap_or(own);
        write_slot(&file, 0, &slot_of(&header)).map_err(cannot)?;
        let (file, disk) = (Arc::new(file), Disk::of(directory));
        let scribe = (!disk.is_in_memory()).then(|| Scribe::begin(Arc::clone(&file), path.display().to_string())).transpose();
        let scribe = scribe.map_err(cannot)?;
        let mut book = Self { path, file, disk, scribe, instance: header.instance, free: Vec::new(), end: 1, failing: false };
        let found = found.into_iter().map(|(number, found)| (book.take(number), found)).collect();
        Ok((book, found))
    }

    /// The number that the processes of our units carry.
    pub(super) const fn instance(&self) -> u64 {
        self.instance
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The place `number`, which is in use; those skipped before it are free.
    fn take(&mut self, number: u32) -> Place {
        self.free.extend(self.end..number);
        self.end = self.end.max(number + 1);
        Place(number)
    }

    /// A free place.
    pub(super) fn reserve(&mut self) -> Place {
        Place(self.free.pop().unwrap_or_else(|| {
            if self.end.is_multiple_of(ROOM) {
                let (file, end) = (Arc::clone(&self.file), self.end);
                let _later = self.disk.call(move || {
                    reserve_room(&file, end);
                    Ok(())
                });
            }
            self.end += 1;
            self.end - 1
        }))
    }

    /// Writes what is known of a unit now. Should it fail, units run on: they only would not be found.
    pub(super) fn enter(&mut self, place: Place, pid: Option<u32>, record: &Record) {
        let mut slot = slot_of(record);
        slot[..PID].copy_from_slice(&pid.unwrap_or(0).to_le_bytes());
        self.write_or_complain(place.0, &slot);
    }

    /// What a process that is about to be made writes about itself.
    pub(super) fn birth_note(&self, place: Place, record: &Record) -> BirthNote {
        BirthNote { slot: slot_of(record), offset: place.offset() }
    }

    /// Sees to it that what was entered stands there, whatever becomes of the launcher's memory now. False: it does not, or not in time.
    pub(super) fn settle(&self) -> bool {
        self.scribe.as_ref().is_none_or(|scribe| scribe.finish(SETTLED_WITHIN))
    }

    /// Forgets a unit.
    pub(super) fn erase(&mut self, place: Place) {
        self.write_or_complain(place.0, &[0; SLOT]);
        self.free.push(place.0);
    }

    /// Everything has come to its orderly end: there is nothing to tell anybody.
    pub(super) fn close(&mut self) {
        self.disk.remove(self.path.clone());
    }

    fn write_or_complain(&mut self, number: u32, slot: &Slot) {
        if let Some(scribe) = &self.scribe {
            return scribe.leave(number, Box::new(*slot));
        }
        match write_slot(&self.file, number, slot) {
            Ok(()) => self.failing = false,
            Err(_) if self.failing => {}
            Err(fault) => {
                self.failing = true;
                complain(format_args!("cannot write {}: {fault}; should I die, what I start now will not be found", self.path.display()));
            }
        }
    }
}

/// What a process writes about itself before it does anything else.
pub(super) struct BirthNote {
    slot: Slot,
    /// Where it goes.
    pub(super) offset: u64,
}

impl BirthNote {
    /// The bytes, of which the first four are to be its id.
    pub(super) const fn bytes(&self, pid: u32) -> Slot {
        let mut slot = self.slot;
        let [a, b, c, d] = pid.to_le_bytes();
        (slot[0], slot[1], slot[2], slot[3]) = (a, b, c, d);
        slot
    }
}

/// Writes a slot whole.
pub(super) fn write_slot(file: &OwnedFd, number: u32, slot: &Slot) -> io::Result<()> {
    loop {
        match rustix::io::pwrite(file, slot, Place(number).offset()) {
            Ok(SLOT) => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::StorageFull.into()),
            Err(Errno::INTR) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
}

/// Takes disk space from slot `first` on. Should there be none, or the file system not know how, a slot may not be written when it is needed.
fn reserve_room(file: &OwnedFd, first: u32) {
    let (start, length) = (Place(first).offset(), Place(ROOM).offset());
    let _later = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, start, length);
}

/// The slot for `what`, without a process id. What is too long is left out: the limits of names and notes forbid it.
fn slot_of(what: &impl Serialize) -> Slot {
    let mut slot = [0; SLOT];
    let length = postcard::to_slice(what, &mut slot[RECORD..]).map_or(0, |record| record.len());
    slot[4..RECORD].copy_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
    slot
}

/// The process id and the record in a slot; `None` for an empty one, and for one that makes no sense.
fn read_slot<T: for<'a> Deserialize<'a>>(slot: &[u8]) -> Option<(Option<u32>, T)> {
    let number = |at: usize| slot.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let (pid, length) = (number(0)?, usize::try_from(number(4)?).ok()?);
    // To the end of the slot: an older record has zeros where a newer one goes on.
    let record = slot.get(RECORD..).filter(|record| (1..=record.len()).contains(&length))?;
    Some(((pid != 0).then_some(pid), postcard::from_bytes(record).ok()?))
}

/// Which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

fn own_header() -> io::Result<Header> {
    let boot = std::fs::read_to_string(BOOT_ID).map_err(|fault| {
        let cure = "it tells this boot from others; /proc has to be mounted without `subset=pid`";
        io::Error::new(fault.kind(), format!("cannot read {BOOT_ID}: {fault}: {cure}"))
    })?;
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).map_err(io::Error::other)?;
    let name_space = rustix::fs::stat("/proc/self/ns/pid")?.st_ino;
    let mut instance = [0; 8];
    rustix::rand::getrandom(&mut instance[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(Header { magic: MAGIC, version: VERSION, boot, name_space, instance: u64::from_le_bytes(instance) })
}

/// The header of what is there; an empty or foreign file has none.
fn read_header(file: &OwnedFd) -> io::Result<Option<Header>> {
    let mut slot = [0; SLOT];
    let length = rustix::io::pread(file, &mut slot[..], 0)?;
    Ok(read_slot::<Header>(&slot[..length]).map(|(_, header)| header).filter(|header| header.magic == MAGIC))
}

fn read_records(file: &OwnedFd) -> io::Result<Vec<(u32, Found)>> {
    let mut found = Vec::new();
    for number in 1.. {
        let mut slot = [0; SLOT];
        if rustix::io::pread(file, &mut slot[..], Place(number).offset())? < SLOT {
            break;
        }
        found.extend(read_slot::<Record>(&slot).map(|record| (number, record)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::exit::{ExitCause, Signal, Usage};
    use crate::launcher::hold::EXITS_MAX;
    use crate::launcher::wire::Process;

    fn exit() -> Exit {
        let process = Process { pid: u32::MAX, started: Mono(u64::MAX), started_wall: Wall(i64::MIN) };
        let most = std::time::Duration::from_secs(1 << 40);
        let (n, cause) = (u64::MAX, ExitCause::Signal { signal: Signal(64), core: true });
        let usage = Usage { user: most, system: most, max_rss: n, major_faults: n, voluntary_switches: n, involuntary_switches: n };
        Exit { process, cause, usage, at: Mono(n), at_wall: Wall(i64::MIN) }
    }

    fn record(unit: &str) -> Record {
        Record {
            unit: unit.into(),
            run: 3,
            started: Mono(5),
            started_wall: Wall(6),
            ticks: Ticks::At(7),
            exits: vec![(u64::MAX, exit()); EXITS_MAX],
            note: vec![1; super::super::wire::NOTE_MAX],
            output: Some(u64::MAX),
            ready: Some(3),
            notify: Some(("x".repeat(107).into(), Some((u32::MAX, u32::MAX)))),
            cgroup: Some("x".repeat(1024).into()),
            carried: Some(Carried { output: Some((i32::MAX, i32::MAX)), notify: Some(i32::MAX), ready: Some(i32::MAX) }),
            has_successor: true,
        }
    }

    #[test]
    fn a_book_tells_the_next_reader_what_was_entered() {
        let directory = tempfile::tempdir().unwrap();
        let (mut book, found) = Book::open(directory.path()).unwrap();
        assert!(found.is_empty());
        let places = [book.reserve(), book.reserve(), book.reserve()];
        let longest = "u".repeat(crate::base::id::NAME_MAX) + "@10000";
        for (place, (unit, pid)) in places.iter().zip([("a", None), ("b", Some(2)), (longest.as_str(), Some(u32::MAX))]) {
            book.enter(*place, pid, &record(unit));
        }
        book.erase(places[1]);
        let instance = book.instance();
        assert!(book.settle());
        drop(book);
        let (mut book, found) = Book::open(directory.path()).unwrap();
        assert_eq!(book.instance(), instance, "the processes carry it");
        assert_eq!(found, [(places[0], (None, record("a"))), (places[2], (Some(u32::MAX), record(&longest)))]);
        assert_eq!([book.reserve(), book.reserve()], [places[1], Place(4)], "free places are used again");
        book.close();
        assert!(Book::open(directory.path()).unwrap().1.is_empty());
    }

    #[test]
    fn a_process_writes_its_id_beside_the_record() {
        let directory = tempfile::tempdir().unwrap();
        let (mut book, _) = Book::open(directory.path()).unwrap();
        let place = book.reserve();
        let note = book.birth_note(place, &record("a"));
        rustix::io::pwrite(book.file(), &note.bytes(77), note.offset).unwrap();
        drop(book);
        assert_eq!(Book::open(directory.path()).unwrap().1, [(place, (Some(77), record("a")))]);
    }

    #[test]
    fn fields_that_came_later_are_nothing_to_older_versions() {
        let new = Record { has_successor: true, ..record("a") };
        let mut slot = slot_of(&new);
        let length = u32::from_le_bytes(slot[4..8].try_into().unwrap()) as usize;
        assert_eq!(read_slot(&slot), Some((None, new.clone())));
        // As version 1 was first: without the last field.
        slot[4..8].copy_from_slice(&u32::try_from(length - 1).unwrap().to_le_bytes());
        slot[RECORD + length - 1] = 0;
        assert_eq!(read_slot(&slot), Some((None, Record { has_successor: false, ..new })));
    }

    #[test]
    fn books_of_another_boot_are_thrown_away_and_of_another_version_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let rewrite = |change: &dyn Fn(&mut Header)| {
            let (mut book, _) = Book::open(directory.path()).unwrap();
            let place = book.reserve();
            book.enter(place, Some(1), &record("a"));
            let mut header = read_header(&book.file).unwrap().unwrap();
            change(&mut header);
            book.settle();
            write_slot(&book.file, 0, &slot_of(&header)).unwrap();
        };
        rewrite(&|header| header.boot += 1);
        assert!(Book::open(directory.path()).unwrap().1.is_empty());
        rewrite(&|header| header.name_space += 1);
        assert!(Book::open(directory.path()).unwrap().1.is_empty());
        rewrite(&|header| header.version += 1);
        let refusal = Book::open(directory.path()).err().unwrap();
        assert!(refusal.contains("another version of ms-supervisor (format 2, mine is 1)"), "{refusal}");
        std::fs::write(directory.path().join("book"), "not a book at all").unwrap();
        assert!(Book::open(directory.path()).unwrap().1.is_empty());
    }
}

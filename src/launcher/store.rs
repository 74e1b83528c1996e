//! systemd's descriptor store (`FileDescriptorStoreMax=`), the second line behind the keeper: what of a unit outlives launcher and keeper, when
//! both are killed. The next launcher finds in it what a unit wrote into its pipe, and how it ended if the kernel tells that of a pidfd.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::book::Record;
use super::complain;
use super::keeper::{Operation, Packet};
use super::serve::Launcher;
use crate::base::id::UnitId;
use crate::base::time::Mono;

/// How soon it is tried again when systemd takes nothing for the moment.
const AGAIN: Duration = Duration::from_millis(200);

/// What systemd held for the launcher before.
pub(super) type Stored = BTreeMap<Name, Vec<OwnedFd>>;

/// The name under which a unit's descriptors are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Its place in the book.
    pub(super) place: u32,
    pub(super) run: u64,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ms-{}-{}", self.place, self.run)
    }
}

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (place, run) = text.strip_prefix("ms-")?.split_once('-')?;
        Some(Self { place: place.parse().ok()?, run: run.parse().ok()? })
    }
}

/// What is held, and what systemd has to be told of it.
#[derive(Default)]
pub(super) struct Store {
    /// The names it has, and which descriptors are under them, by place.
    told: BTreeMap<u32, Vec<(Name, u8)>>,
    /// Places it has to be told of; `None`: there is nothing there any more.
    untold: BTreeMap<u32, Option<UnitId>>,
    again_at: Option<Mono>,
}

impl Store {
    /// A store, if systemd offers one (it says so in `$FDSTORE` from version 254 on). `stored` is in it already.
    pub(super) fn offered(stored: &Stored) -> Option<Self> {
        let room = std::env::var("FDSTORE").ok().and_then(|room| room.parse::<u32>().ok()).unwrap_or(0);
        let mut store = Self::default();
        for name in stored.keys() {
            store.told.entry(name.place).or_default().push((*name, 0));
            store.untold.insert(name.place, None);
        }
        (room > 0).then_some(store)
    }

    /// It has to be told how the unit stands.
    pub(super) fn note(&mut self, place: u32, unit: Option<UnitId>) {
        self.untold.insert(place, unit);
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.again_at
    }
}

impl Launcher {
    /// Tells systemd what it does not know; what it cannot take now, later.
    pub(super) fn tend_store(&mut self, now: Mono) {
        let Some(mut store) = self.keeper.store.take() else { return };
        if store.again_at.is_some_and(|at| at > now) {
            self.keeper.store = Some(store);
            return;
        }
        store.again_at = None;
        while let Some(entry) = store.untold.first_entry() {
            let slot = entry.get().as_ref().and_then(|unit| self.slots.get(unit));
            let (fds, there) = slot.map_or_else(Default::default, |slot| slot.fds());
            let which = [fds.pidfd, fds.notify, fds.ready, fds.output].into_iter().enumerate();
            let mask = which.fold(0, |mask, (at, is_there)| mask | u8::from(is_there) << at);
            let wanted = slot.filter(|_| mask != 0).map(|slot| (Name { place: *entry.key(), run: slot.run }, mask));
            let told = store.told.entry(*entry.key()).or_default();
            match self.systemd.keep(told, wanted, &there) {
                Ok(()) => {
                    if told.is_empty() {
                        store.told.remove(entry.key());
                    }
                    entry.remove();
                }
                Err(Errno::AGAIN) => {
                    store.again_at = Some(now + AGAIN);
                    break;
                }
                Err(errno) => {
                    complain(format_args!("cannot use systemd's descriptor store: {errno}; going without"));
                    return;
                }
            }
        }
        self.keeper.store = Some(store);
    }
}

impl super::systemd::Systemd {
    /// Makes what is held the same as what is `wanted`.
    fn keep(&self, told: &mut Vec<(Name, u8)>, wanted: Option<(Name, u8)>, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        while let Some(&(name, _)) = told.last().filter(|&&old| Some(old) != wanted) {
            self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[])?;
            told.pop();
        }
        if let (Some(wanted), true) = (wanted, told.is_empty()) {
            // systemd is not to look at them: it would drop a pidfd as soon as the process has ended.
            self.send(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={}", wanted.0), fds)?;
            told.push(wanted);
        }
        Ok(())
    }
}

/// What was held for the run in the book, as the keeper would give it back. Which is which is seen by its kind.
pub(super) fn returned(stored: &mut Stored, place: u32, record: &Record) -> Option<Packet> {
    let name = Name { place, run: record.run };
    let fds = stored.remove(&name)?;
    let mut packet = Packet { operation: Operation::Keep, place, run: record.run, fds: [const { None }; 4] };
    let [process, notify, ready, output] = &mut packet.fds;
    for fd in fds {
        let Ok(stat) = rustix::fs::fstat(&fd) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => *notify = Some(fd),
            FileType::Fifo if Some(stat.st_ino) == record.output => *output = Some(fd),
            FileType::Fifo => *ready = Some(fd),
            _ => *process = Some(fd),
        }
    }
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = Name { place: 7, run: 1_700_000_000_000 };
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        for bad in ["control", "ms-", "ms-7", "ms-x-1", "ms-7-", "stored"] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}

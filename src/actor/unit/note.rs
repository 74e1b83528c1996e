//! What the launcher remembers of a unit or a supervisor from one brain to the next.

use serde::{Deserialize, Serialize};

use crate::base::time::{Mono, Wall};
use crate::event::{Desired, Wish};
use crate::policy::breaker::BreakerMemory;
use crate::policy::lifecycle::{Memory, StartTimes};
use crate::policy::watch::WatchMemory;

/// The version of the format, the first byte of a note.
const VERSION: u8 = 1;

/// So many restarts of a supervisor are remembered. Should its intensity allow more within its period, the older ones are forgotten when a brain dies.
pub(crate) const COUNTED_MAX: usize = 90;

/// What a new brain has to know and cannot see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The run this was written in.
    pub(crate) run: u64,
    /// Whether that run is ready.
    pub(crate) ready: bool,
    /// Whether an operator keeps it stopped.
    pub(crate) held: bool,
    /// How often it was restarted.
    pub(crate) restarts: u64,
    /// The latest run whose end its brain has dealt with, and whether that end was expected. It may not be written down yet.
    pub(crate) handled: u64,
    pub(crate) expected: bool,
    /// What the unit's life goes on from.
    pub(crate) memory: Memory,
    /// The restarts that count against a supervisor's intensity; of a unit the failures that count for its back-off.
    pub(crate) counted: Vec<Mono>,
    /// What an operator asked last. It follows the rest, so that versions which do not know it read what they know.
    #[serde(skip)]
    pub(crate) wish: Option<Wish>,
    /// What of the breaker of its restarts goes on. It follows the wish, or one that means nothing.
    #[serde(skip)]
    pub(crate) breaker: Option<BreakerMemory>,
    /// It stands still because it may be done without, and not for an operator. It follows the breaker, or one that has seen nothing.
    #[serde(skip)]
    pub(crate) rests: bool,
    /// How long its starts take. It follows that.
    #[serde(skip)]
    pub(crate) start_times: StartTimes,
    /// Where a unit that is only watched stands. It follows that.
    #[serde(skip)]
    pub(crate) watched: Option<WatchedNote>,
    /// The unit is stopped until there is room in its log. This follows `watched`.
    #[serde(skip)]
    pub(crate) has_full_log: bool,
}

/// Where a unit that is only watched stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WatchedNote {
    pub(crate) memory: WatchMemory,
    /// The command line of the oldest process.
    pub(crate) command: String,
}

/// A note of another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read a note of format {0}, mine is {VERSION}: another version of ms-supervisor wrote it")]
pub struct ForeignNote(u8);

impl Note {
    /// Takes note of what an operator asked last.
    pub(crate) fn take_wish(&mut self, wish: Option<Wish>) {
        self.held = wish.as_ref().is_some_and(Wish::is_stop);
        self.wish = wish;
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // A plain struct always encodes; an empty note is the same as none.
        let note = postcard::to_extend(self, vec![VERSION]).unwrap_or_default();
        let no_wish = || Wish { number: 0, desired: Desired::Started, uid: u32::MAX, at: Wall(0), why: None };
        // Why is in the store: here there is little room.
        let wish = self.wish.as_ref().map(|wish| Wish { why: None, ..wish.clone() });
        // What stands behind something that is missing needs something in its place.
        let last = (self.rests, self.start_times, self.watched.clone(), self.has_full_log);
        let last = Some(last).filter(|last| *last != (false, StartTimes::default(), None, false));
        let breaker = self.breaker.clone().or_else(|| last.as_ref().map(|_| BreakerMemory::default()));
        let wish = wish.or_else(|| breaker.as_ref().map(|_| no_wish()));
        append(append(append(note, wish.as_ref()), breaker.as_ref()), last.as_ref())
    }

    /// An empty note tells nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, ForeignNote> {
        match bytes.split_first() {
            None => Ok(Self::default()),
            Some((&VERSION, note)) => {
                let (mut note, rest): (Self, _) = postcard::take_from_bytes(note).map_err(|_| ForeignNote(VERSION))?;
                if !rest.is_empty() {
                    let (wish, rest): (Wish, _) = postcard::take_from_bytes(rest).map_err(|_| ForeignNote(VERSION))?;
                    note.wish = Some(wish).filter(|wish| wish.number > 0);
                    if let Ok((breaker, rest)) = postcard::take_from_bytes(rest) {
                        note.breaker = Some(breaker).filter(|breaker| *breaker != BreakerMemory::default());
                        if let Ok((last, rest)) = postcard::take_from_bytes(rest) {
                            (note.rests, note.start_times, note.watched) = last;
                            // What follows in a later version is of no concern here.
                            note.has_full_log = postcard::from_bytes(rest).unwrap_or_default();
                        }
                    }
                }
                Ok(note)
            }
            Some((&other, _)) => Err(ForeignNote(other)),
        }
    }
}

/// Writes what there is behind a note.
fn append<T: Serialize>(note: Vec<u8>, value: Option<&T>) -> Vec<u8> {
    match value {
        Some(value) => postcard::to_extend(value, note).unwrap_or_default(),
        None => note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::breaker::BreakerState;
    use crate::base::identity::Identity;
    use crate::policy::lifecycle::Phase;

    #[test]
    fn notes_come_back() {
        let memory = Memory { streak: 9, phase: Phase::Stopping(Some(Mono(u64::MAX))) };
        let mut times = StartTimes::default();
        times.came_up(std::time::Duration::MAX);
        let note = Note {
            run: u64::MAX,
            ready: true,
            held: false,
            restarts: u64::MAX,
            handled: u64::MAX,
            expected: true,
            memory,
            counted: vec![Mono(u64::MAX); COUNTED_MAX],
            breaker: Some(BreakerMemory { state: BreakerState::HalfOpen, openings: u32::MAX, row: u32::MAX, until: Some(Mono(u64::MAX)) }),
            rests: true,
            watched: None,
            has_full_log: true,
            wish: Some(Wish { number: u64::MAX, desired: Desired::Stopped, uid: u32::MAX, at: Wall(i64::MIN), why: None }),
            start_times: times,
        };
        let encoded = note.encode();
        assert!(encoded.len() <= crate::launcher::wire::NOTE_MAX, "{}", encoded.len());
        assert_eq!(Note::decode(&encoded), Ok(note.clone()));
        let wordy = Note { wish: note.wish.clone().map(|wish| Wish { why: Some("w".repeat(2000)), ..wish }), ..note.clone() };
        assert_eq!(wordy.encode(), encoded);
        // As an earlier version writes it.
        let resting = Note { wish: None, breaker: None, start_times: StartTimes::default(), ..note.clone() };
        assert_eq!(Note::decode(&resting.encode()), Ok(resting));
        let old = Note { wish: None, breaker: None, rests: false, has_full_log: false, start_times: StartTimes::default(), ..note.clone() };
        assert_eq!(Note::decode(&old.encode()), Ok(old));
        let unasked = Note { wish: None, ..note.clone() };
        assert_eq!(Note::decode(&unasked.encode()), Ok(unasked));
        let unbroken = Note { wish: None, breaker: None, ..note };
        assert_eq!(Note::decode(&unbroken.encode()), Ok(unbroken));
        let process = Some(Identity { started: u64::MAX, pid: u32::MAX });
        let memory = WatchMemory { main: process, youngest: process, gone: Some(Mono(u64::MAX)) };
        let watched = Note { watched: Some(WatchedNote { memory, command: "c".repeat(200) }), restarts: u64::MAX, ..Note::default() };
        assert!(watched.encode().len() <= crate::launcher::wire::NOTE_MAX);
        let decoded = Note::decode(&watched.encode()).unwrap();
        assert_eq!((decoded.watched, decoded.wish), (watched.watched, None));
        assert_eq!(Note::decode(b""), Ok(Note::default()));
        assert_eq!(Note::decode(&[9, 1, 2]), Err(ForeignNote(9)));
    }
}

//! Processes that somebody else starts: which are there, whether that is enough, and what is told of them.
//!
//! A look finds everything that fits, now and then; each of that is pinned, and tells its end by itself, at once. What is pinned cannot be
//! mistaken for a later process of the same number. A unit is *present* while enough are there. When there are too few it is *gone* until there are
//! enough again: one trouble, however many end meanwhile. It is searched *again and again*; nothing is ever done to a process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Machine;
use crate::base::exit::ExitCause;
use crate::base::identity::Identity;
use crate::base::time::Mono;

/// So many processes of one unit are pinned, the oldest first; more are only counted, as of the last look.
pub const PINNED_MAX: usize = 1024;

/// So many that came, and as many that went, are told one by one from look to look; more are told as a number.
pub const TOLD_MAX: usize = 16;

/// In so many looks in a row a process must not fit any more before it is let go: it may be looked at while it becomes something.
const MISSES_MAX: u8 = 2;

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is to be watched.
    Start,
    /// It is not to be watched any more.
    Stop,
    /// So many are needed from now on; `anew`: and others fit.
    Replan {
        /// So many.
        min: u32,
        /// Whether others fit.
        anew: bool,
    },
    /// Everything that fits now.
    Looked(BTreeSet<Identity>),
    /// What came of [`Effect::Pin`]: each with whether it is pinned. If not, it is not there any more, or cannot be.
    Pinned(Vec<(Identity, bool)>),
    /// A process that was pinned has ended.
    Ended(Identity, ExitCause),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look now, not only when the time has come.
    Look,
    /// Pin these.
    Pin(Vec<Identity>),
    /// Tell that this one was found, and so many others.
    Found(Identity, usize),
    /// Tell that this one has ended; without a cause, that it does not fit any more.
    Gone {
        /// Which one.
        process: Identity,
        /// How it ended.
        cause: Option<ExitCause>,
        /// So many are left.
        left: usize,
        /// So many others, that have not been told.
        others: usize,
    },
    /// Enough are there. Tell so, unless it is `known`.
    Present {
        /// How long there were too few, if there were enough before.
        gone: Option<Duration>,
        /// An earlier one of us has told so, and nothing has changed.
        known: bool,
    },
    /// There are too few, after there were enough. Tell so.
    Lost,
    /// It stands elsewhere now.
    Entered(State),
}

/// Where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody wants it watched.
    #[default]
    Stopped,
    /// Enough have not been there yet.
    Searching,
    /// Enough are there.
    Present,
    /// Enough were there.
    Gone,
}

/// What the next one of us has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchMemory {
    /// The oldest process, while enough are there.
    pub main: Option<Identity>,
    /// The youngest that was told of: all that are not younger were.
    pub youngest: Option<Identity>,
    /// Since when there are too few.
    pub gone: Option<Mono>,
}

/// The watch over the processes of one unit.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    min: usize,
    state: State,
    /// Those that are pinned, each with how often in a row it did not fit.
    pinned: BTreeMap<Identity, u8>,
    pending: BTreeSet<Identity>,
    /// How many fit beyond [`PINNED_MAX`].
    beyond: usize,
    /// Since when there are too few.
    gone: Option<Mono>,
    youngest: Option<Identity>,
    /// What is there is not known as a whole, until it was looked for and pinned. Until then nothing is concluded.
    is_blind: bool,
    /// That is, because others fit than before.
    is_anew: bool,
    /// That is, because an earlier one of us has watched.
    memory: Option<WatchMemory>,
    /// How many were told since the last look: that came, and that went.
    told: (usize, usize),
    /// The last that went and was not told, and how many that are.
    untold: Option<(Identity, Option<ExitCause>, usize)>,
}

impl Watch {
    /// Nothing is watched yet; then so many are needed. `memory`: an earlier one of us has watched.
    #[must_use]
    pub fn new(min: u32, memory: Option<WatchMemory>) -> Self {
        Self { min: count(min), memory, ..Self::default() }
    }

    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What the next one of us has to know; nothing, if it is not watched.
    #[must_use]
    pub fn memory(&self) -> Option<WatchMemory> {
        if self.state == State::Stopped || self.memory.is_some() {
            return self.memory;
        }
        let main = self.main().filter(|_| self.state == State::Present);
        Some(WatchMemory { main, youngest: self.youngest, gone: self.gone })
    }

    /// How many are there.
    #[must_use]
    pub fn matches(&self) -> usize {
        self.pinned.len() + self.beyond
    }

    /// The oldest.
    #[must_use]
    pub fn main(&self) -> Option<Identity> {
        self.pinned.keys().next().copied()
    }

    /// Those that are pinned, the oldest first.
    pub fn pinned(&self) -> impl Iterator<Item = Identity> {
        self.pinned.keys().copied()
    }

    /// Whether anything is still to be said of it.
    #[must_use]
    pub fn holds(&self, process: Identity) -> bool {
        let is_untold = self.untold.is_some_and(|(untold, ..)| untold == process);
        is_untold || self.pinned.contains_key(&process) || self.pending.contains(&process)
    }

    fn looked(&mut self, now: Mono, found: &BTreeSet<Identity>, out: &mut Vec<Effect>) {
        self.told = (0, 0);
        if let Some((process, cause, count)) = self.untold.take() {
            out.push(Effect::Gone { process, cause, left: self.matches(), others: count - 1 });
        }
        self.let_go(found, out);
        let is_new = |process: &&Identity| !self.pinned.contains_key(process) && !self.pending.contains(process);
        let mut fresh: Vec<Identity> = found.iter().filter(is_new).copied().collect();
        let room = PINNED_MAX.saturating_sub(self.pinned.len() + self.pending.len());
        self.beyond = fresh.len().saturating_sub(room);
        fresh.truncate(room);
        if !fresh.is_empty() {
            self.pending.extend(&fresh);
            out.push(Effect::Pin(fresh));
        }
        self.settle(now, out);
    }

    /// Those that have become something else are of no concern any more.
    fn let_go(&mut self, found: &BTreeSet<Identity>, out: &mut Vec<Effect>) {
        let misses_max = if self.is_anew { 1 } else { MISSES_MAX };
        let mut missed = Vec::new();
        for (&process, misses) in &mut self.pinned {
            *misses = if found.contains(&process) { 0 } else { *misses + 1 };
            if *misses >= misses_max {
                missed.push(process);
            }
        }
        for process in missed {
            self.pinned.remove(&process);
            if !self.is_anew {
                self.tell_gone(process, None, out);
            }
        }
    }

    fn pinned_now(&mut self, now: Mono, answers: &[(Identity, bool)], out: &mut Vec<Effect>) {
        let known = self.memory.and_then(|memory| memory.youngest);
        let mut fresh = Vec::new();
        for (process, is_pinned) in answers {
            if self.pending.remove(process) && *is_pinned {
                self.pinned.insert(*process, 0);
                self.youngest = self.youngest.max(Some(*process));
                if known < Some(*process) {
                    fresh.push(*process);
                }
            }
        }
        let (told, rest) = fresh.split_at(fresh.len().min(TOLD_MAX.saturating_sub(self.told.0)));
        self.told.0 += told.len();
        for (at, process) in told.iter().enumerate() {
            out.push(Effect::Found(*process, if at + 1 == told.len() { rest.len() } else { 0 }));
        }
        self.settle(now, out);
    }

    fn ended(&mut self, now: Mono, process: Identity, cause: ExitCause, out: &mut Vec<Effect>) {
        if self.pinned.remove(&process).is_none() {
            return;
        }
        self.tell_gone(process, Some(cause), out);
        self.conclude(now, out);
        // Whoever starts it may have another one already, and one that was only counted may take its place.
        if self.state != State::Present || self.beyond > 0 {
            out.push(Effect::Look);
        }
    }

    fn tell_gone(&mut self, process: Identity, cause: Option<ExitCause>, out: &mut Vec<Effect>) {
        let decides = self.state == State::Present && !self.has_enough();
        let untold = self.untold.take().map_or(0, |(.., count)| count);
        if self.told.1 < TOLD_MAX || decides {
            self.told.1 += 1;
            out.push(Effect::Gone { process, cause, left: self.matches(), others: untold });
        } else {
            self.untold = Some((process, cause, untold + 1));
        }
    }

    fn has_enough(&self) -> bool {
        !self.pinned.is_empty() && self.matches() >= self.min
    }

    /// It was looked for: once everything is pinned, what is there is known.
    fn settle(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.pending.is_empty() && std::mem::take(&mut self.is_blind) {
            if let Some(memory) = self.memory.take() {
                self.resume(&memory, out);
            }
            if std::mem::take(&mut self.is_anew) {
                self.search_on(out);
            }
        }
        self.conclude(now, out);
    }

    fn conclude(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.is_blind {
            return;
        }
        match (self.state, self.has_enough()) {
            (State::Searching | State::Gone, true) => {
                let gone = self.gone.take().map(|since| now - since);
                self.enter(State::Present, out);
                out.push(Effect::Present { gone, known: false });
            }
            (State::Present, false) => {
                self.gone = Some(now);
                self.enter(State::Gone, out);
                out.push(Effect::Lost);
            }
            (State::Stopped, _) | (State::Searching | State::Gone, false) | (State::Present, true) => {}
        }
    }

    /// What is missing now because somebody has changed what is wanted is no trouble.
    fn search_on(&mut self, out: &mut Vec<Effect>) {
        if self.state == State::Present && !self.has_enough() {
            self.enter(State::Searching, out);
        }
    }

    /// Goes on where an earlier one stood.
    fn resume(&mut self, memory: &WatchMemory, out: &mut Vec<Effect>) {
        self.youngest = self.youngest.max(memory.youngest);
        self.gone = memory.gone;
        match memory.main {
            Some(main) => {
                if !self.pinned.contains_key(&main) {
                    // Nobody has seen how.
                    out.push(Effect::Gone { process: main, cause: Some(ExitCause::Unknown), left: self.matches(), others: 0 });
                }
                self.state = State::Present;
                if self.has_enough() {
                    out.extend([Effect::Entered(State::Present), Effect::Present { gone: None, known: true }]);
                }
            }
            None if self.gone.is_some() => self.enter(State::Gone, out),
            None => {}
        }
    }

    fn enter(&mut self, state: State, out: &mut Vec<Effect>) {
        self.state = state;
        out.push(Effect::Entered(state));
    }

    fn replan(&mut self, now: Mono, min: u32, anew: bool, out: &mut Vec<Effect>) {
        self.min = count(min);
        match (self.state, anew) {
            (State::Stopped, _) => self.memory = self.memory.filter(|_| !anew),
            (State::Searching | State::Present | State::Gone, true) => {
                // What is asked for now is not waited for.
                self.pending.clear();
                (self.is_blind, self.is_anew) = (true, true);
                out.push(Effect::Look);
            }
            (State::Searching | State::Present | State::Gone, false) => {
                self.search_on(out);
                self.conclude(now, out);
            }
        }
    }
}

impl Machine for Watch {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Mono, input: Input, out: &mut Vec<Effect>) {
        match (self.state, input) {
            (State::Stopped, Input::Start) => {
                self.is_blind = self.memory.is_some();
                self.enter(State::Searching, out);
                out.push(Effect::Look);
            }
            (_, Input::Stop) => {
                *self = Self { min: self.min, ..Self::default() };
                self.enter(State::Stopped, out);
            }
            (_, Input::Replan { min, anew }) => self.replan(now, min, anew, out),
            (State::Searching | State::Present | State::Gone, Input::Looked(found)) => self.looked(now, &found, out),
            (State::Searching | State::Present | State::Gone, Input::Pinned(answers)) => self.pinned_now(now, &answers, out),
            (State::Searching | State::Present | State::Gone, Input::Ended(process, cause)) => self.ended(now, process, cause, out),
            // It is watched already, or not any more.
            (State::Searching | State::Present | State::Gone, Input::Start)
            | (State::Stopped, Input::Looked(_) | Input::Pinned(_) | Input::Ended(..)) => {}
        }
    }

    /// It only waits for what it is told.
    fn deadline(&self) -> Option<Mono> {
        None
    }

    fn wake(&mut self, _now: Mono, _out: &mut Vec<Effect>) {}
}

fn count(min: u32) -> usize {
    usize::try_from(min).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests;

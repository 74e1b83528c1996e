//! Processes the kernel has killed because memory was short: whose they were, and where it was short.

use std::path::Path;
use std::time::Duration;

use super::{Limits, State};
use crate::actor::context::Context;
use crate::base::exit::{ExitCause, Signal};
use crate::base::id::UnitId;
use crate::event::{Event, OomKilled, OomPlace, OomVictim};
use crate::os::clock;
use crate::os::kmsg::Kill;
use crate::os::usage::{self, Hits};

/// An end so soon after a kill is because of that, even if it was not by that.
pub(super) const LATELY: Duration = Duration::from_secs(5);

/// So many kills are remembered until it is known whose they were.
const KILLS_MAX: usize = 256;

impl Limits {
    /// The main process of a unit has ended: why that is because memory was short, if it is. Two small files of the kernel are read, which never wait.
    pub(crate) fn exited(&self, context: &Context, unit: &UnitId, cause: ExitCause) -> Option<String> {
        let cgroup = self.cgroup(unit.as_str())?;
        let was_killed = matches!(cause, ExitCause::Signal { signal: Signal::KILL, .. });
        if let Ok(hits) = usage::hits(&cgroup) {
            let killed = {
                let mut state = self.state();
                let standing = state.standings.get_mut(unit.as_str())?;
                // What an earlier brain has told is not known; of a process that was killed it is taken that this is the reason.
                let before = standing.hits.or_else(|| was_killed.then(Hits::default)).unwrap_or(hits);
                let hits = hits.not_before(before);
                standing.hits = Some(hits);
                self.note_kills(&mut state, unit, &cgroup, hits.oom_kills - before.oom_kills)
            };
            killed.into_iter().for_each(|killed| drop(tell_kills(context, killed)));
        }
        self.killed_lately(unit.as_str())
    }

    /// So many processes of a unit were killed since that was looked at last. This and the new counts belong under one lock: then a kill is told once,
    /// and whoever comes second finds why.
    pub(super) fn note_kills(&self, state: &mut State, unit: &UnitId, cgroup: &Path, count: u64) -> Option<OomKilled> {
        if count == 0 {
            return None;
        }
        if let Ok(log) = &self.log {
            state.kills.extend(log.kills());
            let surplus = state.kills.len().saturating_sub(KILLS_MAX);
            state.kills.drain(..surplus);
        }
        let kill = self.take_kill(state, cgroup);
        let short = kill.as_ref().map_or(OomPlace::Unknown, |kill| self.place(kill, cgroup));
        let unknown = match (&kill, &self.log) {
            (Some(_), _) => None,
            (None, Err(why)) => Some(why.clone()),
            (None, Ok(_)) => Some("the kernel's log does not say which".into()),
        };
        let victim = kill.map(|kill| OomVictim { pid: kill.pid, name: kill.name });
        let memory = usage::used(cgroup).ok().and_then(|used| used.memory_peak);
        let killed = OomKilled { unit: unit.clone(), victim, unknown, count, short, memory };
        if let Some(standing) = state.standings.get_mut(unit.as_str()) {
            standing.killed = Some((clock::mono(), killed.text()));
        }
        Some(killed)
    }

    /// The last kill in this cgroup; all of them are accounted for then.
    fn take_kill(&self, state: &mut State, cgroup: &Path) -> Option<Kill> {
        let own = self.below_base(cgroup.to_str()?)?;
        let is_own = |kill: &Kill| self.below_base(&kill.cgroup).is_some_and(|place| is_within(place, own));
        let last = state.kills.iter().rev().find(|kill| is_own(kill)).cloned();
        state.kills.retain(|kill| !is_own(kill));
        last
    }

    /// Where memory was short.
    fn place(&self, kill: &Kill, cgroup: &Path) -> OomPlace {
        let Some(limited) = &kill.limited else { return OomPlace::Host };
        let own = cgroup.to_str().and_then(|path| self.below_base(path)).unwrap_or_default();
        match self.below_base(limited) {
            Some(place) if is_within(place, own) => OomPlace::Unit,
            Some(place) => {
                let name = place.rsplit('/').next().and_then(|name| name.strip_suffix(":supervisor"));
                OomPlace::Above(name.unwrap_or("root").to_owned())
            }
            None => OomPlace::Above(limited.clone()),
        }
    }

    /// The part of a cgroup's path below the one in which all of ours are. The kernel's log, and what is mounted here, may begin at different places.
    fn below_base<'a>(&self, path: &'a str) -> Option<&'a str> {
        let base = self.base.as_ref()?.file_name()?.to_str()?;
        let (_, below) = path.split_once(base)?;
        Some(below.trim_start_matches('/'))
    }
}

/// Tells of kills that were noted; a sentence about them.
pub(super) fn tell_kills(context: &Context, killed: OomKilled) -> String {
    let why = killed.text();
    context.view.change_unit(killed.unit.as_str(), |status| status.counters.oom_kills += killed.count);
    context.bus.tell(Event::OomKilled(killed));
    why
}

fn is_within(place: &str, own: &str) -> bool {
    place.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::controllers::{Absence, Controllers};

    #[test]
    fn a_kill_is_told_by_the_cgroup_it_was_in() {
        let limits = Limits::new(Controllers::none(&Absence::Unwanted), Some("/sys/fs/cgroup/s/ms-supervisor-1f".into()));
        let kill = |cgroup: &str, limited: Option<&str>| Kill {
            pid: 7,
            name: "x".into(),
            cgroup: format!("/s/ms-supervisor-1f/{cgroup}"),
            limited: limited.map(str::to_owned),
        };
        let own = Path::new("/sys/fs/cgroup/s/ms-supervisor-1f/w:supervisor/a:1");
        let inside = "w:supervisor/a:1/below";
        let place = |limited: Option<&str>| limits.place(&kill(inside, limited), own);
        assert_eq!(place(None), OomPlace::Host);
        assert_eq!(place(Some("/s/ms-supervisor-1f/w:supervisor/a:1")), OomPlace::Unit);
        assert_eq!(place(Some("/s/ms-supervisor-1f/w:supervisor")), OomPlace::Above("w".into()));
        assert_eq!(place(Some("/s/ms-supervisor-1f")), OomPlace::Above("root".into()));
        assert_eq!(place(Some("/s")), OomPlace::Above("/s".into()));
        let mut state = State::default();
        state.kills.extend([kill("w:supervisor/a:10", None), kill(inside, None), kill("w:supervisor/a:1", None)]);
        assert!(limits.take_kill(&mut state, own).is_some_and(|kill| kill.cgroup.ends_with("a:1")));
        assert_eq!(state.kills.len(), 1, "another unit's is left");
        assert_eq!(limits.take_kill(&mut state, own), None);
    }
}

//! What the kernel says by itself of the places that are limited, and which of them are to be looked at because of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Limits;
use super::watch::Place;
use crate::base::time::Mono;
use crate::os::alarm::{Alarm, Alarms, Line, Sources};
use crate::os::clock;
use crate::policy::Machine as _;
use crate::policy::spacing::Spacing;

/// So many units and supervisors are heard, at up to three descriptors each; others are looked at once a second only.
const HEARD_MAX: usize = 1024;

/// Of so many the kernel says that they wait for memory; of others the looks find it. As root each has a thread of the kernel, and takes it 10 ms to
/// end: that is waited for whenever a cgroup is removed or the brain ends.
const PRESSURE_MAX: usize = 16;

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Heard {
    /// There are other places.
    Placed,
    /// Something was counted there.
    Counted(String),
    /// It waits for memory.
    Waits(String),
}

/// What is to be looked at, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Which places there are.
    pub(super) is_placed: bool,
    pub(super) names: BTreeSet<String>,
    /// Those of them that wait for memory.
    pub(super) waiting: BTreeSet<String>,
}

impl Due {
    fn of(heard: Vec<Heard>) -> Self {
        let mut due = Self::default();
        for heard in heard {
            match heard {
                Heard::Placed => due.is_placed = true,
                Heard::Counted(name) => drop(due.names.insert(name)),
                Heard::Waits(name) => {
                    due.waiting.insert(name.clone());
                    due.names.insert(name);
                }
            }
        }
        due
    }
}

/// One place that is heard.
struct Known {
    number: u64,
    cgroup: PathBuf,
    /// What is to be heard.
    sources: Sources,
    /// What of it is, if the kernel has it.
    granted: Sources,
    line: Line,
}

/// All of them.
pub(super) struct Hearing {
    alarms: Option<Arc<Alarms>>,
    /// By name.
    known: BTreeMap<String, Known>,
    /// Of each number the name. A number is never used again: an alarm may be older than what it is for.
    names: BTreeMap<u64, String>,
    last: u64,
    spacing: Spacing<Heard>,
}

impl Hearing {
    pub(super) fn new() -> Self {
        let alarms = Alarms::new().inspect_err(|fault| tracing::warn!("that a limit is reached is seen once a second only: {fault}"));
        Self { alarms: alarms.ok().map(Arc::new), known: BTreeMap::new(), names: BTreeMap::new(), last: 0, spacing: Spacing::default() }
    }

    /// Waits until something is to be looked at. If the future is dropped before, nothing is lost.
    pub(super) async fn due(&mut self, limits: &Limits) -> Due {
        loop {
            let deadline = self.spacing.deadline();
            let heard = tokio::select! {
                alarms = next(self.alarms.as_deref()) => {
                    limits.alarms.fetch_add(alarms.len() as u64, Ordering::Relaxed);
                    alarms.into_iter().filter_map(|alarm| self.heard(alarm)).collect()
                }
                () = limits.placed.notified(), if self.alarms.is_some() => vec![Heard::Placed],
                () = until(deadline) => Vec::new(),
            };
            let mut out = Vec::new();
            self.spacing.step(clock::mono(), heard, &mut out);
            if !out.is_empty() {
                return Due::of(out);
            }
        }
    }

    fn heard(&self, alarm: Alarm) -> Option<Heard> {
        let name = self.names.get(&alarm.number)?.clone();
        Some(if alarm.is_pressure { Heard::Waits(name) } else { Heard::Counted(name) })
    }

    /// Whether the kernel says by itself that something waits for memory there.
    pub(super) fn hears_pressure(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|known| known.line.hears_pressure())
    }

    /// Hears these places and no others. Those that are new, and have to be looked at: what has happened before is not heard.
    pub(super) async fn tune(&mut self, places: &[Place]) -> BTreeSet<String> {
        let Some(alarms) = self.alarms.clone() else { return BTreeSet::new() };
        let gone = self.leave(places);
        let missing = self.missing(places);
        if gone.is_empty() && missing.is_empty() {
            return BTreeSet::new();
        }
        let opened = tokio::task::spawn_blocking(move || {
            gone.into_iter().for_each(|known| known.line.close());
            let listen = |known: &Known| alarms.listen(known.number, &known.cgroup, known.granted);
            missing.into_iter().map(|(name, known)| (name, Known { line: listen(&known), ..known })).collect::<Vec<_>>()
        });
        let opened = opened.await.unwrap_or_default();
        let new = opened.iter().map(|(name, _)| name.clone()).collect();
        for (name, known) in opened {
            self.names.insert(known.number, name.clone());
            self.known.insert(name, known);
        }
        new
    }

    /// What is not to be heard any more, or otherwise.
    fn leave(&mut self, places: &[Place]) -> Vec<Known> {
        let places: BTreeMap<&str, &Place> = places.iter().map(|place| (place.name.as_str(), place)).collect();
        let stays = |name: &str, known: &Known| {
            places.get(name).is_some_and(|place| place.cgroup == known.cgroup && place.sources == known.sources && place.sources.any())
        };
        let (stay, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.known).into_iter().partition(|(name, known)| stays(name, known));
        self.known = stay;
        gone.values().for_each(|known| drop(self.names.remove(&known.number)));
        gone.into_values().collect()
    }

    /// What is to be heard and is not, as far as there is room.
    fn missing(&mut self, places: &[Place]) -> Vec<(String, Known)> {
        let mut pressure = PRESSURE_MAX.saturating_sub(self.known.values().filter(|known| known.granted.pressure).count());
        let room = HEARD_MAX.saturating_sub(self.known.len());
        let mut missing = Vec::new();
        for place in places.iter().filter(|place| place.sources.any() && !self.known.contains_key(&place.name)).take(room) {
            let sources = place.sources;
            let granted = Sources { pressure: sources.pressure && pressure > 0, ..sources };
            pressure -= usize::from(granted.pressure);
            self.last += 1;
            let (number, cgroup) = (self.last, place.cgroup.clone());
            missing.push((place.name.clone(), Known { number, cgroup, sources, granted, line: Line::default() }));
        }
        missing
    }
}

async fn next(alarms: Option<&Alarms>) -> Vec<Alarm> {
    match alarms {
        Some(alarms) => alarms.next().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Mono>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(clock::mono())).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Sources = Sources { memory: true, tasks: true, pressure: true };

    fn place(name: &str, run: u32, sources: Sources) -> Place {
        let mut place = Place::of(name, sources);
        place.cgroup = format!("/no/such/{name}:{run}").into();
        place
    }

    fn names<'a>(heard: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
        heard.into_iter().map(String::as_str).collect()
    }

    #[test]
    fn what_is_heard_together_is_looked_at_once() {
        let due = Due::of(vec![Heard::Counted("a".into()), Heard::Waits("a".into()), Heard::Waits("b".into())]);
        assert_eq!((names(&due.names), names(&due.waiting), due.is_placed), (vec!["a", "b"], vec!["a", "b"], false));
        assert!(Due::of(vec![Heard::Placed]).is_placed);
    }

    #[tokio::test]
    async fn places_come_and_go() {
        let mut hearing = Hearing::new();
        let tasks = Sources { tasks: true, ..Sources::default() };
        let mut places = vec![place("a", 1, ALL), place("b", 1, tasks), place("c", 1, Sources::default())];
        assert_eq!(names(&hearing.tune(&places).await), ["a", "b"]);
        assert_eq!(names(&hearing.tune(&places).await), [""; 0]);
        let of_a = Alarm { number: hearing.known["a"].number, is_pressure: true };
        assert_eq!(hearing.heard(of_a), Some(Heard::Waits("a".into())));
        places[0] = place("a", 2, ALL);
        places[1] = place("b", 1, ALL);
        places[2] = place("c", 1, tasks);
        assert_eq!(names(&hearing.tune(&places).await), ["a", "b", "c"], "another run, other limits, limits at all");
        assert_eq!(hearing.heard(of_a), None, "that was the run before");
        assert!(!hearing.hears_pressure("a"), "there is no such cgroup");
        places.clear();
        assert_eq!(names(&hearing.tune(&places).await), [""; 0]);
        assert!(hearing.known.is_empty() && hearing.names.is_empty());
    }

    #[tokio::test]
    async fn there_is_an_end_to_it() {
        let mut hearing = Hearing::new();
        let places: Vec<_> = (0..HEARD_MAX + 9).map(|number| place(&format!("u{number:05}"), 1, ALL)).collect();
        assert_eq!(hearing.tune(&places).await.len(), HEARD_MAX);
        assert_eq!(hearing.known.values().filter(|known| known.granted.pressure).count(), PRESSURE_MAX);
        assert_eq!(hearing.tune(&places[20..]).await.len(), 9, "others have gone");
        assert_eq!(hearing.known.values().filter(|known| known.granted.pressure).count(), 9, "who is heard already is not asked again");
    }
}

//! What users say goes wrong: `web exits 1 every 3s`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::exit::{ExitCause, Signal};
use crate::base::id::UnitId;
use crate::base::time::parse_duration;
use crate::plan::Plan;

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// A unit, or a unit with instances.
    pub(crate) unit: String,
    what: What,
    times: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Ends(ExitCause, When),
    FailsToStart,
    NeverReady,
    Hangs,
}

/// When a unit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// So long after the beginning.
    At(Duration),
    /// Again and again.
    Every(Duration),
    /// When it has been active for so long.
    After(Duration),
}

/// An end that is to come, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) cause: ExitCause,
    pub(super) when: When,
    /// How often yet.
    pub(super) left: u32,
}

/// What goes wrong with one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Troubles {
    pub(super) ends: Vec<End>,
    /// How many starts fail yet.
    pub(super) failing: u32,
    /// How many times it does not get ready yet.
    pub(super) unready: u32,
    pub(super) hangs: bool,
}

/// Everything that goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script(BTreeMap<UnitId, Troubles>);

const ALLOWED: &str =
    "write `UNIT exits CODE`, `UNIT killed by SIGNAL`, `UNIT fails to start`, `UNIT never gets ready` or `UNIT hangs when stopped`";

impl Script {
    /// Reads a sentence.
    pub(crate) fn parse(text: &str) -> Result<Sentence, String> {
        let mut words = text.split_whitespace();
        let unit = words.next().ok_or(ALLOWED)?.to_owned();
        let mut rest: Vec<&str> = words.collect();
        let times = match rest[..] {
            [.., number, "times" | "time"] => {
                rest.truncate(rest.len() - 2);
                let times = number.parse().ok().filter(|times| *times > 0);
                Some(times.ok_or_else(|| format!("`{number}` is no number of times; write for example `3 times`"))?)
            }
            _ => None,
        };
        let what = match rest[..] {
            ["exits", code, ref when @ ..] => {
                let code: u8 = code.parse().map_err(|_| format!("`{code}` is no exit code; they are 0 to 255"))?;
                What::Ends(ExitCause::Code(code.into()), moment(when)?)
            }
            ["killed", "by", signal, ref when @ ..] | ["is", "killed", "by", signal, ref when @ ..] => {
                let signal = Signal::parse(signal).ok_or_else(|| format!("there is no signal `{signal}`; write for example `SIGKILL`"))?;
                What::Ends(ExitCause::Signal { signal, core: false }, moment(when)?)
            }
            ["fails", "to", "start"] => What::FailsToStart,
            ["never", "gets", "ready"] => What::NeverReady,
            ["hangs", "when", "stopped"] if times.is_none() => What::Hangs,
            _ => return Err(ALLOWED.into()),
        };
        Ok(Sentence { unit, what, times })
    }

    /// Takes a sentence over for the unit or the instances it names; false if there are none.
    pub(crate) fn add(&mut self, plan: &Plan, sentence: &Sentence) -> bool {
        let named =
            |id: &&UnitId| id.as_str() == sentence.unit || id.as_str().split_once('@').is_some_and(|(unit, _)| unit == sentence.unit);
        let units: Vec<_> = plan.units.keys().filter(named).cloned().collect();
        let times = sentence.times.unwrap_or(u32::MAX);
        for unit in &units {
            let troubles = self.0.entry(unit.clone()).or_default();
            match sentence.what {
                What::Ends(cause, when) => {
                    let left = if matches!(when, When::At(_)) { 1 } else { times };
                    troubles.ends.push(End { cause, when, left });
                }
                What::FailsToStart => troubles.failing = times,
                What::NeverReady => troubles.unready = times,
                What::Hangs => troubles.hangs = true,
            }
        }
        !units.is_empty()
    }

    /// What goes wrong with a unit.
    pub(super) fn of(&self, unit: &UnitId) -> Troubles {
        self.0.get(unit).cloned().unwrap_or_default()
    }
}

fn moment(words: &[&str]) -> Result<When, String> {
    let positive = |text: &str| match parse_duration(text)? {
        Duration::ZERO => Err(format!("`{text}` is no time at all")),
        time => Ok(time),
    };
    match words {
        [] => Ok(When::After(Duration::from_secs(1))),
        ["at", time] => Ok(When::At(parse_duration(time)?)),
        ["every", time] => Ok(When::Every(positive(time)?)),
        ["after", time] | ["after", time, "of", "being", "active"] => Ok(When::After(positive(time)?)),
        other => Err(format!("`{}` is no time; write `at T`, `every T` or `after T`, and then `N times`", other.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_read() {
        for text in [
            "web exits 1",
            "web exits 0 every 3s",
            "web killed by SIGKILL at 2m",
            "web exits 1 after 500ms of being active 4 times",
            "web fails to start 3 times",
            "web never gets ready",
            "web hangs when stopped",
        ] {
            assert!(Script::parse(text).is_ok_and(|sentence| sentence.unit == "web"), "{text}");
        }
        for (text, error) in [
            ("", "write `UNIT exits CODE`"),
            ("web", "write `UNIT exits CODE`"),
            ("web exits", "write `UNIT exits CODE`"),
            ("web exits 256", "`256` is no exit code"),
            ("web exits 1 every 0s", "`0s` is no time at all"),
            ("web exits 1 every 3", "`3` has no unit"),
            ("web exits 1 soon", "`soon` is no time"),
            ("web exits 1 every 3s 0 times", "`0` is no number of times"),
            ("web killed by SIGFOO", "there is no signal `SIGFOO`"),
        ] {
            let found = Script::parse(text).unwrap_err();
            assert!(found.starts_with(error), "{text}: {found}");
        }
    }
}

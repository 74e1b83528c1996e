//! Something that happens again and again is told once, and once that it is over: a thousand refused forks are one incident.

use std::time::Duration;

use crate::base::time::Mono;

/// It is over when it has not happened for so long.
const QUIET: Duration = Duration::from_secs(10);

/// A kind of thing that happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Episode {
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Running {
    began: Mono,
    last: Mono,
    count: u64,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has begun.
    Begun,
    /// It is over.
    Over {
        /// How often it has happened.
        count: u64,
        /// From the first time to the last.
        after: Duration,
    },
}

impl Episode {
    /// It has happened `times` since it was looked at last.
    pub fn seen(&mut self, now: Mono, times: u64) -> Option<Turn> {
        match &mut self.running {
            None if times == 0 => None,
            None => {
                self.running = Some(Running { began: now, last: now, count: times });
                Some(Turn::Begun)
            }
            Some(running) if times > 0 => {
                (running.last, running.count) = (now, running.count.saturating_add(times));
                None
            }
            Some(running) if now.since(running.last) >= QUIET => {
                let turn = Turn::Over { count: running.count, after: running.last.since(running.began) };
                self.running = None;
                Some(turn)
            }
            Some(_) => None,
        }
    }

    /// Whether it goes on.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_told_once_and_once_that_it_is_over() {
        let at = |second: u64| Mono(0) + Duration::from_secs(second);
        let mut episode = Episode::default();
        assert_eq!(episode.seen(at(0), 0), None);
        assert_eq!(episode.seen(at(1), 500), Some(Turn::Begun));
        for second in 2..20 {
            assert_eq!(episode.seen(at(second), second % 5), None, "{second}");
        }
        assert!(episode.is_running());
        let count = 500 + (2..20).map(|second| second % 5).sum::<u64>();
        assert_eq!(episode.seen(at(28), 0), None);
        assert_eq!(episode.seen(at(29), 0), Some(Turn::Over { count, after: Duration::from_secs(18) }));
        assert_eq!(episode.seen(at(30), 0), None);
        assert_eq!(episode.seen(at(31), 1), Some(Turn::Begun));
    }
}

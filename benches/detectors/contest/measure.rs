//! How good a detector is, in the terms of Chen, Toueg and Aguilera ("On the quality of service of failure detectors", IEEE ToC 51(5), 2002).

use ms_supervisor::base::rng::Rng;

use super::rivals::{Judge, Who};
use super::traces::{Beat, PERIOD, seconds};

/// The beats at the beginning of a trace that are only listened to.
const WARM_UP: usize = 300;

/// What a detector made of some traces. Times in seconds.
#[derive(Default)]
pub(crate) struct Score {
    /// How long each crash took to be found. One is imagined after every beat, at a random point of the period.
    pub(crate) detection: Vec<f64>,
    pub(crate) mistakes: u32,
    /// How long it was mistaken altogether.
    mistaken: f64,
    watched: f64,
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of beats are small")]
impl Score {
    pub(crate) fn mean_detection(&self) -> f64 {
        self.detection.iter().sum::<f64>() / self.detection.len().max(1) as f64
    }

    /// The detection time that so large a part of all does not exceed. To be called when all is in.
    pub(crate) fn detection_at(&mut self, part: f64) -> f64 {
        self.detection.sort_by(f64::total_cmp);
        let last = self.detection.len().saturating_sub(1);
        self.detection.get((part * last as f64).round() as usize).copied().unwrap_or_default()
    }

    /// Mistakes per 3600 beats of one sender.
    pub(crate) fn mistakes_per_hour(&self) -> f64 {
        f64::from(self.mistakes) * 3600.0 / self.detection.len().max(1) as f64
    }

    pub(crate) fn mean_mistake(&self) -> f64 {
        self.mistaken / f64::from(self.mistakes.max(1))
    }

    /// The probability that the answer at a random time is right.
    pub(crate) fn accuracy(&self) -> f64 {
        1.0 - self.mistaken / self.watched.max(PERIOD)
    }
}

/// Lets `who` listen to every trace, each from the beginning.
pub(crate) fn score(who: Who, parameter: f64, traces: &[Vec<Beat>]) -> Score {
    let mut score = Score::default();
    for trace in traces {
        listen(&mut *who.judge(parameter), trace, &mut score);
    }
    score
}

fn listen(judge: &mut dyn Judge, trace: &[Beat], score: &mut Score) {
    let mut rng = Rng::derive(1, &["crash"]);
    let mut mistaken_since = None;
    for (number, beat) in (0_u64..).zip(trace) {
        let counts = number >= WARM_UP as u64;
        if let Some(heard) = beat.heard {
            if let Some(due) = judge.deadline().filter(|due| number > 0 && *due <= heard && mistaken_since.is_none()) {
                mistaken_since = Some(due);
                score.mistakes += u32::from(counts);
            }
            judge.beat(heard, number);
            if judge.deadline().is_some()
                && let Some(since) = mistaken_since.take()
                && counts
            {
                score.mistaken += seconds(heard) - seconds(since);
            }
        }
        if counts {
            let crash = seconds(beat.sent) + rng.unit() * PERIOD;
            // Who suspects already has found it at once.
            score.detection.push(judge.deadline().map_or(0.0, |due| (seconds(due) - crash).max(0.0)));
        }
    }
    if let (Some(first), Some(last)) = (trace.get(WARM_UP), trace.last()) {
        score.watched += seconds(last.sent) - seconds(first.sent);
    }
}

/// The parameter with which `who` finds crashes after `target` seconds on average, and what comes of it. None if no parameter does.
pub(crate) fn tuned(who: Who, target: f64, traces: &[Vec<Beat>]) -> Option<(f64, Score)> {
    let (mut below, mut above) = who.range();
    for _ in 0..36 {
        let middle = f64::midpoint(below, above);
        if score(who, middle, traces).mean_detection() < target {
            below = middle;
        } else {
            above = middle;
        }
    }
    let found = score(who, above, traces);
    ((found.mean_detection() - target).abs() < 0.01 * target).then_some((above, found))
}

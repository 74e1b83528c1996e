//! The detectors that compete. Each has one parameter that is free.

use std::collections::VecDeque;
use std::time::Duration;

use ms_supervisor::base::time::Mono;
use ms_supervisor::policy::detector::{Detector, DetectorPlan, Kind, normal};

use super::traces::{PERIOD, at, seconds};

/// Whoever listens to beats and says until when it waits. None: it suspects.
pub(crate) trait Judge {
    fn beat(&mut self, now: Mono, number: u64);
    fn deadline(&self) -> Option<Mono>;
}

/// Those who compete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The same silence for all.
    Timeout,
    /// Akka's formula with its window of 1000, its first guess, and its floor of 100 ms per second of the period.
    Akka,
    /// The same with our floor of 10 ms, to tell what the floor alone does.
    AkkaLow,
    /// Chen's, with a window of 200 arrivals, anchored anew after each mistake.
    Chen,
    /// Ours by phi, without a pause: the threshold alone decides.
    Ours,
    /// Ours by phi, with its default threshold: the pause decides.
    OursPause,
    /// Ours by expected arrivals.
    OursChen,
}

impl Who {
    pub(crate) const ALL: [Self; 7] = [Self::Timeout, Self::Akka, Self::AkkaLow, Self::Chen, Self::Ours, Self::OursPause, Self::OursChen];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Akka => "akka",
            Self::AkkaLow => "akka, floor 1%",
            Self::Chen => "chen",
            Self::Ours => "ours",
            Self::OursPause => "ours, pause",
            Self::OursChen => "ours, chen",
        }
    }

    /// Where its parameter is looked for: seconds, or standard deviations for those that have a threshold of phi. The deviation is as good as
    /// the threshold, since either is a function of the other, and it spares Akka's formula its infinity.
    pub(crate) const fn range(self) -> (f64, f64) {
        match self {
            Self::Timeout => (0.0, 30.0),
            Self::Chen | Self::OursChen | Self::OursPause => (0.0, 20.0),
            Self::Akka => (-2.0, 300.0),
            Self::AkkaLow | Self::Ours => (-2.0, 3000.0),
        }
    }

    pub(crate) fn judge(self, parameter: f64) -> Box<dyn Judge> {
        let plan = DetectorPlan::every(Duration::from_secs_f64(PERIOD));
        let duration = Duration::from_secs_f64(parameter.max(0.0));
        let ours = |plan: DetectorPlan| -> Box<dyn Judge> { Box::new(Detector::new(plan, Mono(0))) };
        match self {
            Self::Timeout => Rival::boxed(Timeout { silence: parameter, last: 0.0 }),
            Self::Akka => Rival::boxed(Akka { deviations: parameter, floor: 0.1 * PERIOD, ..Akka::default() }),
            Self::AkkaLow => Rival::boxed(Akka { deviations: parameter, floor: 0.01 * PERIOD, ..Akka::default() }),
            Self::Chen => Rival::boxed(Chen { margin: parameter, ..Chen::default() }),
            Self::Ours => {
                let kind = Kind::Phi { threshold: normal::phi(parameter) };
                ours(DetectorPlan { kind, pause: Duration::ZERO, ..plan })
            }
            Self::OursPause => ours(DetectorPlan { pause: duration, ..plan }),
            Self::OursChen => ours(DetectorPlan { kind: Kind::Chen { margin: duration }, ..plan }),
        }
    }
}

impl Judge for Detector {
    fn beat(&mut self, now: Mono, number: u64) {
        Self::beat(self, now, Some(number));
    }

    fn deadline(&self) -> Option<Mono> {
        Self::deadline(self)
    }
}

/// What is special to a rival. Times in seconds.
trait Rule {
    fn beat(&mut self, now: f64, number: f64, late: bool);
    fn due(&self) -> f64;
}

/// A rule with the hysteresis that ours has, so that none has fewer mistakes because it has longer ones.
struct Rival<R> {
    rule: R,
    heard: bool,
    /// The beats in time that are still missing.
    missing: u32,
}

impl<R: Rule + 'static> Rival<R> {
    fn boxed(rule: R) -> Box<dyn Judge> {
        Box::new(Self { rule, heard: false, missing: 0 })
    }
}

impl<R: Rule> Judge for Rival<R> {
    #[expect(clippy::cast_precision_loss, reason = "there are not that many beats")]
    fn beat(&mut self, now: Mono, number: u64) {
        let late = self.heard && now >= at(self.rule.due());
        self.missing = if late { 1 } else { self.missing.saturating_sub(1) };
        self.rule.beat(seconds(now), number as f64, late);
        self.heard = true;
    }

    fn deadline(&self) -> Option<Mono> {
        (self.missing == 0).then(|| at(self.rule.due()))
    }
}

struct Timeout {
    silence: f64,
    last: f64,
}

impl Rule for Timeout {
    fn beat(&mut self, now: f64, _: f64, _: bool) {
        self.last = now;
    }

    fn due(&self) -> f64 {
        self.last + self.silence
    }
}

/// phi = −log₁₀(e / (1 + e)) with e = exp(−y (1.5976 + 0.070566 y²)) and y = (silence − mean) / max(deviation, floor): it reaches its threshold
/// at one y, which is the parameter.
#[derive(Default)]
struct Akka {
    deviations: f64,
    floor: f64,
    last: Option<f64>,
    intervals: VecDeque<f64>,
    sum: f64,
    squares: f64,
}

impl Akka {
    fn record(&mut self, interval: f64) {
        if self.intervals.len() == 1000 {
            let oldest = self.intervals.pop_front().unwrap_or_default();
            self.sum -= oldest;
            self.squares -= oldest * oldest;
        }
        self.intervals.push_back(interval);
        self.sum += interval;
        self.squares += interval * interval;
    }
}

impl Rule for Akka {
    fn beat(&mut self, now: f64, _: f64, late: bool) {
        match self.last {
            None => [0.75, 1.25].iter().for_each(|part| self.record(part * PERIOD)),
            Some(last) if !late => self.record(now - last),
            Some(_) => {}
        }
        self.last = Some(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "1000 at most")]
    fn due(&self) -> f64 {
        let count = self.intervals.len().max(1) as f64;
        let mean = self.sum / count;
        let deviation = (self.squares / count - mean * mean).max(0.0).sqrt();
        self.last.unwrap_or_default() + mean + self.deviations * deviation.max(self.floor)
    }
}

#[derive(Default)]
struct Chen {
    margin: f64,
    /// Arrivals less the periods up to them.
    shifted: VecDeque<f64>,
    sum: f64,
    number: f64,
}

impl Rule for Chen {
    fn beat(&mut self, now: f64, number: f64, late: bool) {
        if late {
            self.shifted.clear();
            self.sum = 0.0;
        }
        if self.shifted.len() == 200 {
            self.sum -= self.shifted.pop_front().unwrap_or_default();
        }
        self.shifted.push_back(now - number * PERIOD);
        self.sum += now - number * PERIOD;
        self.number = number;
    }

    #[expect(clippy::cast_precision_loss, reason = "200 at most")]
    fn due(&self) -> f64 {
        self.sum / self.shifted.len().max(1) as f64 + (self.number + 1.0) * PERIOD + self.margin
    }
}

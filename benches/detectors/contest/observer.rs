//! Fifty peers that never fail, one that does, and an observer that is away for a while.

use std::time::Duration;

use ms_supervisor::base::rng::Rng;
use ms_supervisor::base::time::Mono;
use ms_supervisor::policy::detector::stall::Stall;
use ms_supervisor::policy::detector::{Detector, DetectorPlan, Verdict};

use super::traces::{at, normal};

const PEERS: usize = 50;

/// How often the observer looks, in milliseconds.
const TICK: u64 = 250;

/// How long the observation lasts, in milliseconds. Half-way the observer is away; the last peer dies after three quarters.
const LENGTH: u64 = 400_000;

/// Why the observer hears nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Away {
    /// It does not run for 7 s. What came meanwhile waits.
    Stall,
    /// The machine is suspended for 2 h, which the monotonic clock does not show. Then it takes 4 s until the bus is there again.
    Suspension,
    /// It is cut off from the bus for 30 s and knows. What was sent is lost.
    BusLoss,
}

impl Away {
    pub(crate) const ALL: [Self; 3] = [Self::Stall, Self::Suspension, Self::BusLoss];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stall => "observer does not run for 7 s",
            Self::Suspension => "suspended for 2 h, bus back after 4 s",
            Self::BusLoss => "cut off from the bus for 30 s",
        }
    }

    /// When the bus is gone, in milliseconds from the beginning of it all.
    const fn without_bus(self) -> u64 {
        match self {
            Self::Stall => 0,
            Self::Suspension => 4000,
            Self::BusLoss => 30_000,
        }
    }

    const fn without_running(self) -> u64 {
        match self {
            Self::Stall => 7000,
            Self::Suspension | Self::BusLoss => 0,
        }
    }

    const fn suspended(self) -> u64 {
        match self {
            Self::Suspension => 7_200_000,
            Self::Stall | Self::BusLoss => 0,
        }
    }
}

/// What the observer said.
pub(crate) struct Said {
    /// How often it suspected one of the peers that never failed.
    pub(crate) wrongly: usize,
    /// Whether it found the one that did.
    pub(crate) found: bool,
}

/// What an observer says that tells its detectors when it was away, or one that does not.
pub(crate) fn observe(away: Away, tells: bool) -> Said {
    let plan = DetectorPlan::every(Duration::from_secs(1));
    let mut stall = Stall::new(Duration::from_millis(TICK), plan.limit);
    let mut peers = vec![Detector::new(plan, Mono(0)); PEERS + 1];
    let mut beats = beats();
    let mut said = Said { wrongly: 0, found: false };
    let begin = LENGTH / 2;
    for now in (TICK..LENGTH).step_by(TICK as usize) {
        if (begin..begin + away.without_running()).contains(&now) {
            continue;
        }
        let (mono, suspended) = (ms(now), if now > begin { away.suspended() } else { 0 });
        let mut absences: Vec<(Mono, Mono)> = stall.tick(mono, ms(now + suspended)).into_iter().collect();
        let bus_is_gone = (begin..begin + away.without_bus()).contains(&now);
        if bus_is_gone {
            absences.push((ms(begin), mono));
        }
        let absences = if tells { absences } else { Vec::new() };
        peers.iter_mut().for_each(|peer| absences.iter().for_each(|(from, to)| peer.stood_still(*from, *to)));
        // What has come is heard when it came, if the observer was there then.
        let ran_at = if now == begin + away.without_running() { mono } else { ms(now - TICK) };
        while let Some((heard, peer, number)) = beats.pop_if(|(heard, ..)| *heard <= mono) {
            let lost = (ms(begin)..ms(begin + away.without_bus())).contains(&heard);
            if !lost {
                let suspected = peers[peer].deadline().is_none();
                peers[peer].beat(heard.max(ran_at), Some(number));
                said.note(peer, !suspected && peers[peer].deadline().is_none());
            }
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            let suspected = peer.deadline().is_none();
            said.note(number, !suspected && peer.judge(mono) == Verdict::Suspect);
        }
    }
    said
}

impl Said {
    fn note(&mut self, peer: usize, newly_suspected: bool) {
        if newly_suspected && peer < PEERS {
            self.wrongly += 1;
        }
        self.found |= newly_suspected && peer == PEERS;
    }
}

/// Every beat: when it comes, whose it is and its number. The last one comes first.
fn beats() -> Vec<(Mono, usize, u64)> {
    let mut rng = Rng::derive(1, &["observer"]);
    let mut beats = Vec::new();
    for peer in 0..=PEERS {
        let (phase, life) = (rng.unit(), if peer == PEERS { LENGTH * 3 / 4 } else { LENGTH });
        for (number, second) in (0_u64..).zip(1..life / 1000) {
            beats.push((at(second as f64 + phase + 0.02 * normal(&mut rng).abs()), peer, number));
        }
    }
    beats.sort_unstable_by(|one, other| other.cmp(one));
    beats
}

const fn ms(millis: u64) -> Mono {
    Mono(millis * 1_000_000)
}

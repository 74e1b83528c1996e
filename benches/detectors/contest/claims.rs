//! What is claimed of our detector.

use super::measure::tuned;
use super::observer::{Away, observe};
use super::rivals::Who;
use super::traces::{Beat, Link, trace};

/// The deviations of transit times on the four links of the mixed fleet, in seconds.
pub(crate) const MIXED: [f64; 4] = [0.002, 0.02, 0.1, 0.35];

/// A claim, with what was found.
pub(crate) struct Claim {
    pub(crate) text: String,
    pub(crate) holds: bool,
}

/// One trace for each of `links` and each seed.
pub(crate) fn traces(links: &[Link], beats: usize, seeds: u64) -> Vec<Vec<Beat>> {
    let all = (1..=seeds).flat_map(|seed| (0_u64..).zip(links).map(move |(link, kind)| (*kind, seed * 100 + link)));
    all.map(|(link, seed)| trace(link, beats, seed)).collect()
}

/// One setting for four unlike links: at the same mean detection time of 1 s ours makes at most a tenth of the mistakes of a timeout and a
/// third of those of Akka's formula.
pub(crate) fn mixed_fleet(beats: usize, seeds: u64) -> Vec<Claim> {
    let fleet = traces(&MIXED.map(Link::Normal), beats, seeds);
    let mistakes = |who: Who| tuned(who, 1.0, &fleet).map_or(f64::NAN, |(_, score)| score.mistakes_per_hour());
    let ours = mistakes(Who::Ours);
    let at_most = |part: f64, who: Who| {
        let theirs = mistakes(who);
        let text = format!("mixed fleet, T_D 1 s: ours {ours:.2} mistakes, {} {theirs:.2}; at most 1/{part:.0}", who.name());
        Claim { text, holds: ours * part <= theirs }
    };
    vec![at_most(10.0, Who::Timeout), at_most(3.0, Who::Akka)]
}

/// Nobody is suspected because the observer was away, and who dies later is still found.
pub(crate) fn observer_away() -> Vec<Claim> {
    let claim = |away: Away| {
        let (ours, bare) = (observe(away, true), observe(away, false));
        let text = format!("{}: {} of 50 suspected by ours, {} without the rule", away.name(), ours.wrongly, bare.wrongly);
        Claim { text, holds: ours.wrongly == 0 && ours.found && bare.wrongly > 0 }
    };
    Away::ALL.map(claim).into()
}

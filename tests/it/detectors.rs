//! The claims of `benches/detectors`, with fewer beats. Virtual time: they hold or not, whatever the machine does meanwhile.

#[expect(dead_code, reason = "the bench prints more than is claimed")]
#[path = "../../benches/detectors/contest/mod.rs"]
mod contest;

use contest::claims::{Claim, mixed_fleet, observer_away};

fn all_hold(claims: &[Claim]) {
    let broken: Vec<_> = claims.iter().filter(|claim| !claim.holds).map(|claim| &claim.text).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn one_setting_serves_unlike_links() {
    all_hold(&mixed_fleet(3000, 2));
}

#[test]
fn nobody_is_suspected_because_the_observer_was_away() {
    all_hold(&observer_away());
}

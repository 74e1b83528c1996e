//! Failure detectors beside each other, in virtual time.
//!
//! ```text
//! cargo bench --bench detectors              everything; a few minutes
//! cargo bench --bench detectors -- --quick   a tenth of the beats
//! ```
//!
//! Each detector has one free parameter. It is tuned until crashes are found after the same time on average (T_D); then the rest is
//! compared: how often (per 3600 beats) and for how long (T_M) a live sender is suspected, how likely the answer at a random time is right
//! (P_A), and how long the slowest findings take. All have the same hysteresis. `-` is a time that a detector cannot have whatever its
//! parameter. Everything but the cost is counted in virtual time and is the same in every run; it fails if a claim does not hold.
#![expect(clippy::disallowed_methods, reason = "it stands outside: looks at the clock")]

mod contest;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use contest::claims::{Claim, MIXED, mixed_fleet, observer_away, traces};
use contest::measure::tuned;
use contest::rivals::Who;
use contest::traces::Link;
use ms_supervisor::base::time::Mono;
use ms_supervisor::policy::detector::{Detector, DetectorPlan};

fn main() -> ExitCode {
    let quick = std::env::args().any(|word| word == "--quick");
    let (beats, seeds) = if quick { (12_000, 2) } else { (40_000, 6) };
    println!("{seeds} seeds of {beats} beats each\n");
    println!(
        "{:<28} {:<14} {:>9} {:>7} {:>7} {:>7} {:>9} {:>7} {:>9}",
        "trace", "detector", "parameter", "T_D s", "p99", "max", "mistakes", "T_M s", "P_A"
    );
    let mixed = MIXED.map(Link::Normal);
    let long_tail = MIXED.map(Link::LongTail);
    row("loss in bursts", &[Link::Bursts], 2.0, beats, seeds);
    row("loss in bursts", &[Link::Bursts], 6.0, beats, seeds);
    row("10 bad minutes per hour", &[Link::Regimes], 1.5, beats, seeds);
    row("pauses of the sender", &[Link::Pauses], 3.5, beats, seeds);
    row("mixed fleet", &mixed, 1.0, beats, seeds);
    row("mixed fleet", &mixed, 3.5, beats, seeds);
    row("mixed fleet, long tails", &long_tail, 1.0, beats, seeds);
    cost();
    let claims: Vec<Claim> = mixed_fleet(beats, seeds).into_iter().chain(observer_away()).collect();
    println!();
    for claim in &claims {
        println!("{} {}", if claim.holds { "holds" } else { "FAILS" }, claim.text);
    }
    if claims.iter().all(|claim| claim.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(name: &str, links: &[Link], target: f64, beats: usize, seeds: u64) {
    let traces = traces(links, beats, seeds);
    for who in Who::ALL {
        match tuned(who, target, &traces) {
            None => println!("{name:<28} {:<14} {:>9} {target:>7.2}", who.name(), "-"),
            Some((parameter, mut score)) => println!(
                "{name:<28} {:<14} {parameter:>9.3} {:>7.2} {:>7.2} {:>7.2} {:>9.3} {:>7.2} {:>9.6}",
                who.name(),
                score.mean_detection(),
                score.detection_at(0.99),
                score.detection_at(1.0),
                score.mistakes_per_hour(),
                score.mean_mistake(),
                score.accuracy(),
            ),
        }
    }
    println!();
}

/// What ours costs, on this machine and now.
fn cost() {
    const ROUNDS: u32 = 1_000_000;
    let plan = DetectorPlan::every(Duration::from_secs(1));
    let bytes = size_of::<Detector>() + plan.window * size_of::<u64>();
    let mut detector = Detector::new(plan, Mono(0));
    let second = |beat: u32| Mono(u64::from(beat) * 1_000_000_000);
    let time = |what: &mut dyn FnMut(u32)| {
        let begin = Instant::now();
        (1..=ROUNDS).for_each(what);
        begin.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    };
    let beat = time(&mut |beat| detector.beat(second(beat), Some(u64::from(beat))));
    let phi = time(&mut |by| {
        black_box(detector.phi(Mono(second(ROUNDS).0 + 3_000_000_000 + u64::from(by))));
    });
    let judge = time(&mut |by| {
        black_box(detector.judge(Mono(second(ROUNDS).0 + u64::from(by))));
    });
    println!("cost of ours: {phi:.0} ns for phi, {judge:.0} ns for a verdict, {beat:.0} ns for a beat; {bytes} bytes per peer");
}

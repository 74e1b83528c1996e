use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn at(millis: u64) -> Mono {
    Mono(millis * 1_000_000)
}

fn plan() -> DetectorPlan {
    DetectorPlan::every(ms(1000))
}

/// One that has heard a beat at 0 s, 1 s, …, `last` s.
fn regular(plan: DetectorPlan, last: u64) -> Detector {
    let mut detector = Detector::new(plan, at(0));
    (0..=last).for_each(|second| detector.beat(at(second * 1000), None));
    detector
}

fn millis(deadline: Option<Mono>) -> u64 {
    deadline.expect("it is not suspected").0 / 1_000_000
}

#[test]
fn a_regular_sender_is_suspected_after_a_period_the_pause_and_the_floor() {
    let mut detector = regular(plan(), 300);
    // 300 + 1 + 2 + 5.612 standard deviations of 10 ms.
    assert_eq!(millis(detector.deadline()), 303_056);
    assert_eq!(detector.judge(at(303_056)), Verdict::Alive);
    assert!(detector.phi(at(303_056)) < 8.0 && detector.phi(at(303_057)) > 8.0);
    assert_eq!((detector.judge(at(303_057)), detector.deadline()), (Verdict::Suspect, None));
}

#[test]
fn only_the_limit_counts_before_two_beats() {
    let mut detector = Detector::new(plan(), at(5000));
    assert_eq!((millis(detector.deadline()), detector.phi(at(14_999))), (15_000, 0.0));
    detector.beat(at(14_000), None);
    assert_eq!(millis(detector.deadline()), 24_000);
    detector.beat(at(15_000), None);
    // A quarter of the period as deviation, while little is known.
    assert_eq!(millis(detector.deadline()), 15_000 + 3000 + 1403);
    assert_eq!(Detector::new(plan(), at(0)).judge(at(10_000)), Verdict::Suspect);
}

#[test]
fn who_was_suspected_needs_two_beats_in_time() {
    let mut detector = regular(plan(), 50);
    let mut heard = |seconds: &[u64]| {
        seconds.iter().for_each(|second| detector.beat(at(second * 1000), None));
        detector.verdict()
    };
    assert_eq!(heard(&[60]), Verdict::Suspect);
    assert_eq!(heard(&[70]), Verdict::Suspect, "the second was late too");
    assert_eq!(heard(&[71]), Verdict::Alive);
}

#[test]
fn what_ended_a_suspicion_is_not_learned() {
    let mut detector = regular(plan(), 50);
    detector.beat(at(350_000), None);
    assert_eq!(detector.intervals.len(), 50);
    (351..=360).for_each(|second| detector.beat(at(second * 1000), None));
    assert_eq!(millis(detector.deadline()), 363_056);
}

#[test]
fn a_stall_within_the_pause_is_not_learned_either() {
    let mut detector = regular(plan(), 50);
    detector.beat(at(52_500), None);
    assert_eq!((detector.verdict(), detector.intervals.len()), (Verdict::Alive, 50));
    assert_eq!(millis(detector.deadline()), 55_556);
    // Ten in a row are no stalls.
    (1..=30).for_each(|beat| detector.beat(at(52_500 + beat * 2500), None));
    assert_eq!((detector.verdict(), millis(detector.deadline())), (Verdict::Alive, 127_500 + 2500 + 2000 + 56));
}

#[test]
fn beats_that_were_held_up_are_not_learned() {
    let mut detector = regular(plan(), 50);
    // A sender that stood still for 7 s and then makes up for it, in an instant.
    (0..7).for_each(|beat| detector.beat(at(57_000 + beat), None));
    assert_eq!((detector.intervals.len(), detector.verdict()), (50, Verdict::Alive));
    (58..=70).for_each(|second| detector.beat(at(second * 1000), None));
    assert_eq!(millis(detector.deadline()), 73_056);
}

#[test]
fn a_sender_that_has_become_slower_is_learned_anew() {
    let mut detector = regular(plan(), 50);
    let mut now = 50_000;
    for _ in 0..30 {
        now += 5000;
        detector.beat(at(now), None);
    }
    assert_eq!(detector.verdict(), Verdict::Alive);
    assert_eq!(millis(detector.deadline()), now + 5000 + 2000 + 56);
}

#[test]
fn the_patient_one_of_two_windows_decides() {
    // Irregular of late: the short window sees it. Irregular before and regular of late: the long one remembers.
    let rough = |detector: &mut Detector, from: u64| (0..30).for_each(|i| detector.beat(at(from + i * 1000 + (i % 2) * 400), None));
    let mut of_late = regular(plan(), 199);
    rough(&mut of_late, 200_000);
    let spread = |moments: &Moments| moments.deviation();
    let [long, short] = of_late.intervals.both().map(spread);
    assert!(short > 2.0 * long);
    assert_eq!(of_late.deadline(), Some(of_late.heard + ms(2000) + nanos_of(&of_late, 1)));
    let mut before = regular(plan(), 50);
    rough(&mut before, 51_000);
    (81..160).for_each(|second| before.beat(at(second * 1000), None));
    let [long, short] = before.intervals.both().map(spread);
    assert!(long > 2.0 * short);
    assert_eq!(before.deadline(), Some(before.heard + ms(2000) + nanos_of(&before, 0)));
}

/// The mean and the deviations up to the threshold, of one of both windows.
fn nanos_of(detector: &Detector, window: usize) -> Duration {
    let (mean, deviation) = detector.usual(detector.intervals.both()[window]);
    Duration::from_nanos(whole(mean + detector.reach * deviation))
}

#[test]
fn lost_beats_are_intervals_of_their_own() {
    let (mut numbered, mut bare) = (Detector::new(plan(), at(0)), Detector::new(plan(), at(0)));
    for number in (0..100_u64).filter(|number| number % 5 != 3) {
        numbered.beat(at(number * 1000), Some(number));
        bare.beat(at(number * 1000), None);
    }
    assert_eq!((numbered.intervals.len(), millis(numbered.deadline())), (99, 99_000 + 3056));
    assert!(bare.deadline() > Some(at(99_000 + 5000)));
}

#[test]
fn a_duplicate_and_a_straggler_are_no_beats() {
    let mut detector = regular(plan(), 50);
    detector.beat(at(51_000), Some(7));
    let before = detector.deadline();
    detector.beat(at(51_500), Some(7));
    detector.beat(at(51_900), Some(6));
    assert_eq!(detector.deadline(), before);
    detector.beat(at(52_000), Some(8));
    assert_eq!(millis(detector.deadline()), 55_056);
}

#[test]
fn a_wild_sequence_number_does_no_harm() {
    let mut detector = regular(plan(), 50);
    detector.beat(at(51_000), Some(0));
    detector.beat(at(52_000), Some(u64::MAX));
    assert_eq!((detector.intervals.len(), detector.verdict()), (200, Verdict::Alive));
    assert_eq!(millis(detector.deadline()), 55_056, "nobody is suspected for keeping the period");
}

#[test]
fn the_limit_holds_whatever_the_intervals_say() {
    let mut detector = Detector::new(plan(), at(0));
    let mut rng = Rng::derive(1, &["limit"]);
    let mut now = 0.0;
    for _ in 0..300 {
        now += rng.unit() * 9900.0;
        detector.beat(Mono(whole(now * 1e6)), None);
    }
    assert_eq!(detector.deadline(), Some(detector.heard + ms(10_000)));
}

#[test]
fn a_timeout_is_a_timeout_and_shows_phi_as_well() {
    let mut detector = regular(DetectorPlan { kind: Kind::Timeout, limit: ms(4000), ..plan() }, 50);
    assert_eq!(millis(detector.deadline()), 54_000);
    assert!(detector.phi(at(53_500)) > 8.0);
    assert_eq!((detector.judge(at(53_999)), detector.judge(at(54_000))), (Verdict::Alive, Verdict::Suspect));
}

#[test]
fn chen_expects_the_next_beat_by_the_senders_own_times() {
    let mut detector = regular(DetectorPlan { kind: Kind::Chen { margin: ms(500) }, ..plan() }, 50);
    assert_eq!(millis(detector.deadline()), 51_500);
    // A beat that is late by 300 ms puts off the next by the share it has in the short window: 300 / 31.
    detector.beat(at(51_300), None);
    assert_eq!(millis(detector.deadline()), 52_509);
    // The sender's times have slipped by 3.2 s: it is expected by its new ones.
    detector.beat(at(54_500), None);
    (1..4).for_each(|second| detector.beat(at(54_500 + second * 1000), None));
    assert_eq!((detector.verdict(), millis(detector.deadline()) / 100), (Verdict::Alive, 587));
}

#[test]
fn nobody_is_suspected_because_the_observer_stood_still() {
    let mut detector = regular(plan(), 50);
    detector.stood_still(at(50_500), at(57_500));
    // It was silent for half a second before; the grace is three.
    assert_eq!((detector.judge(at(60_499)), millis(detector.deadline())), (Verdict::Alive, 60_500));
    assert_eq!(detector.phi(at(60_499)), 0.0);
    // What piled up meanwhile is not learned.
    (0..7).for_each(|beat| detector.beat(at(57_500 + beat), None));
    assert_eq!(detector.intervals.len(), 50);
    (58..70).for_each(|second| detector.beat(at(second * 1000), None));
    assert_eq!(millis(detector.deadline()), 72_056);
    assert_eq!(detector.judge(at(72_057)), Verdict::Suspect, "and who is dead is still found");
}

#[test]
fn the_same_time_is_given_once() {
    let mut detector = regular(DetectorPlan { kind: Kind::Timeout, ..plan() }, 50);
    detector.stood_still(at(51_000), at(53_000));
    detector.stood_still(at(52_000), at(54_000));
    detector.stood_still(at(10_000), at(51_500));
    assert_eq!(millis(detector.deadline()), 64_000);
    detector.stood_still(at(55_000), at(56_000));
    assert_eq!(millis(detector.deadline()), 65_000);
}

#[test]
fn a_suspicion_from_while_the_observer_was_away_is_withdrawn() {
    let mut detector = regular(plan(), 50);
    assert_eq!(detector.judge(at(54_000)), Verdict::Suspect);
    let mut other = detector.clone();
    // It is learned only now that the bus was gone since 50.2 s.
    detector.stood_still(at(50_200), at(60_000));
    assert_eq!((detector.judge(at(62_999)), detector.judge(at(63_000))), (Verdict::Alive, Verdict::Suspect));
    // One that was suspected before stays so.
    other.stood_still(at(53_500), at(60_000));
    assert_eq!(other.judge(at(60_000)), Verdict::Suspect);
}

#[test]
fn who_says_goodbye_is_suspected_quietly() {
    let mut detector = regular(plan(), 50);
    detector.goodbye();
    assert_eq!((detector.judge(at(50_001)), detector.deadline(), detector.has_gone()), (Verdict::Suspect, None, true));
    detector.beat(at(51_000), None);
    assert_eq!((detector.verdict(), detector.has_gone()), (Verdict::Suspect, false));
    detector.beat(at(52_000), None);
    assert_eq!(detector.verdict(), Verdict::Alive);
}

#[test]
fn absurd_plans_are_borne() {
    for kind in [Kind::Phi { threshold: f64::NAN }, Kind::Phi { threshold: -1.0 }, Kind::Timeout, Kind::Chen { margin: Duration::MAX }] {
        let (zero, max) = (Duration::ZERO, Duration::MAX);
        for (period, pause, limit, floor) in [(zero, zero, zero, 0.0), (max, max, max, f64::NAN), (ms(1), zero, max, 1e300)] {
            let mut detector = Detector::new(DetectorPlan { kind, period, pause, limit, floor, window: 0, short_window: 9 }, at(1));
            for now in [2, 3, 3, 9_000_000, u64::MAX / 1_000_000 - 2] {
                detector.beat(at(now), Some(now));
                detector.judge(at(now + 1));
                assert!(detector.phi(Mono(u64::MAX)).is_finite());
            }
            detector.stood_still(at(0), Mono(u64::MAX));
            detector.judge(Mono(u64::MAX));
        }
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (0.5..30.0_f64).prop_map(|threshold| Kind::Phi { threshold }),
        Just(Kind::Timeout),
        (100..3000_u64).prop_map(|margin| Kind::Chen { margin: ms(margin) }),
    ]
}

#[derive(Clone, Debug)]
enum Happening {
    Beat(u64),
    Numbered(u64),
    StoodStill(u64, u64),
    Goodbye,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        20 => (0..2000_u64).prop_map(Happening::Beat),
        20 => (0..12_u64).prop_map(Happening::Numbered),
        3 => (0..20_000_u64, 0..20_000_u64).prop_map(|(ago, length)| Happening::StoodStill(ago, length)),
        1 => Just(Happening::Goodbye),
    ]
}

/// A detector some things have happened to, and the time now.
fn lived() -> impl Strategy<Value = (Detector, u64)> {
    (any_kind(), prop::collection::vec((0..3000_u64, happening()), 1..120)).prop_map(|(kind, happenings)| {
        let (mut now, mut detector) = (1_000_000, Detector::new(DetectorPlan { kind, ..plan() }, at(1_000_000)));
        for (pause, happening) in happenings {
            now += pause;
            match happening {
                Happening::Beat(more) => {
                    now += more;
                    detector.beat(at(now), None);
                }
                Happening::Numbered(number) => detector.beat(at(now), Some(now / 1000 + number)),
                Happening::StoodStill(ago, length) => detector.stood_still(at(now - ago), at((now - ago + length).min(now))),
                Happening::Goodbye => detector.goodbye(),
            }
        }
        (detector, now)
    })
}

proptest! {
    #[test]
    fn phi_never_falls_while_nothing_comes((detector, now) in lived(), after in prop::collection::vec(0..8000_u64, 2..20)) {
        let mut after = after;
        after.sort_unstable();
        for pair in after.windows(2) {
            prop_assert!(detector.phi(at(now + pair[0])) <= detector.phi(at(now + pair[1])));
        }
    }

    #[test]
    fn the_deadline_is_when_the_verdict_changes((detector, now) in lived()) {
        let Some(deadline) = detector.deadline() else { return Ok(()) };
        prop_assert_eq!(detector.clone().judge(Mono(deadline.0 - 1)), Verdict::Alive);
        prop_assert_eq!(detector.clone().judge(deadline), Verdict::Suspect);
        // Nothing that comes to pass without a beat moves it.
        let mut asked = detector.clone();
        (0..50).for_each(|step| { asked.judge(Mono(deadline.0.min(at(now).0 + step * 10_000_000).saturating_sub(1))); });
        prop_assert_eq!(asked.deadline(), Some(deadline));
    }

    #[test]
    fn phi_is_at_the_threshold_at_the_deadline((detector, _) in lived()) {
        let (Kind::Phi { threshold }, Some(deadline)) = (detector.plan.kind, detector.deadline()) else { return Ok(()) };
        let by_phi = !detector.intervals.is_empty() && deadline > detector.grace && deadline < detector.silent_from + detector.plan.limit;
        if by_phi {
            // Two nanoseconds: the deadline is a whole number of them.
            prop_assert!(detector.phi(Mono(deadline.0 + 2)) >= threshold * (1.0 - 1e-9));
            prop_assert!(detector.phi(Mono(deadline.0 - 2)) <= threshold * (1.0 + 1e-9));
        }
    }

    #[test]
    fn who_keeps_the_period_is_never_suspected(kind in any_kind(), period in 1..100_000_u64, jitter in 0.0..0.09_f64, seed in any::<u64>()) {
        // Jitter of at most a tenth of the period; the shortest margin is as much.
        let kind = match kind { Kind::Chen { margin } => Kind::Chen { margin: margin * u32::try_from(period).unwrap() / 1000 }, kind => kind };
        let plan = DetectorPlan { kind, ..DetectorPlan::every(ms(period)) };
        let (mut detector, mut rng) = (Detector::new(plan, at(0)), Rng::derive(seed, &[]));
        for beat in 0..500_u64 {
            let now = Mono(beat * period * 1_000_000 + whole(rng.unit() * jitter * nanos(ms(period))));
            prop_assert_eq!(detector.judge(now), Verdict::Alive, "beat {}", beat);
            detector.beat(now, Some(beat));
        }
    }

    #[test]
    fn silence_beyond_the_limit_and_the_grace_is_a_failure((detector, now) in lived()) {
        let mut detector = detector;
        let stood = detector.excused.map_or(Duration::ZERO, |_| detector.silent_from - detector.heard);
        let end = (detector.heard + detector.plan.limit + stood).max(detector.grace).max(at(now));
        prop_assert_eq!(detector.judge(end), Verdict::Suspect);
    }

    #[test]
    fn no_one_is_suspected_in_the_grace((detector, now) in lived(), ago in 0..30_000_u64, length in 0..30_000_u64) {
        let mut detector = detector;
        let (from, to) = (at(now - ago), at((now - ago + length).min(now)));
        let before = detector.deadline().is_none();
        detector.judge(at(now));
        detector.stood_still(from, to);
        let grace = to + ms(3000);
        if !before && at(now) < grace && detector.deadline().is_some() {
            prop_assert_eq!(detector.judge(Mono(grace.0 - 1)), Verdict::Alive);
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::base::rng::Rng;

const fn at(millis: u64) -> Mono {
    Mono(millis * 1_000_000)
}

fn plan() -> BreakerPlan {
    BreakerPlan {
        window: Window::Calls(10),
        minimum: 4,
        open_for: Duration::from_secs(1),
        max_open: Duration::from_secs(4),
        permits: 2,
        half_open_for: Duration::from_secs(10),
        ..BreakerPlan::default()
    }
}

fn breaker(plan: BreakerPlan) -> Breaker {
    Breaker::new(plan, Rng::derive(1, &["breaker"]))
}

/// Makes calls one after the other; what became of the breaker.
fn calls(breaker: &mut Breaker, now: Mono, outcomes: &[CallOutcome]) -> BreakerState {
    for outcome in outcomes {
        if let (Ok(permit), _) = breaker.ask(now) {
            breaker.report(now, permit, *outcome);
        }
    }
    breaker.state()
}

use CallOutcome::{Cancelled, Failure, Success};

#[test]
fn a_rate_means_nothing_before_there_are_enough_calls() {
    let mut one = breaker(plan());
    assert_eq!(calls(&mut one, at(0), &[Failure, Failure, Failure]), BreakerState::Closed);
    assert_eq!(calls(&mut one, at(0), &[Success]), BreakerState::Open, "3 of 4");
    let mut one = breaker(plan());
    assert_eq!(calls(&mut one, at(0), &[Failure, Success, Success, Success, Failure, Success, Success]), BreakerState::Closed);
}

#[test]
fn failures_in_a_row_open_it_at_once() {
    let mut one = breaker(BreakerPlan { consecutive: Some(2), ..plan() });
    assert_eq!(calls(&mut one, at(0), &[Failure, Success, Failure]), BreakerState::Closed);
    assert_eq!(calls(&mut one, at(0), &[Failure]), BreakerState::Open);
}

#[test]
fn slow_calls_open_it_where_that_is_wanted() {
    let slow = |slow_rate| {
        let mut one = breaker(BreakerPlan { slow_rate, slow_after: Duration::from_millis(100), ..plan() });
        for _ in 0..4 {
            let permit = one.ask(at(0)).0.unwrap();
            one.report(at(101), permit, Success);
        }
        one.state()
    };
    assert_eq!((slow(None), slow(Some(1.0))), (BreakerState::Closed, BreakerState::Open));
}

#[test]
fn it_recovers_gradually() {
    let mut one = breaker(plan());
    calls(&mut one, at(0), &[Failure; 4]);
    let refused = one.ask(at(10)).0.unwrap_err();
    let until = refused.until.unwrap();
    assert!(at(750) <= until && until <= at(1000), "{until:?}");
    let (first, changed) = one.ask(until);
    assert_eq!(changed.map(|changed| (changed.from, changed.to)), Some((BreakerState::Open, BreakerState::HalfOpen)));
    let second = one.ask(until).0.unwrap();
    assert_eq!(one.ask(until).0, Err(Refused { until: None }), "two permits and no more");
    assert_eq!(one.report(until, first.unwrap(), Success), None);
    let closed = one.report(until, second, Success).unwrap();
    assert_eq!((closed.from, closed.to, one.state()), (BreakerState::HalfOpen, BreakerState::Closed, BreakerState::Closed));
}

#[test]
fn each_opening_in_a_row_lasts_longer_up_to_a_limit() {
    let mut one = breaker(plan());
    calls(&mut one, at(0), &[Failure; 4]);
    let mut times = Vec::new();
    let mut now = at(0);
    for _ in 0..5 {
        let until = one.deadline().unwrap();
        times.push((until - now).as_millis());
        now = until;
        calls(&mut one, now, &[Failure]);
    }
    for (time, most) in times.iter().zip([1000, 2000, 4000, 4000, 4000]) {
        assert!((most * 3 / 4..=most).contains(time), "{times:?}");
    }
    // A recovery begins from the beginning.
    now = one.deadline().unwrap();
    assert_eq!(calls(&mut one, now, &[Success, Success]), BreakerState::Closed);
    calls(&mut one, now, &[Failure; 4]);
    assert!((one.deadline().unwrap() - now).as_millis() <= 1000);
}

#[test]
fn a_call_that_does_not_come_back_has_failed_and_one_given_up_says_nothing() {
    let mut one = breaker(plan());
    calls(&mut one, at(0), &[Failure; 4]);
    assert_eq!(one.wake(at(1000)).map(|changed| changed.to), Some(BreakerState::HalfOpen));
    assert_eq!(one.wake(at(60_000)), None, "nobody has tried");
    let given_up = one.ask(at(60_000)).0.unwrap();
    one.report(at(60_000), given_up, Cancelled);
    let lost = (one.ask(at(60_000)).0.unwrap(), one.ask(at(60_000)).0.unwrap());
    let reopened = one.wake(at(70_000)).unwrap();
    assert_eq!((reopened.from, reopened.to), (BreakerState::HalfOpen, BreakerState::Open));
    // Its late success is that of another time.
    one.report(at(70_001), lost.0, Success);
    assert_eq!(one.state(), BreakerState::Open);
}

#[test]
fn an_operator_holds_it() {
    let mut one = breaker(plan());
    assert_eq!(one.force(at(0), Some(BreakerState::Open)).map(|changed| changed.to), Some(BreakerState::Open));
    assert_eq!(one.ask(at(1_000_000)).0, Err(Refused { until: None }));
    assert_eq!(one.force(at(0), Some(BreakerState::Closed)).map(|changed| changed.to), Some(BreakerState::Closed));
    assert_eq!(calls(&mut one, at(0), &[Failure; 10]), BreakerState::Closed);
    one.force(at(0), None);
    assert!((one.state(), one.is_forced()) == (BreakerState::Closed, false));
    assert_eq!(calls(&mut one, at(0), &[Failure; 4]), BreakerState::Open);
}

#[test]
fn one_that_only_measures_refuses_nothing() {
    let mut one = breaker(BreakerPlan { metrics_only: true, ..plan() });
    assert_eq!(calls(&mut one, at(0), &[Failure; 4]), BreakerState::Open);
    assert!(one.ask(at(1)).0.is_ok());
}

proptest! {
    #[test]
    fn it_never_lets_more_through_than_it_may(steps in prop::collection::vec((0..3000_u64, 0..4_u8), 1..300)) {
        let plan = BreakerPlan { slow_rate: Some(0.5), consecutive: Some(3), ..plan() };
        let mut one = breaker(plan.clone());
        let (mut now, mut open) = (at(0), Vec::new());
        for (time, what) in steps {
            now = now + Duration::from_millis(time);
            let before = one.generation;
            match what {
                0 => if let Ok(permit) = one.ask(now).0 {
                    if one.generation != before {
                        open.clear();
                    }
                    open.push(permit);
                },
                what => if let Some(permit) = open.pop() {
                    one.report(now, permit, [Success, Failure, Cancelled][usize::from(what) - 1]);
                },
            }
            let half = open.iter().filter(|permit| permit.generation == one.generation).count();
            prop_assert!(one.state() != BreakerState::HalfOpen || half <= plan.permits as usize);
            prop_assert_eq!(one.state() == BreakerState::Closed, one.deadline().is_none());
            prop_assert!(one.calls(now).total <= 10);
            if let Some(deadline) = one.deadline() {
                prop_assert!(deadline - now <= plan.half_open_for.max(plan.max_open));
            }
        }
    }
}

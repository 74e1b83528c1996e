//! Random trees under random faults; and the same rules over machines that are wrong.

use super::shrink::shrink;
use super::*;
use crate::base::exit::ExitReason;
use crate::policy::supervisor::{Effect, Input, Report, Run, StartCause};

#[test]
fn random_trees_keep_the_rules() {
    // Another base for each run in CI; without one always the same.
    #[expect(clippy::disallowed_methods, reason = "a test stands outside")]
    let base = std::env::var("MS_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let count = 20_000;
    let (mut steps, mut nodes) = (0_u64, 0);
    for seed in base..base + count {
        let case = Case::random(seed);
        let outcome = run(&case, false);
        steps += u64::from(outcome.steps);
        nodes += case.root.size();
        if let Some(violation) = outcome.violation {
            let small = shrink(case, |case| run(case, false).violation.is_some());
            let trace = run(&small, true).trace;
            panic!("seed {seed}: {violation}\n\n{small}{trace}\nreplay it with: ms-supervisor simulate --seed {seed}");
        }
    }
    println!("{count} random trees from seed {base}: {nodes} nodes, {steps} steps, no rule broken");
}

/// In so many milliseconds at most a leaf that is killed is gone and its supervisor has heard of it.
const LAG: u64 = 3;

#[test]
fn a_killed_tree_is_gone_at_once_and_an_abandoned_one_in_order() {
    let mut gone = 0;
    for seed in 0..3000 {
        let case = Case::random(seed);
        for (what, longest) in [(Input::KillTree, Some(LAG)), (Input::Abandon, None)] {
            let (outcome, took) = world::run_interrupted(&case, seed % 200, what.clone());
            assert_eq!(outcome.violation, None, "seed {seed}: {what:?} after {} ms\n{case}", seed % 200);
            if let (Some(took), Some(longest)) = (took, longest) {
                assert!(took <= longest, "seed {seed}: gone only after {took} ms\n{case}");
                gone += 1;
            }
        }
    }
    println!("{gone} trees were killed while they ran, and were gone within {LAG} ms");
    assert!(gone > 1000);
}

/// Runs random cases on a wrong machine until a rule is found broken; the case is then made small.
fn found(tamper: world::Tamper, expected: &str) -> Case {
    let fails = |case: &Case| world::run_tampered(case, false, tamper).violation.is_some_and(|violation| violation.contains(expected));
    let seed = (0..3000).find(|seed| fails(&Case::random(*seed)));
    let case = Case::random(seed.unwrap_or_else(|| panic!("nobody finds: {expected}")));
    let small = shrink(case, fails);
    assert!(small.root.size() <= 5 && small.faults.len() <= 3, "{expected}: this is not small:\n{small}");
    small
}

#[test]
fn every_rule_is_found_when_broken() {
    let rules: &[(world::Tamper, &str)] = &[
        (double_start, "is started although incarnation"),
        (start_backwards, "is started before"),
        (stop_first_first, "is stopped before"),
        (never_give_up, "and it goes on"),
        (give_up_early, "although"),
        (end_early, "it ends while"),
        (stop_strangers, "is to be stopped"),
        (stop_twice, "is stopped twice"),
        (forget_restarts, "should be up and is not"),
        (answer_twice, "is answered, but it is not open"),
        (never_answer, "has no answer"),
        (never_up, "never came up"),
        (never_stop, "nothing is being stopped"),
    ];
    for (tamper, expected) in rules {
        found(*tamper, expected);
    }
}

fn double_start(_: &Input, out: &mut Vec<Effect>) {
    if let Some(Effect::Start(run, cause)) = out.last().cloned() {
        out.push(Effect::Start(Run { incarnation: run.incarnation + 1, ..run }, cause));
    }
}

fn start_backwards(_: &Input, out: &mut Vec<Effect>) {
    for effect in out {
        if let Effect::Start(run, StartCause::First) = effect {
            run.child.0 ^= 1;
        }
    }
}

#[expect(clippy::ptr_arg, reason = "the type of a tamper")]
fn stop_first_first(input: &Input, out: &mut Vec<Effect>) {
    if let (Input::Shutdown(_), Some(Effect::Stop(run, _))) = (input, out.last_mut()) {
        run.child.0 = 0;
    }
}

fn never_give_up(_: &Input, out: &mut Vec<Effect>) {
    let gives_up = |effect: &Effect| matches!(effect, Effect::Report(Report::ReachedMaxRestartIntensity { .. }));
    if out.iter().any(gives_up) {
        out.retain(|effect| !gives_up(effect) && !matches!(effect, Effect::Stop(..) | Effect::Kill(_) | Effect::Terminated(_)));
    }
}

fn give_up_early(_: &Input, out: &mut Vec<Effect>) {
    if let Some(Effect::Report(Report::ChildTerminated { child, reason, restart: true })) = out.first().cloned() {
        out.insert(1, Effect::Report(Report::ReachedMaxRestartIntensity { child, reason }));
    }
}

fn end_early(input: &Input, out: &mut Vec<Effect>) {
    if matches!(input, Input::Shutdown(_)) {
        out.push(Effect::Terminated(ExitReason::Shutdown));
    }
}

fn stop_strangers(input: &Input, out: &mut Vec<Effect>) {
    if let Input::Exited(run, _) = input {
        out.insert(0, Effect::Stop(*run, ExitReason::Shutdown));
    }
}

fn stop_twice(_: &Input, out: &mut Vec<Effect>) {
    if let Some(stop @ Effect::Stop(..)) = out.last().cloned() {
        out.push(stop);
    }
}

fn forget_restarts(_: &Input, out: &mut Vec<Effect>) {
    out.retain(|effect| !matches!(effect, Effect::Start(_, StartCause::Exit)));
}

fn answer_twice(_: &Input, out: &mut Vec<Effect>) {
    if let Some(reply @ Effect::Reply(..)) = out.last().cloned() {
        out.push(reply);
    }
}

fn never_answer(_: &Input, out: &mut Vec<Effect>) {
    out.retain(|effect| !matches!(effect, Effect::Reply(..)));
}

fn never_up(_: &Input, out: &mut Vec<Effect>) {
    out.retain(|effect| !matches!(effect, Effect::Up));
}

fn never_stop(input: &Input, out: &mut Vec<Effect>) {
    if matches!(input, Input::Shutdown(_)) {
        out.retain(|effect| !matches!(effect, Effect::Stop(..) | Effect::Kill(_)));
    }
}

#[test]
fn a_case_replays_byte_for_byte() {
    for seed in 0..50 {
        let case = Case::random(seed);
        assert_eq!(case, Case::random(seed));
        let (first, second) = (run(&case, true), run(&case, true));
        assert!(!first.trace.is_empty());
        assert_eq!(first, second);
    }
}

#[test]
fn random_cases_cover_what_can_happen() {
    let all: String = (0..1500).map(|seed| format!("{}{}", Case::random(seed), run(&Case::random(seed), true).trace)).collect();
    for word in [
        "one_for_one",
        "one_for_all",
        "rest_for_one",
        "sequential",
        "ordered",
        "parallel",
        "dynamic",
        "at most",
        "keeps what runs",
        "rolls back",
        "any_significant",
        "all_significant",
        "temporary",
        "transient",
        "brutal_kill",
        ", held",
        "give up",
        "kill ",
        "again later",
        "forget ",
        "finds nothing",
        "ended: killed",
        "ended: shutdown: failed to start child",
        "for a sibling",
        "on request",
        "stays down",
        "otherwise than asked",
        "no more are allowed",
        "it is being restarted",
        "it is forgotten",
        "somebody stopped it",
        "is going down",
        "already running",
    ] {
        assert!(all.contains(word), "it never happens: {word}");
    }
}

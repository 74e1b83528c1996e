//! The whole table of states and inputs, as a snapshot, and the stories that matter.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::*;
use crate::plan::{Backoff, Growth, Jitter, LogsPlan, ReadinessPlan, Response, RestartPlan, RestartType, ShutdownPlan, SuccessExit};

fn plan() -> UnitPlan {
    UnitPlan {
        id: "unit".into(),
        description: None,
        exec: vec!["true".into()],
        watch: None,
        working_directory: PathBuf::from("/"),
        user: None,
        group: None,
        environment: BTreeMap::new(),
        isolation: None,
        may_command: std::collections::BTreeSet::new(),
        notify_access: crate::base::command::NotifyAccess::All,
        secrets: BTreeMap::new(),
        environment_files: Vec::new(),
        umask: 0o022,
        nice: 0,
        scheduling: Default::default(),
        limits: Default::default(),
        requires: Vec::new(),
        binds: Vec::new(),
        wants: Vec::new(),
        after: Vec::new(),
        restart: RestartPlan {
            kind: RestartType::Permanent,
            on: Vec::new(),
            breaker: None,
            backoff: Backoff {
                first: Duration::from_secs(1),
                growth: Growth::None,
                max: Duration::from_secs(30),
                jitter: Jitter::None,
                reset_after: Duration::from_secs(60),
            },
        },
        significant: false,
        optional: false,
        shutdown: ShutdownPlan { signal: Signal::TERM, timeout: ShutdownTimeout::After(Duration::from_secs(10)) },
        success_exit: vec![SuccessExit::Code(143)],
        readiness: ReadinessPlan { kind: ReadinessKind::Notify, timeout: Duration::from_secs(30), learned: false },
        pid_file: None,
        probes: Vec::new(),
        watchdog: None,
        remediation: None,
        logs: LogsPlan::default(),
    }
}

fn fresh() -> Lifecycle {
    Lifecycle::new(Arc::new(plan()), Rng::derive(1, &[]))
}

/// A machine led into `state` at time zero.
fn at(state: State) -> Lifecycle {
    let start = Input::Start { hold_back: state == State::Backoff };
    let exit = Input::Exited { cause: ExitCause::Code(1), leftovers: true, cpu: Duration::ZERO };
    let path = match state {
        State::Stopped => vec![],
        State::Backoff | State::Waiting => vec![start],
        State::Spawning => vec![start, Input::GateOpened],
        State::Activating => vec![start, Input::GateOpened, Input::Spawned],
        State::Active => vec![start, Input::GateOpened, Input::Spawned, Input::Ready],
        State::Stopping => vec![start, Input::GateOpened, Input::Spawned, Input::Ready, Input::Stop],
        State::Killing => vec![start, Input::GateOpened, Input::Spawned, Input::Ready, Input::Kill],
        State::Cleaning => vec![start, Input::GateOpened, Input::Spawned, Input::Ready, exit],
    };
    let mut machine = fresh();
    for input in path {
        machine.step(Mono(0), input, &mut Vec::new());
    }
    assert_eq!(machine.state(), state);
    machine
}

fn inputs() -> Vec<Input> {
    let exit = |leftovers| Input::Exited { cause: ExitCause::Code(1), leftovers, cpu: Duration::ZERO };
    vec![
        Input::Start { hold_back: false },
        Input::Stop,
        Input::Hasten,
        Input::Kill,
        Input::GateOpened,
        Input::Unfit("no such user".into()),
        Input::Spawned,
        Input::SpawnFailed("no such file".into()),
        Input::Ready,
        Input::Pause,
        Input::Resume(ResumeCause::Operator),
        Input::PauseFailed,
        exit(false),
        exit(true),
        Input::Gone,
    ]
}

/// A machine of a unit with these responses, led into `state`.
fn responding(on: &[(FailureCause, Response)], state: State) -> Lifecycle {
    let mut machine = at(state);
    let plan = plan();
    machine.replan(Arc::new(UnitPlan { restart: RestartPlan { on: on.to_vec(), ..plan.restart.clone() }, ..plan }));
    machine
}

/// All that a machine wants done on `inputs`.
fn effects(machine: &mut Lifecycle, inputs: Vec<Input>) -> Vec<Effect> {
    let mut out = Vec::new();
    for input in inputs {
        machine.step(Mono(0), input, &mut out);
    }
    out
}

#[test]
fn what_is_to_stay_down_resigns_and_is_stopped() {
    let ends = |code| Input::Exited { cause: ExitCause::Code(code), leftovers: false, cpu: Duration::ZERO };
    let (class, exit) = (FailureCause::Class, |code| FailureCause::Exit(SuccessExit::Code(code)));
    let on = [(exit(78), Response::Stop), (exit(0), Response::Stop), (class(FailureClass::Config), Response::Stop)];
    let told = |state, inputs: Vec<Input>| {
        let mut machine = responding(&on, state);
        let mut out = effects(&mut machine, inputs);
        out.retain(|effect| matches!(effect, Effect::GiveUp(..) | Effect::Ended(_) | Effect::StartFailed(_)));
        out
    };
    let resigned = vec![Effect::GiveUp(exit(78), ExitReason::error(ExitCause::Code(78))), Effect::Ended(ExitReason::Shutdown)];
    assert_eq!(told(State::Active, vec![ends(78), Input::Stop]), resigned);
    assert_eq!(told(State::Active, vec![ends(0)]), [Effect::GiveUp(exit(0), ExitReason::Normal)]);
    assert_eq!(told(State::Active, vec![ends(1)]), [Effect::Ended(ExitReason::error(ExitCause::Code(1)))]);
    assert_eq!(told(State::Active, vec![Input::Stop, ends(78)]), [Effect::Ended(ExitReason::Shutdown)], "it was asked to");
    let early = ExitReason::error("ended before it was ready: exit code 78");
    assert_eq!(told(State::Activating, vec![ends(78)]), [Effect::GiveUp(exit(78), early)]);
    let unfit = Effect::GiveUp(class(FailureClass::Config), ExitReason::error("no such file"));
    assert_eq!(told(State::Spawning, vec![Input::SpawnFailed("no such file".into())]), [unfit]);
    assert_eq!(told(State::Spawning, vec![Input::Stop, Input::SpawnFailed("no".into())]), [Effect::Ended(ExitReason::Shutdown)]);
}

#[test]
fn what_it_binds_to_takes_it_along_and_its_supervisor_hears_of_failures_only() {
    let ended = Input::Exited { cause: ExitCause::Signal { signal: Signal::TERM, core: false }, leftovers: false, cpu: Duration::ZERO };
    let again = vec![Input::Unbound, ended.clone()];
    let mut machine = at(State::Active);
    let out = effects(&mut machine, again.clone());
    assert_eq!(machine.state(), State::Backoff, "back-off applies: {out:?}");
    machine.wake(Mono(u64::MAX), &mut Vec::new());
    assert_eq!(story(&mut machine, vec![Input::GateOpened, Input::Spawned, Input::Ready]), [Effect::Started]);
    // Its supervisor takes it for up all the time: what fails now is an end.
    assert_eq!(story(&mut machine, again.clone()), []);
    machine.wake(Mono(u64::MAX), &mut Vec::new());
    let gone = ExitReason::error("gone");
    assert_eq!(story(&mut machine, vec![Input::GateOpened, Input::SpawnFailed("gone".into())]), [Effect::Ended(gone)]);
    // A stop meanwhile is answered as ever.
    for wanted in [vec![Input::Unbound, Input::Stop, ended], vec![again[0].clone(), again[1].clone(), Input::Stop]] {
        let mut machine = at(State::Active);
        assert_eq!(story(&mut machine, wanted), [Effect::Ended(ExitReason::Shutdown)]);
        assert_eq!(machine.state(), State::Stopped);
    }
    // What was never up is not told twice, and starts at once.
    let mut machine = at(State::Activating);
    assert_eq!(story(&mut machine, again), []);
    assert_eq!(machine.state(), State::Waiting);
}

#[test]
fn a_failure_waits_as_its_class_says() {
    let (class, exit) = (FailureCause::Class, |code| FailureCause::Exit(SuccessExit::Code(code)));
    let seconds = |seconds| Response::After(Duration::from_secs(seconds));
    let on = [
        (exit(75), seconds(75)),
        (exit(76), Response::Restart),
        (class(FailureClass::Crash), seconds(10)),
        (class(FailureClass::Hang), seconds(0)),
        (class(FailureClass::Probe), seconds(20)),
        (class(FailureClass::Start), seconds(30)),
    ];
    let ends = |code| Input::Exited { cause: ExitCause::Code(code), leftovers: false, cpu: Duration::ZERO };
    let held = |state, inputs: Vec<Input>| {
        let mut machine = responding(&on, state);
        let out = effects(&mut machine, inputs.into_iter().chain([Input::Start { hold_back: true }]).collect());
        out.into_iter().find_map(|effect| if let Effect::HeldBack(delay) = effect { Some(delay.as_secs()) } else { None })
    };
    assert_eq!(held(State::Active, vec![ends(1)]), Some(10));
    assert_eq!(held(State::Active, vec![ends(75)]), Some(75), "what is exact goes before its class");
    assert_eq!(held(State::Active, vec![ends(76)]), Some(1), "as the back-off says");
    assert_eq!(held(State::Active, vec![ends(143)]), Some(1), "a success is no crash");
    assert_eq!(held(State::Active, vec![Input::Unwell(FailureClass::Hang, "silent".into()), ends(75)]), None, "at once");
    assert_eq!(held(State::Active, vec![Input::Unwell(FailureClass::Probe, "refused".into()), ends(0)]), Some(20));
    assert_eq!(held(State::Activating, vec![ends(1)]), Some(30));
}

#[test]
fn the_table_of_states_and_inputs() {
    let mut table = String::new();
    for state in State::ALL {
        for input in inputs() {
            let mut machine = at(state);
            let mut out = Vec::new();
            machine.step(Mono(0), input.clone(), &mut out);
            out.retain(|effect| !matches!(effect, Effect::Entered(_)));
            writeln!(table, "{:<10} {input:?} -> {} {out:?}", state.as_str(), machine.state().as_str()).unwrap();
        }
        let mut machine = at(state);
        let mut out = Vec::new();
        let deadline = machine.deadline();
        machine.wake(Mono(u64::MAX), &mut out);
        out.retain(|effect| !matches!(effect, Effect::Entered(_)));
        writeln!(table, "{:<10} deadline {deadline:?} -> {} {out:?}", state.as_str(), machine.state().as_str()).unwrap();
    }
    // Only what runs can stand still.
    for state in [State::Activating, State::Active] {
        for input in inputs() {
            let (mut machine, mut out) = (at(state), Vec::new());
            machine.step(Mono(0), Input::Pause, &mut Vec::new());
            machine.step(Mono(0), input.clone(), &mut out);
            out.retain(|effect| !matches!(effect, Effect::Entered(_)));
            let paused = if machine.is_paused() { "paused " } else { "" };
            writeln!(table, "paused {:<10} {input:?} -> {paused}{} {out:?}", state.as_str(), machine.state().as_str()).unwrap();
        }
    }
    insta::assert_snapshot!(table);
}

/// Leads a machine through `inputs` and returns what it tells its supervisor.
fn story(machine: &mut Lifecycle, inputs: Vec<Input>) -> Vec<Effect> {
    let mut out = effects(machine, inputs);
    out.retain(|effect| matches!(effect, Effect::Started | Effect::StartFailed(_) | Effect::Ended(_)));
    out
}

fn exit(cause: ExitCause) -> Input {
    Input::Exited { cause, leftovers: false, cpu: Duration::ZERO }
}

#[test]
fn exits_mean_what_the_plan_says() {
    let killed = ExitCause::Signal { signal: Signal::KILL, core: false };
    let crashed = ExitCause::Signal { signal: Signal(11), core: true };
    for (cause, reason) in [
        (ExitCause::Code(0), ExitReason::Normal),
        (ExitCause::Code(143), ExitReason::Normal),
        (ExitCause::Code(1), ExitReason::error("exit code 1")),
        (killed, ExitReason::Killed),
        (crashed, ExitReason::error("SIGSEGV (core dumped)")),
    ] {
        assert_eq!(story(&mut at(State::Active), vec![exit(cause)]), [Effect::Ended(reason)]);
    }
}

#[test]
fn a_stop_is_a_stop_however_the_process_ends() {
    let told = story(&mut at(State::Active), vec![Input::Stop, exit(ExitCause::Code(1))]);
    assert_eq!(told, [Effect::Ended(ExitReason::Shutdown)]);
}

#[test]
fn an_exit_before_readiness_is_a_failed_start() {
    let told = story(&mut at(State::Activating), vec![exit(ExitCause::Code(1))]);
    assert_eq!(told, [Effect::StartFailed(ExitReason::error("ended before it was ready: exit code 1"))]);
}

#[test]
fn the_supervisor_hears_of_an_end_only_when_nothing_is_left() {
    let mut machine = at(State::Active);
    let left = Input::Exited { cause: ExitCause::Code(0), leftovers: true, cpu: Duration::ZERO };
    assert_eq!(story(&mut machine, vec![left]), []);
    assert_eq!(story(&mut machine, vec![Input::Gone]), [Effect::Ended(ExitReason::Normal)]);
}

#[test]
fn a_stop_while_the_process_is_being_made_is_not_forgotten() {
    let mut machine = at(State::Spawning);
    let told = story(&mut machine, vec![Input::Stop, Input::Spawned, exit(ExitCause::Code(0))]);
    assert_eq!(told, [Effect::Ended(ExitReason::Shutdown)]);
}

#[test]
fn an_adopted_process_is_found_running() {
    let adopted = |ready| Lifecycle::adopted(Arc::new(plan()), Rng::derive(1, &[]), Mono(0), ready);
    let start = || Input::Start { hold_back: false };
    assert_eq!(story(&mut adopted(true), vec![start()]), [Effect::Started]);
    assert_eq!(story(&mut adopted(false), vec![start(), Input::Ready]), [Effect::Started]);
    let mut leftovers = Lifecycle::with_leftovers(Arc::new(plan()), Rng::derive(1, &[]));
    assert_eq!(story(&mut leftovers, vec![start(), Input::Gone]), []);
    assert_eq!(leftovers.state(), State::Waiting);
}

/// A machine led into `state` under one brain, as the next one finds it.
fn under_the_next_brain(state: State) -> Lifecycle {
    let before = at(state);
    let rng = Rng::derive(2, &[]);
    let runs = matches!(state, State::Activating | State::Active | State::Stopping | State::Killing);
    let found = if runs { Lifecycle::adopted(before.plan.clone(), rng, Mono(0), true) } else { Lifecycle::new(before.plan.clone(), rng) };
    found.resumed(&before.memory(), before.failures().to_vec())
}

#[test]
fn a_restart_held_back_by_an_earlier_brain_waits_for_the_same_moment() {
    let mut machine = under_the_next_brain(State::Backoff);
    let mut out = Vec::new();
    machine.step(Mono(5), Input::Start { hold_back: false }, &mut out);
    assert_eq!((machine.state(), machine.deadline()), (State::Backoff, at(State::Backoff).deadline()));
    machine.step(Mono(6), Input::Stop, &mut out);
    out.clear();
    machine.step(Mono(7), Input::Start { hold_back: false }, &mut out);
    assert_eq!(out, [Effect::Entered(State::Waiting), Effect::AskGate], "it is over once somebody has stopped it");
}

#[test]
fn a_stop_begun_by_an_earlier_brain_ends_when_that_one_would_have_ended_it() {
    for state in [State::Stopping, State::Killing] {
        let mut machine = under_the_next_brain(state);
        let mut out = Vec::new();
        machine.step(Mono(5), Input::Start { hold_back: false }, &mut out);
        assert_eq!((machine.state(), &out[..]), (state, &[][..]));
        machine.wake(machine.deadline().unwrap(), &mut out);
        assert!(out.contains(&Effect::SignalTree(Signal::KILL)), "{out:?}");
        out.clear();
        machine.step(Mono(9), Input::Exited { cause: ExitCause::Code(0), leftovers: false, cpu: Duration::ZERO }, &mut out);
        let wanted = [Effect::Acknowledge, Effect::Entered(State::Stopped), Effect::Entered(State::Waiting), Effect::AskGate];
        assert_eq!(out, wanted, "the supervisor has asked for a start and hears of nothing else");
    }
}

#[test]
fn the_time_to_become_ready_stands_still_with_the_unit() {
    let second = 1_000_000_000;
    let mut machine = at(State::Activating);
    assert_eq!(machine.deadline(), Some(Mono(30 * second)));
    machine.step(Mono(10 * second), Input::Pause, &mut Vec::new());
    assert_eq!(machine.deadline(), None);
    // Another brain takes over.
    let memory = machine.memory();
    let mut machine = Lifecycle::adopted(Arc::new(plan()), Rng::derive(1, &[]), Mono(0), false).resumed(&memory, Vec::new());
    machine.step(Mono(50 * second), Input::Start { hold_back: false }, &mut Vec::new());
    assert!(machine.is_paused());
    assert_eq!(machine.deadline(), None);
    machine.step(Mono(100 * second), Input::Resume(ResumeCause::Degradation), &mut Vec::new());
    assert_eq!(machine.deadline(), Some(Mono(120 * second)));
}

#[test]
fn a_paused_unit_goes_on_before_it_is_asked_to_end_and_has_its_whole_time() {
    let mut machine = at(State::Active);
    let mut out = Vec::new();
    machine.step(Mono(0), Input::Pause, &mut out);
    machine.step(Mono(5), Input::Stop, &mut out);
    let place = |wanted: Effect| out.iter().position(|effect| *effect == wanted).expect("it is there");
    assert!(place(Effect::Thaw(ResumeCause::Stop)) < place(Effect::SignalMain(Signal::TERM)));
    assert_eq!(machine.deadline(), Some(Mono(5) + Duration::from_secs(10)));
    assert!(!machine.is_paused());
}

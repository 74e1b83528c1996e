//! The machine in small worlds, scenarios by hand. Random ones are in `sim`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::base::choice::RestartType;
use crate::base::shutdown::ShutdownTimeout;
use crate::base::time::Mono;
use crate::policy::Machine as _;

/// A world in which starts and stops complete when the test says so.
struct World {
    machine: Supervisor,
    now: Mono,
    /// Told to start or started, and not ended: the incarnation, and whether it is up.
    live: BTreeMap<u32, (u64, bool)>,
    stopping: BTreeSet<u32>,
    trace: String,
    over: Option<ExitReason>,
    /// What the machine has sent to itself.
    retries: VecDeque<Run>,
}

fn flags(strategy: Strategy, discipline: Discipline) -> Flags {
    Flags { intensity: 2, discipline, first_start: FirstStart::Retry, ..Flags::otp(strategy) }
}

fn spec(id: &str, restart: RestartType) -> ChildSpec {
    ChildSpec { restart, shutdown: ShutdownTimeout::Infinity, ..ChildSpec::worker(id) }
}

impl World {
    fn new(flags: Flags, children: &[(&str, RestartType)]) -> Self {
        let machine = Supervisor::new(flags, children.iter().map(|(id, restart)| spec(id, *restart)));
        let (live, stopping) = (BTreeMap::new(), BTreeSet::new());
        Self { machine, now: Mono(0), live, stopping, trace: String::new(), over: None, retries: VecDeque::new() }
    }

    /// Three permanent children a, b, c.
    fn abc(strategy: Strategy, discipline: Discipline) -> Self {
        let permanent = RestartType::Permanent;
        Self::new(flags(strategy, discipline), &[("a", permanent), ("b", permanent), ("c", permanent)])
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        for effect in out {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        let name = |key: ChildKey| char::from(b'a' + u8::try_from(key.0).unwrap());
        assert_eq!(self.over, None, "an effect after the end: {effect:?}");
        match effect {
            Effect::Start(run, cause) => {
                let old = self.live.insert(run.child.0, (run.incarnation, false));
                assert_eq!(old, None, "started twice: {run:?}");
                let late = if matches!(cause, StartCause::Late(_)) { "~" } else { "" };
                write!(self.trace, "+{}{late} ", name(run.child)).unwrap();
            }
            Effect::Stop(run, _) => {
                assert_eq!(self.live.get(&run.child.0).map(|(incarnation, _)| *incarnation), Some(run.incarnation));
                assert!(self.stopping.insert(run.child.0), "stopped twice: {run:?}");
                write!(self.trace, "-{} ", name(run.child)).unwrap();
            }
            Effect::Kill(run) => {
                self.stopping.insert(run.child.0);
                write!(self.trace, "!{} ", name(run.child)).unwrap();
            }
            Effect::KillTree(run) | Effect::Abandon(run) => {
                self.stopping.insert(run.child.0);
                let how = if matches!(effect, Effect::KillTree(_)) { "!!" } else { "!+" };
                write!(self.trace, "{how}{} ", name(run.child)).unwrap();
            }
            Effect::Up => self.trace.push_str("up "),
            Effect::Reply(_, reply) => write!(self.trace, "{} ", reply_name(&reply)).unwrap(),
            Effect::Terminated(reason) => {
                assert!(self.live.is_empty(), "something is left: {:?}", self.live);
                write!(self.trace, "end:{reason} ").unwrap();
                self.over = Some(reason);
            }
            Effect::Forget(child) => write!(self.trace, "forget:{} ", name(child)).unwrap(),
            Effect::Report(Report::ReachedMaxRestartIntensity { .. }) => self.trace.push_str("limit "),
            Effect::Retry(run) => self.retries.push_back(run),
            Effect::Report(_) | Effect::Added(..) => {}
        }
    }

    fn run(&self, child: u32) -> Run {
        Run { child: ChildKey(child), incarnation: self.live[&child].0 }
    }

    fn started(&mut self, child: u32) {
        let run = self.run(child);
        self.live.insert(child, (run.incarnation, true));
        self.step(Input::Started(run));
    }

    fn failed(&mut self, child: u32) {
        let run = self.run(child);
        self.live.remove(&child);
        self.stopping.remove(&child);
        self.step(Input::StartFailed(run, ExitReason::error("failed")));
    }

    fn ended(&mut self, child: u32, reason: ExitReason) {
        let run = self.run(child);
        self.live.remove(&child);
        self.stopping.remove(&child);
        self.step(Input::Exited(run, reason));
    }

    fn crashed(&mut self, child: u32) {
        self.ended(child, ExitReason::error("crash"));
    }

    /// Completes everything that is under way, until nothing is.
    fn settle(&mut self) {
        loop {
            if let Some(child) = self.stopping.first().copied() {
                self.ended(child, ExitReason::Shutdown);
            } else if let Some((&child, _)) = self.live.iter().find(|(_, (_, up))| !up) {
                self.started(child);
            } else if let Some(run) = self.retries.pop_front() {
                self.step(Input::Retry(run));
            } else {
                return;
            }
        }
    }

    fn up(mut self) -> Self {
        self.step(Input::Start);
        self.settle();
        self.trace.clear();
        self
    }

    fn ask(&mut self, request: Request) {
        self.step(Input::Request(RequestId(0), request));
    }

    #[track_caller]
    fn says(&mut self, expected: &str) {
        assert_eq!(std::mem::take(&mut self.trace).trim_end(), expected);
    }
}

const fn reply_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Started(_) => "ok:started",
        Reply::Ignored => "ok:ignored",
        Reply::Stopped => "ok:stopped",
        Reply::Children(_) => "ok:children",
        Reply::Reloaded(_) => "ok:reloaded",
        Reply::Deleted => "ok:deleted",
        Reply::Child(_) => "ok:child",
        Reply::Counts(_) => "ok:counts",
        Reply::Error(_) => "error",
    }
}

const ORDERED: Discipline = Discipline::Concurrent(StartOrder::Ordered);
const PARALLEL: Discipline = Discipline::Concurrent(StartOrder::Parallel);

#[test]
fn ordered_children_start_one_by_one_and_stop_in_reverse() {
    for discipline in [ORDERED, Discipline::Sequential] {
        let mut world = World::abc(Strategy::OneForOne, discipline);
        world.step(Input::Start);
        world.says("+a");
        world.started(0);
        world.says("+b");
        world.settle();
        world.says("+c up");
        world.step(Input::Shutdown(ExitReason::Shutdown));
        world.says("-c");
        world.settle();
        world.says("-b -a end:shutdown");
    }
}

#[test]
fn parallel_children_start_and_stop_at_once() {
    let mut world = World::abc(Strategy::OneForOne, PARALLEL);
    world.step(Input::Start);
    world.says("+a +b +c");
    world.settle();
    world.step(Input::Shutdown(ExitReason::Shutdown));
    world.says("up -a -b -c");
}

#[test]
fn each_strategy_concerns_its_own() {
    for (strategy, expected) in [(Strategy::OneForOne, "+b"), (Strategy::OneForAll, "-c -a +a +b +c"), (Strategy::RestForOne, "-c +b +c")] {
        for discipline in [ORDERED, Discipline::Sequential] {
            let mut world = World::abc(strategy, discipline).up();
            world.crashed(1);
            world.settle();
            world.says(expected);
        }
    }
}

#[test]
fn one_slow_child_keeps_nobody_waiting() {
    let mut world = World::abc(Strategy::OneForOne, ORDERED).up();
    world.crashed(0);
    world.crashed(2);
    world.says("+a +c");
    // OTP's own discipline serves one after the other.
    let mut world = World::abc(Strategy::OneForOne, Discipline::Sequential).up();
    world.crashed(0);
    world.crashed(2);
    world.says("+a");
    world.started(0);
    world.says("+c");
}

#[test]
fn one_that_was_up_and_failed_since_does_not_keep_its_supervisor_from_being_up() {
    let mut world = World::abc(Strategy::OneForOne, PARALLEL);
    world.step(Input::Start);
    world.started(0);
    world.started(1);
    world.crashed(0);
    world.says("+a +b +c +a");
    world.started(2);
    world.says("up");
}

#[test]
fn restart_types_decide_who_comes_back() {
    let kinds = [("a", RestartType::Permanent), ("b", RestartType::Transient), ("c", RestartType::Temporary)];
    for (reason, expected) in [(ExitReason::Normal, "+a"), (ExitReason::error("crash"), "+a +b"), (ExitReason::Killed, "+a +b")] {
        let mut world = World::new(flags(Strategy::OneForOne, PARALLEL), &kinds).up();
        for child in 0..3 {
            world.ended(child, reason.clone());
        }
        world.says(expected);
    }
}

#[test]
fn one_restart_too_many_ends_the_supervisor() {
    let mut world = World::abc(Strategy::OneForOne, ORDERED).up();
    for _ in 0..2 {
        world.crashed(1);
        world.settle();
    }
    world.says("+b +b");
    world.crashed(1);
    world.settle();
    world.says("limit -c -a end:shutdown");
    // Spread over time the same crashes are tolerated.
    let mut world = World::abc(Strategy::OneForOne, ORDERED).up();
    for _ in 0..10 {
        world.now = world.now + Duration::from_millis(2501);
        world.crashed(1);
        world.settle();
    }
    assert_eq!(world.over, None);
}

#[test]
fn a_root_may_keep_what_still_runs() {
    let mut keep = flags(Strategy::OneForOne, ORDERED);
    keep.at_limit = AtLimit::Keep;
    let permanent = RestartType::Permanent;
    let mut world = World::new(keep, &[("a", permanent), ("b", permanent)]).up();
    for _ in 0..3 {
        world.crashed(0);
        world.settle();
    }
    world.says("+a +a limit");
    world.crashed(1);
    world.says("+b");
    world.ask(Request::Start("a".into()));
    world.settle();
    world.says("+a ok:started");
}

#[test]
fn slow_retries_are_no_dead_end() {
    let mut slow = flags(Strategy::OneForOne, ORDERED);
    slow.at_limit = AtLimit::RetryAfter(Duration::from_secs(300));
    let mut world = World::new(slow, &[("a", RestartType::Permanent), ("b", RestartType::Permanent)]).up();
    for _ in 0..7 {
        world.crashed(0);
        world.settle();
    }
    // The intensity is counted anew after each.
    world.says("+a +a limit +a~ +a +a limit +a~ +a");
    assert_eq!(world.over, None);
}

#[test]
fn failed_starts_count_and_are_retried() {
    let mut world = World::abc(Strategy::OneForOne, ORDERED);
    world.step(Input::Start);
    world.started(0);
    world.failed(1);
    world.failed(1);
    world.says("+a +b +b +b");
    world.failed(1);
    world.settle();
    world.says("limit -a end:shutdown");
}

#[test]
fn defaults_are_otps() {
    let flags = Flags::otp(Strategy::OneForOne);
    assert_eq!((flags.intensity, flags.period, flags.auto_shutdown), (1, Duration::from_secs(5), AutoShutdown::Never));
}

#[test]
fn an_exit_of_an_earlier_incarnation_changes_nothing() {
    for discipline in [ORDERED, Discipline::Sequential] {
        let mut world = World::abc(Strategy::OneForAll, discipline).up();
        let old = world.run(1);
        world.crashed(1);
        world.settle();
        world.trace.clear();
        world.step(Input::Exited(old, ExitReason::error("late")));
        world.step(Input::StartFailed(old, ExitReason::error("late")));
        world.step(Input::Retry(old));
        world.says("");
    }
}

/// A sequential supervisor whose child `b` was killed and has just failed to come back.
fn restarting() -> World {
    let mut world = World::abc(Strategy::OneForOne, Discipline::Sequential).up();
    world.crashed(1);
    world.failed(1);
    world.trace.clear();
    world
}

#[test]
fn what_is_asked_between_a_failed_restart_and_its_retry() {
    let error = |request| {
        let mut world = restarting();
        let mut out = Vec::new();
        world.machine.step(world.now, Input::Request(RequestId(0), request), &mut out);
        out.into_iter().find_map(|effect| if let Effect::Reply(_, Reply::Error(error)) = effect { Some(error) } else { None })
    };
    assert_eq!(error(Request::Start("b".into())), Some(RequestError::Restarting));
    assert_eq!(error(Request::Delete("b".into())), Some(RequestError::Restarting));
    assert_eq!(error(Request::Add(spec("b", RestartType::Permanent))), Some(RequestError::AlreadyPresent));
    // Stopped, it stays down: the retry lapses.
    let mut world = restarting();
    world.ask(Request::Stop { child: "b".into(), hold: false });
    world.settle();
    world.says("ok:stopped");
    // Untouched, it comes back.
    let mut world = restarting();
    world.settle();
    world.says("+b");
}

#[test]
fn an_instance_that_finds_nothing_to_run_is_dropped() {
    let flags = Flags { dynamic: true, intensity: 5, ..Flags::otp(Strategy::OneForOne) };
    let mut world = World::new(flags, &[]).up();
    world.ask(Request::Add(spec("job", RestartType::Permanent)));
    world.settle();
    world.crashed(0);
    let run = world.run(0);
    world.live.remove(&0);
    world.step(Input::Ignored(run));
    world.says("+a ok:started +a forget:a");
    assert!(world.machine.children().is_empty());
    let auto = Flags { auto_shutdown: AutoShutdown::AnySignificant, ..world.machine.flags().clone() };
    assert_eq!(check(&auto, []), Err(SpecError::DynamicAutoShutdown));
}

#[test]
fn a_failed_first_start_rolls_back_under_otps_rules() {
    let mut otp = flags(Strategy::OneForOne, Discipline::Sequential);
    otp.first_start = FirstStart::RollBack;
    let permanent = RestartType::Permanent;
    let mut world = World::new(otp, &[("a", permanent), ("b", permanent), ("c", permanent)]);
    world.step(Input::Start);
    world.started(0);
    world.failed(1);
    world.settle();
    world.says("+a +b -a end:shutdown: failed to start child b: failed");
}

#[test]
fn a_sibling_that_does_not_come_back_is_retried_from_there() {
    for (strategy, expected) in [(Strategy::OneForAll, "-a +a +b +c"), (Strategy::RestForOne, "+b +c")] {
        let mut world = World::abc(strategy, ORDERED).up();
        world.crashed(0);
        // Everybody goes, a comes back, b fails.
        while !world.live.contains_key(&1) || !world.stopping.is_empty() || world.live[&1].1 {
            match world.stopping.first().copied() {
                Some(child) => world.ended(child, ExitReason::Shutdown),
                None => world.started(0),
            }
        }
        world.trace.clear();
        world.failed(1);
        world.settle();
        world.says(expected);
    }
}

#[test]
fn what_an_operator_stopped_stays_stopped() {
    let mut world = World::abc(Strategy::OneForAll, ORDERED).up();
    world.ask(Request::Stop { child: Which::from("b"), hold: true });
    world.settle();
    world.says("-b ok:stopped");
    world.crashed(0);
    world.settle();
    world.says("-c +a +c");
    world.ask(Request::Start("b".into()));
    world.settle();
    world.says("+b ok:started");
    // OTP's terminate_child does not hold: the next round brings the child back.
    world.now = world.now + Duration::from_secs(60);
    world.ask(Request::Stop { child: Which::from("b"), hold: false });
    world.settle();
    world.crashed(0);
    world.settle();
    world.says("-b ok:stopped -c +a +b +c");
}

#[test]
fn a_temporary_sibling_is_not_started_again() {
    let kinds = [("a", RestartType::Permanent), ("b", RestartType::Temporary)];
    for (discipline, forgotten) in [(ORDERED, "-b +a"), (Discipline::Sequential, "-b forget:b +a")] {
        let mut world = World::new(flags(Strategy::OneForAll, discipline), &kinds).up();
        world.crashed(0);
        world.settle();
        world.says(forgotten);
    }
    // What a file declares can be started again.
    let mut world = World::new(flags(Strategy::OneForAll, ORDERED), &kinds).up();
    world.crashed(0);
    world.settle();
    world.trace.clear();
    world.ask(Request::Start("b".into()));
    world.settle();
    world.says("+b ok:started");
}

#[test]
fn an_operators_restart_is_not_counted() {
    let mut world = World::abc(Strategy::OneForOne, ORDERED).up();
    for _ in 0..10 {
        world.ask(Request::Restart("b".into()));
        world.settle();
        world.says("-b +b ok:started");
    }
}

#[test]
fn a_child_that_dies_while_it_is_being_stopped_is_not_counted() {
    let mut world = World::abc(Strategy::OneForAll, Discipline::Sequential).up();
    world.crashed(0);
    world.says("-c");
    world.crashed(1);
    world.settle();
    world.says("+a +b +c");
}

#[test]
fn a_child_that_is_dead_already_is_not_killed() {
    let mut world = World::abc(Strategy::OneForOne, Discipline::Sequential).up();
    world.step(Input::Shutdown(ExitReason::Shutdown));
    world.crashed(0);
    world.step(Input::Kill);
    world.settle();
    world.says("-c !b !c end:killed");
}

/// A worker and two supervisors, of which the last has not come up yet.
fn half_up() -> World {
    let below = |id: &str| ChildSpec::supervisor(id);
    let mut world = World::new(Flags::otp(Strategy::OneForOne), &[]);
    let children = [spec("a", RestartType::Permanent), below("b"), below("c")];
    world.machine = Supervisor::new(Flags::otp(Strategy::OneForOne), children);
    world.step(Input::Start);
    world.started(0);
    world.started(1);
    world.says("+a +b +c");
    world
}

#[test]
fn the_end_of_the_whole_trees_time_goes_down_whatever_is_starting_or_stopping() {
    let mut world = half_up();
    world.step(Input::Shutdown(ExitReason::Shutdown));
    world.says("");
    world.step(Input::KillTree);
    world.settle();
    world.says("!a !!b !!c end:killed");
    // One that was asked, and takes as long as it likes, is told as well.
    let mut world = half_up();
    world.started(2);
    world.says("up");
    world.step(Input::Shutdown(ExitReason::Shutdown));
    world.says("-c");
    world.step(Input::KillTree);
    world.settle();
    world.says("!a !!b !!c end:killed");
}

#[test]
fn of_a_start_nobody_waits_for_what_is_up_is_stopped_in_order() {
    let mut world = half_up();
    world.step(Input::Abandon);
    world.says("!+c");
    world.settle();
    world.says("-b -a end:shutdown");
    // A worker that hangs in its start has nobody below it to ask.
    let mut world = World::abc(Strategy::OneForOne, Discipline::Sequential);
    world.step(Input::Start);
    world.started(0);
    world.step(Input::Abandon);
    world.settle();
    world.says("+a +b !b -a end:shutdown");
}

#[test]
fn a_temporary_child_that_never_ran_waits_on_for_its_first_start() {
    let kinds = [("a", RestartType::Permanent), ("b", RestartType::Temporary)];
    let mut world = World::new(flags(Strategy::RestForOne, ORDERED), &kinds);
    world.step(Input::Start);
    world.failed(0);
    world.settle();
    world.says("+a +a +b up");
}

#[test]
fn a_late_stop_ends_in_a_kill() {
    let mut one = spec("a", RestartType::Permanent);
    one.shutdown = ShutdownTimeout::After(Duration::from_secs(1));
    let mut world = World::new(flags(Strategy::OneForOne, ORDERED), &[]);
    world.machine = Supervisor::new(flags(Strategy::OneForOne, ORDERED), [one]);
    let mut world = world.up();
    world.step(Input::Shutdown(ExitReason::Shutdown));
    assert_eq!(world.machine.deadline(), Some(Mono(1_000_000_000)));
    let mut out = Vec::new();
    world.machine.wake(Mono(1_000_000_000), &mut out);
    assert_eq!(out, [Effect::Kill(world.run(0))]);
}

#[test]
fn a_reload_touches_only_what_changed() {
    let mut world = World::abc(Strategy::OneForOne, ORDERED).up();
    let permanent = RestartType::Permanent;
    let children = ["c", "b", "d"].into_iter().map(|id| spec(id, permanent)).collect();
    let flags = world.machine.flags().clone();
    world.ask(Request::Reload { flags, children, restart: vec!["b".into()] });
    world.settle();
    world.says("ok:reloaded -b -a +b forget:a +d");
    world.step(Input::Shutdown(ExitReason::Shutdown));
    world.settle();
    world.says("-d -b -c end:shutdown");
}

//! A tree of supervisor machines in virtual time, with leaves that behave as the case says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::case::{Case, Group, Kind, Leaf, Node};
use super::check::Books;
use super::fault::{Fault, What, stamp_ms};
use super::trace::{does, hears};
use crate::base::exit::ExitReason;
use crate::base::time::Mono;
use crate::plan::ShutdownTimeout;
use crate::policy::Machine as _;
use crate::policy::supervisor::{ChildKey, ChildSpec, Effect, Input, Request, RequestId, Run, Supervisor, Which};

/// After so many steps a case is called endless: nothing that is declared takes nearly as many.
const STEPS: u32 = 20_000;

/// How a run of a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What happened, a line each; empty if it was not asked for.
    pub(crate) trace: String,
    /// The rule that was broken.
    pub(crate) violation: Option<String>,
    /// How many inputs the machines have had.
    pub(crate) steps: u32,
}

/// Changes what a machine wants done before anybody sees it: makes a wrong machine of a right one, to prove that it is found.
pub(crate) type Tamper = fn(&Input, &mut Vec<Effect>);

/// Runs a case from its start to its orderly end.
pub(crate) fn run(case: &Case, traced: bool) -> Outcome {
    run_tampered(case, traced, |_, _| {})
}

pub(super) fn run_tampered(case: &Case, traced: bool, tamper: Tamper) -> Outcome {
    let mut world = World::new(case, traced, tamper);
    let violation = world.live(case).err();
    if let Some(violation) = &violation {
        world.note("", || format!("VIOLATION: {violation}"));
    }
    Outcome { trace: world.trace.unwrap_or_default(), violation, steps: world.steps }
}

/// Runs a case whose root hears `what` after so many milliseconds, whatever is going on then. Returns besides after how many more the root
/// had ended, if it was there to hear it.
#[cfg(test)]
pub(super) fn run_interrupted(case: &Case, millis: u64, what: Input) -> (Outcome, Option<u64>) {
    let mut world = World::new(case, false, |_, _| {});
    world.after(millis, Happening::Hears(ROOT, what));
    let violation = world.live(case).err();
    let took = world.root_ended.and_then(|at| (at.0 / 1_000_000).checked_sub(millis));
    (Outcome { trace: String::new(), violation, steps: world.steps }, took)
}

/// One incarnation of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SupervisorId(u32);

/// The first one.
const ROOT: SupervisorId = SupervisorId(0);

struct Incarnation<'a> {
    id: Arc<str>,
    machine: Supervisor,
    books: Books,
    parent: Option<(SupervisorId, Run)>,
    /// What its children are.
    nodes: BTreeMap<ChildKey, &'a Node>,
    /// Of a dynamic supervisor, what each instance is like.
    template: Option<&'a Node>,
}

/// One incarnation of a leaf. It is gone from the world when its supervisor has heard of its end.
struct Running {
    /// The node it is an incarnation of.
    node: Arc<str>,
    leaf: Leaf,
    stage: Stage,
    /// It does not end when asked.
    hangs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Up,
    Stopping,
    /// Its end is on its way to its supervisor.
    Dead,
}

/// What lies in the future.
enum Happening {
    Fault(usize),
    /// A supervisor hears something.
    Hears(SupervisorId, Input),
    /// The start of a leaf is decided.
    Begun(SupervisorId, Run),
    /// A leaf ends.
    Ends(SupervisorId, Run, ExitReason),
    /// A supervisor hears of a leaf's end.
    Gone(SupervisorId, Run, Input),
}

struct World<'a> {
    now: Mono,
    steps: u32,
    queue: BTreeMap<(Mono, u64), Happening>,
    queued: u64,
    supervisors: BTreeMap<SupervisorId, Incarnation<'a>>,
    leaves: BTreeMap<(SupervisorId, Run), Running>,
    /// The supervisor above each node, in its latest incarnation.
    above: BTreeMap<Arc<str>, SupervisorId>,
    /// How many of a node's next starts fail.
    failing: BTreeMap<Arc<str>, u32>,
    ignoring: BTreeSet<Arc<str>>,
    hanging: BTreeSet<Arc<str>>,
    next_supervisor: u32,
    next_request: u64,
    root_ended: Option<Mono>,
    trace: Option<String>,
    tamper: Tamper,
}

type Checked = Result<(), String>;

impl<'a> World<'a> {
    fn new(case: &'a Case, traced: bool, tamper: Tamper) -> Self {
        let mut world = Self {
            now: Mono(0),
            steps: 0,
            queue: BTreeMap::new(),
            queued: 0,
            supervisors: BTreeMap::new(),
            leaves: BTreeMap::new(),
            above: BTreeMap::new(),
            failing: BTreeMap::new(),
            ignoring: BTreeSet::new(),
            hanging: BTreeSet::new(),
            next_supervisor: 0,
            next_request: 0,
            root_ended: None,
            trace: traced.then(String::new),
            tamper,
        };
        for (at, fault) in case.faults.iter().enumerate() {
            world.after(fault.at, Happening::Fault(at));
        }
        world
    }

    fn live(&mut self, case: &'a Case) -> Checked {
        let root = match &case.root.kind {
            Kind::Supervisor(group) => self.begin(&case.root, group, None),
            Kind::Leaf(_) => return Err("the root is no supervisor".into()),
        };
        self.go_on(case)?;
        for supervisor in self.supervisors.values() {
            supervisor.books.at_rest().map_err(|error| format!("{}: {error}", supervisor.id))?;
        }
        if self.supervisors.contains_key(&root) {
            self.note("root", || "is stopped: the end of the case".into());
            self.after(0, Happening::Hears(root, Input::Shutdown(ExitReason::Shutdown)));
            self.go_on(case)?;
        }
        match (self.supervisors.values().next(), self.leaves.values().next()) {
            (Some(left), _) => Err(format!("{} has not ended", left.id)),
            (None, Some(left)) => Err(format!("{} still runs, and its supervisor is gone", left.node)),
            (None, None) => Ok(()),
        }
    }

    /// Lets everything happen that lies in the future.
    fn go_on(&mut self, case: &'a Case) -> Checked {
        loop {
            let deadline = self.supervisors.iter().filter_map(|(id, one)| Some((one.machine.deadline()?, *id))).min();
            let next = self.queue.first_key_value().map(|(key, _)| key.0);
            match (deadline, next) {
                (None, None) => return Ok(()),
                (Some((at, id)), next) if next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    self.wake(id)?;
                }
                (_, _) => {
                    let Some(((at, _), happening)) = self.queue.pop_first() else { return Ok(()) };
                    self.now = self.now.max(at);
                    self.happens(case, happening)?;
                }
            }
            self.steps += 1;
            if self.steps > STEPS {
                return Err(format!("it does not come to rest within {STEPS} steps"));
            }
        }
    }

    fn after(&mut self, millis: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((self.now + Duration::from_millis(millis), self.queued), happening);
    }

    fn note(&mut self, who: &str, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push_str(&format!("{:>9}  {who:<6} {}\n", stamp_ms(self.now.0 / 1_000_000), text()));
        }
    }

    /// Begins an incarnation of a supervisor.
    fn begin(&mut self, node: &'a Node, group: &'a Group, parent: Option<(SupervisorId, Run)>) -> SupervisorId {
        let id = SupervisorId(self.next_supervisor);
        self.next_supervisor += 1;
        let children: &'a [Node] = if group.flags.dynamic { &[] } else { &group.children };
        let specs: Vec<ChildSpec> = children.iter().map(|child| child.spec.clone()).collect();
        let books = Books::new(group.flags.clone(), &specs);
        let nodes = (0..).map(ChildKey).zip(children).collect();
        for child in &group.children {
            self.above.insert(child.id().clone(), id);
        }
        let template = if group.flags.dynamic { group.children.first() } else { None };
        let machine = Supervisor::new(group.flags.clone(), specs);
        self.supervisors.insert(id, Incarnation { id: node.id().clone(), machine, books, parent, nodes, template });
        self.after(0, Happening::Hears(id, Input::Start));
        id
    }

    fn happens(&mut self, case: &'a Case, happening: Happening) -> Checked {
        match happening {
            Happening::Fault(at) => {
                self.fault(case, &case.faults[at]);
                Ok(())
            }
            Happening::Hears(id, input) => self.step(id, input),
            Happening::Begun(id, run) => self.begun(id, run),
            Happening::Ends(id, run, reason) => {
                if let Some(leaf) = self.leaves.get_mut(&(id, run)).filter(|leaf| leaf.stage != Stage::Dead) {
                    leaf.stage = Stage::Dead;
                    let lag = leaf.leaf.lag;
                    self.after(lag, Happening::Gone(id, run, Input::Exited(run, reason)));
                }
                Ok(())
            }
            Happening::Gone(id, run, input) => {
                self.leaves.remove(&(id, run));
                self.step(id, input)
            }
        }
    }

    /// How the start of a leaf goes.
    fn begun(&mut self, id: SupervisorId, run: Run) -> Checked {
        let Some(leaf) = self.leaves.get_mut(&(id, run)).filter(|leaf| leaf.stage == Stage::Starting) else { return Ok(()) };
        let node = leaf.node.clone();
        if let Some(left) = self.failing.get_mut(&node).filter(|left| **left > 0) {
            *left -= 1;
            leaf.stage = Stage::Dead;
            self.after(0, Happening::Gone(id, run, Input::StartFailed(run, ExitReason::error("it does not start"))));
        } else if self.ignoring.remove(&node) {
            leaf.stage = Stage::Dead;
            self.after(0, Happening::Gone(id, run, Input::Ignored(run)));
        } else {
            leaf.stage = Stage::Up;
            return self.step(id, Input::Started(run));
        }
        Ok(())
    }

    fn step(&mut self, id: SupervisorId, input: Input) -> Checked {
        let Some(one) = self.supervisors.get_mut(&id) else { return Ok(()) };
        let mut out = Vec::new();
        let (now, name) = (self.now, one.id.clone());
        let heard = one.books.hears(now, &input);
        if self.trace.is_some() {
            let text = hears(&one.books, &input);
            self.note(&name, || format!("hears {text}"));
        }
        heard.map_err(|error| format!("{name}: {error}"))?;
        let Some(one) = self.supervisors.get_mut(&id) else { return Ok(()) };
        one.machine.step(now, input.clone(), &mut out);
        (self.tamper)(&input, &mut out);
        self.carry_out(id, out)
    }

    fn wake(&mut self, id: SupervisorId) -> Checked {
        let Some(one) = self.supervisors.get_mut(&id) else { return Ok(()) };
        let mut out = Vec::new();
        one.machine.wake(self.now, &mut out);
        self.carry_out(id, out)
    }

    fn carry_out(&mut self, id: SupervisorId, out: Vec<Effect>) -> Checked {
        let Some(name) = self.supervisors.get(&id).map(|one| one.id.clone()) else { return Ok(()) };
        for effect in out {
            let Some(one) = self.supervisors.get_mut(&id) else { return Ok(()) };
            let text = if self.trace.is_some() { does(&one.books, &effect) } else { String::new() };
            let checked = one.books.does(self.now, &effect);
            self.note(&name, || text);
            checked.map_err(|error| format!("{name}: {error}"))?;
            self.effect(id, effect);
        }
        let Some(one) = self.supervisors.get(&id) else { return Ok(()) };
        one.books.after(self.now).map_err(|error| format!("{name}: {error}"))?;
        if one.books.is_over() {
            self.supervisors.remove(&id);
            if id == ROOT {
                self.root_ended = Some(self.now);
            }
            if let Some((key, leaf)) = self.leaves.iter().find(|((above, _), _)| *above == id) {
                return Err(format!("{name}: it has ended, and {} (incarnation {}) still runs", leaf.node, key.1.incarnation));
            }
        }
        Ok(())
    }

    fn effect(&mut self, id: SupervisorId, effect: Effect) {
        let Some(one) = self.supervisors.get(&id) else { return };
        match effect {
            Effect::Start(run, _) => self.start(id, run),
            Effect::Stop(run, reason) => self.stop(id, run, Input::Shutdown(reason)),
            Effect::Kill(run) => self.stop(id, run, Input::Kill),
            Effect::KillTree(run) => self.stop(id, run, Input::KillTree),
            Effect::Abandon(run) => self.stop(id, run, Input::Abandon),
            Effect::Retry(run) => self.after(0, Happening::Hears(id, Input::Retry(run))),
            Effect::Added(_, key) => {
                let base: Option<&'a Node> = one.template.or_else(|| {
                    let name = one.books.name(key);
                    let original = name.split('+').next().unwrap_or_default().to_owned();
                    one.nodes.values().copied().find(|node| **node.id() == *original)
                });
                if let (Some(base), Some(one)) = (base, self.supervisors.get_mut(&id)) {
                    one.nodes.insert(key, base);
                }
            }
            Effect::Up => {
                if let Some((above, run)) = one.parent {
                    self.after(0, Happening::Hears(above, Input::Started(run)));
                }
            }
            Effect::Terminated(reason) => {
                if let Some((above, run)) = one.parent {
                    self.after(0, Happening::Hears(above, Input::Exited(run, reason)));
                }
            }
            // The node of a forgotten child stays, for others that are added after its like.
            Effect::Forget(_) | Effect::Reply(..) | Effect::Report(_) => {}
        }
    }

    fn start(&mut self, id: SupervisorId, run: Run) {
        let Some(node) = self.supervisors.get(&id).and_then(|one| one.nodes.get(&run.child).copied()) else { return };
        match &node.kind {
            Kind::Supervisor(group) => {
                self.begin(node, group, Some((id, run)));
            }
            Kind::Leaf(leaf) => {
                let hangs = self.hanging.contains(node.id()) && node.spec.shutdown != ShutdownTimeout::Infinity;
                self.leaves.insert((id, run), Running { node: node.id().clone(), leaf: *leaf, stage: Stage::Starting, hangs });
                self.after(leaf.start, Happening::Begun(id, run));
            }
        }
    }

    /// Ends a child in the way a supervisor below would hear of it.
    fn stop(&mut self, id: SupervisorId, run: Run, how: Input) {
        let nested = self.supervisors.iter().find(|(_, one)| one.parent == Some((id, run))).map(|(nested, _)| *nested);
        if let Some(nested) = nested {
            return self.after(0, Happening::Hears(nested, how));
        }
        let Some(leaf) = self.leaves.get_mut(&(id, run)).filter(|leaf| leaf.stage != Stage::Dead) else { return };
        leaf.stage = Stage::Stopping;
        let (takes, hangs) = (leaf.leaf.stop, leaf.hangs);
        match how {
            Input::Shutdown(reason) if !hangs => self.after(takes, Happening::Ends(id, run, reason)),
            Input::Shutdown(_) => {}
            _ => self.after(1, Happening::Ends(id, run, ExitReason::Killed)),
        }
    }

    fn fault(&mut self, case: &'a Case, fault: &Fault) {
        self.note("", || format!("{} {}", fault.node, fault.what));
        match fault.what {
            What::FailStarts(times) => *self.failing.entry(fault.node.clone()).or_default() += times,
            What::Ignore => {
                self.ignoring.insert(fault.node.clone());
            }
            What::Hang => {
                self.hanging.insert(fault.node.clone());
                for leaf in self.leaves.values_mut().filter(|leaf| leaf.node == fault.node) {
                    leaf.hangs = case.node(&fault.node).is_some_and(|node| node.spec.shutdown != ShutdownTimeout::Infinity);
                }
            }
            What::Finish => self.end(fault, ExitReason::Normal),
            What::Crash => self.end(fault, ExitReason::error("crash")),
            What::Kill => self.end(fault, ExitReason::Killed),
            What::Start | What::Stop { .. } | What::Restart | What::Delete | What::Add => self.ask(case, fault),
        }
    }

    /// A node ends by itself; a supervisor only by being killed.
    fn end(&mut self, fault: &Fault, reason: ExitReason) {
        let up =
            |(_, leaf): &(&(SupervisorId, Run), &Running)| leaf.node == fault.node && matches!(leaf.stage, Stage::Up | Stage::Starting);
        if let Some((&(id, run), _)) = self.leaves.iter().find(up) {
            self.after(0, Happening::Ends(id, run, reason));
        } else if reason == ExitReason::Killed {
            let alive = self.supervisors.iter().find(|(_, one)| one.id == fault.node).map(|(id, _)| *id);
            if let Some(id) = alive {
                self.after(0, Happening::Hears(id, Input::Kill));
            }
        }
    }

    fn ask(&mut self, case: &'a Case, fault: &Fault) {
        let Some(&id) = self.above.get(&fault.node) else {
            if let (What::Stop { .. }, Some((&root, _))) = (fault.what, self.supervisors.first_key_value()) {
                self.after(0, Happening::Hears(root, Input::Shutdown(ExitReason::Shutdown)));
            }
            return;
        };
        let Some(one) = self.supervisors.get(&id) else { return };
        let number = self.next_request;
        let which = if one.template.is_some() {
            let instance = self.leaves.iter().find(|((above, _), leaf)| *above == id && leaf.stage == Stage::Up);
            Which::Run(instance.map_or(Run { child: ChildKey(0), incarnation: 1 }, |((_, run), _)| *run))
        } else {
            Which::Id(fault.node.clone())
        };
        let request = match fault.what {
            What::Start => Request::Start(which),
            What::Stop { hold } => Request::Stop { child: which, hold: hold && one.template.is_none() },
            What::Restart => Request::Restart(which),
            What::Delete => Request::Delete(which),
            _ => match case.node(&fault.node).filter(|node| matches!(node.kind, Kind::Leaf(_))) {
                Some(node) => Request::Add(ChildSpec { id: format!("{}+{number}", fault.node).into(), ..node.spec.clone() }),
                None => return,
            },
        };
        self.next_request += 1;
        self.after(0, Happening::Hears(id, Input::Request(RequestId(number), request)));
    }
}

impl Case {
    /// The node of this id.
    fn node(&self, id: &str) -> Option<&Node> {
        let mut found = None;
        self.root.each(&mut |node| {
            if **node.id() == *id {
                found = Some(node);
            }
        });
        found
    }
}

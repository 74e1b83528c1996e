//! Random cases, each made of its number alone.

use std::sync::Arc;
use std::time::Duration;

use super::case::{Case, Group, Kind, Leaf, Node};
use super::fault::{Fault, What};
use crate::base::rng::Rng;
use crate::plan::{RestartType, ShutdownTimeout, StartOrder, Strategy};
use crate::policy::supervisor::{AtLimit, AutoShutdown, ChildSpec, Discipline, FirstStart, Flags};

/// The most nodes a random tree has.
const NODES: u32 = 30;
/// How many levels of supervisors it has at most.
const DEPTH: u32 = 4;

const DISCIPLINES: [Discipline; 3] =
    [Discipline::Sequential, Discipline::Concurrent(StartOrder::Ordered), Discipline::Concurrent(StartOrder::Parallel)];

impl Case {
    /// The random case of this number.
    pub(crate) fn random(seed: u64) -> Self {
        let mut maker = Maker { rng: Rng::derive(seed, &["simulate"]), nodes: 0, left: 0, discipline: Discipline::Sequential };
        let most = if maker.one_in(3) { u64::from(NODES) - 1 } else { 7 };
        maker.left = 1 + maker.pick(most);
        maker.discipline = maker.of(&DISCIPLINES);
        let mut root = maker.supervisor(ChildSpec::supervisor("root"), 1);
        if let Kind::Supervisor(group) = &mut root.kind
            && group.flags.discipline != Discipline::Sequential
            && maker.one_in(3)
        {
            group.flags.at_limit = maker.of(&[AtLimit::Keep, AtLimit::RetryAfter(Duration::from_secs(30))]);
        }
        let faults = maker.faults(&root);
        Self { root, faults }
    }
}

struct Maker {
    rng: Rng,
    nodes: u32,
    left: u64,
    discipline: Discipline,
}

impl Maker {
    fn pick(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.pick(n) == 0
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        let at = self.pick(list.len() as u64);
        list[usize::try_from(at).unwrap_or(0)].clone()
    }

    fn flags(&mut self) -> Flags {
        let strategy = self.of(&[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne]);
        let discipline = if self.one_in(4) { self.of(&DISCIPLINES) } else { self.discipline };
        let sequential = discipline == Discipline::Sequential;
        Flags {
            intensity: u32::try_from(self.pick(6)).unwrap_or(0),
            period: Duration::from_secs(1 + self.pick(8)),
            discipline,
            auto_shutdown: self.of(&[AutoShutdown::Never, AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant]),
            first_start: if sequential { FirstStart::RollBack } else { FirstStart::Retry },
            ..Flags::otp(strategy)
        }
    }

    fn supervisor(&mut self, spec: ChildSpec, depth: u32) -> Node {
        let mut flags = self.flags();
        if depth > 1 && flags.discipline == Discipline::Sequential && self.one_in(5) {
            flags = Flags { dynamic: true, strategy: Strategy::OneForOne, auto_shutdown: AutoShutdown::Never, ..flags };
            flags.max_children = if self.one_in(2) { Some(1 + usize::try_from(self.pick(4)).unwrap_or(0)) } else { None };
            let template = self.leaf(AutoShutdown::Never);
            return Node { spec, kind: Kind::Supervisor(Group { flags, children: vec![template] }) };
        }
        let mut children = Vec::new();
        let count = 1 + self.pick(if depth == 1 { 8 } else { 5 });
        while self.left > 0 && (children.len() as u64) < count {
            self.left -= 1;
            children.push(if depth < DEPTH && self.one_in(3) {
                let spec = self.spec(flags.auto_shutdown, true);
                self.supervisor(spec, depth + 1)
            } else {
                self.leaf(flags.auto_shutdown)
            });
        }
        Node { spec, kind: Kind::Supervisor(Group { flags, children }) }
    }

    fn spec(&mut self, auto: AutoShutdown, supervisor: bool) -> ChildSpec {
        self.nodes += 1;
        let id: Arc<str> = format!("{}{}", if supervisor { 's' } else { 'c' }, self.nodes).into();
        let restart = self.of(&[RestartType::Permanent, RestartType::Permanent, RestartType::Transient, RestartType::Temporary]);
        let significant = restart != RestartType::Permanent && auto != AutoShutdown::Never && self.one_in(2);
        let shutdown = match self.pick(6) {
            0 if !supervisor => ShutdownTimeout::BrutalKill,
            0..=2 => ShutdownTimeout::After(Duration::from_millis(5 + self.pick(100))),
            _ => ShutdownTimeout::Infinity,
        };
        let held = self.one_in(20);
        let base = if supervisor { ChildSpec::supervisor(id) } else { ChildSpec::worker(id) };
        ChildSpec { restart, significant, shutdown, held, ..base }
    }

    fn leaf(&mut self, auto: AutoShutdown) -> Node {
        let spec = self.spec(auto, false);
        let leaf = Leaf { start: self.pick(20), stop: self.pick(20), lag: self.pick(3) };
        Node { spec, kind: Kind::Leaf(leaf) }
    }

    fn faults(&mut self, root: &Node) -> Vec<Fault> {
        let mut ids = Vec::new();
        let mut templates = Vec::new();
        root.each(&mut |node| {
            ids.push(node.id().clone());
            if let Kind::Supervisor(group) = &node.kind
                && group.flags.dynamic
            {
                templates.extend(group.children.iter().map(|child| child.id().clone()));
            }
        });
        // Bursts are likelier to meet than faults spread out evenly.
        let spread = self.of(&[50, 1000, 10_000]);
        let count = self.pick(25);
        let mut at = 0;
        let mut faults = Vec::new();
        for _ in 0..count {
            at += match self.pick(8) {
                0..=2 => 0,
                // Periods are whole seconds: this meets their bounds.
                3 => 1000 * (1 + self.pick(3)),
                _ => self.pick(spread),
            };
            let node = self.of(&ids);
            if templates.contains(&node) && self.one_in(2) {
                // Without instances nothing happens there.
                for _ in 0..=self.pick(4) {
                    faults.push(Fault { at, node: node.clone(), what: What::Add });
                }
            }
            let what = match self.pick(3) {
                0 => self.of(&What::ALL),
                1 => What::Crash,
                _ => self.of(&[What::Crash, What::Finish, What::FailStarts(1), What::Add]),
            };
            let what = if let What::FailStarts(_) = what { What::FailStarts(1 + u32::try_from(self.pick(4)).unwrap_or(0)) } else { what };
            if let What::FailStarts(_) = what
                && self.one_in(2)
            {
                // Its starts fail at once, and somebody asks for something meanwhile.
                let request = self.of(&[What::Start, What::Stop { hold: false }, What::Restart, What::Delete]);
                let asked = at + self.pick(20);
                faults.push(Fault { at, node: node.clone(), what: What::Crash });
                faults.push(Fault { at: asked, node: node.clone(), what: request });
            }
            faults.push(Fault { at, node, what });
        }
        faults.sort_by_key(|fault| fault.at);
        faults
    }
}

//! Who depends on whom: one graph of what is declared, of systemd's units beside it, and of who is connected to whom.
//!
//! [`Graph::of`] makes it of a plan alone. [`Graph::with`] adds what was seen on the machine ([`Facts`]): the units of systemd one step around
//! the daemon and around what is watched, and connections that end at a unit.
//!
//! Of systemd's dependencies it leaves out those that tell nobody anything: on slices, on the root's mount, and on `sysinit.target`,
//! `basic.target`, `shutdown.target` and `systemd-journald.socket`, which systemd adds to every service by itself. Of sockets it leaves out
//! systemd's own below `/run/systemd/`, to which everything is connected.

mod facts;
mod links;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::facts::{Facts, Holder, Sockets, SystemdUnit, TcpSocket, UnixSocket};
use self::links::{Links, is_of_systemd};
use super::model::{Child, Plan, UnitPlan};
use crate::base::id::UnitId;

/// Units of systemd that everything depends on.
const EVERYWHERE: [&str; 5] = ["sysinit.target", "basic.target", "shutdown.target", "systemd-journald.socket", "-.mount"];

/// Who depends on whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// What there is: the tree from its root down, then units of systemd, then sockets nobody is known for.
    pub nodes: Vec<Node>,
    /// Who depends on whom, in order.
    pub edges: BTreeSet<Edge>,
    /// What could not be seen, and why.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A declared supervisor.
    Supervisor,
    /// A declared unit.
    Unit,
    /// A declared unit whose processes somebody else starts.
    Watched,
    /// A unit of systemd.
    Systemd,
    /// A socket of somebody who is not known.
    Socket,
}

/// Something that depends, or is depended on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name; a unit of systemd that is called like a declared one has `systemd:` before it.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// The supervisor of what is declared; none of the root and of the rest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<String>,
    /// A supervisor's strategy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub strategy: Option<String>,
    /// What systemd says its unit's state is: `active`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// Where it listens: addresses, and paths of Unix sockets.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub listens: BTreeSet<String>,
}

impl Node {
    fn new(id: impl Into<String>, kind: NodeKind) -> Self {
        Self { id: id.into(), kind, parent: None, strategy: None, state: None, listens: BTreeSet::new() }
    }

    /// Whether it is declared.
    #[must_use]
    pub const fn is_declared(&self) -> bool {
        match self.kind {
            NodeKind::Supervisor | NodeKind::Unit | NodeKind::Watched => true,
            NodeKind::Systemd | NodeKind::Socket => false,
        }
    }

    /// Whether systemd says that it does not run.
    #[must_use]
    pub fn is_down(&self) -> bool {
        matches!(self.state.as_deref(), Some("inactive" | "failed"))
    }
}

/// How one depends on the other. What is declared and systemd have the same words; what they mean differs: see [`super::fall()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// It stops with the other one.
    Binds,
    /// It does not start without the other one; of systemd's units it also stops with it.
    Requires,
    /// The same, and the other one is not started for it.
    Requisite,
    /// It stops with the other one, and is restarted with it.
    PartOf,
    /// It likes the other one to be there.
    Wants,
    /// It starts after the other one.
    After,
    /// Its processes are in that unit of systemd.
    RunsIn,
    /// It is connected to a socket of the other one.
    Connected,
}

impl EdgeKind {
    /// What one does to the other: `requires`.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Binds => "binds",
            Self::Requires => "requires",
            Self::Requisite => "requisite",
            Self::PartOf => "part of",
            Self::Wants => "wants",
            Self::After => "after",
            Self::RunsIn => "runs in",
            Self::Connected => "connected",
        }
    }
}

/// One depends on the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Edge {
    /// Who depends.
    pub from: String,
    /// How.
    pub kind: EdgeKind,
    /// On whom.
    pub to: String,
    /// By which address or path of a socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
}

/// What a unit depends on: how, and on whom.
fn needs(unit: &UnitPlan) -> [(EdgeKind, &[UnitId]); 4] {
    [(EdgeKind::Binds, &unit.binds), (EdgeKind::Requires, &unit.requires), (EdgeKind::Wants, &unit.wants), (EdgeKind::After, &unit.after)]
}

impl Graph {
    /// What is declared.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut graph = Self::default();
        let mut open = vec![(None, Child::Supervisor(plan.root.clone()))];
        while let Some((parent, child)) = open.pop() {
            let mut node = Node { parent, ..Node::new(child.as_str(), NodeKind::Supervisor) };
            match &child {
                Child::Supervisor(id) => {
                    let supervisor = &plan.supervisors[id];
                    node.strategy = Some(supervisor.strategy.to_string());
                    open.extend(supervisor.children.iter().rev().map(|child| (Some(id.as_str().to_owned()), child.clone())));
                }
                Child::Unit(id) => {
                    let unit = &plan.units[id];
                    node.kind = if unit.watch.is_some() { NodeKind::Watched } else { NodeKind::Unit };
                    for (kind, needed) in needs(unit) {
                        needed.iter().for_each(|needed| graph.edge(id.as_str(), kind, needed.as_str(), None));
                    }
                }
            }
            graph.nodes.push(node);
        }
        graph
    }

    /// The same with what was seen on the machine.
    #[must_use]
    pub fn with(mut self, facts: &Facts) -> Self {
        let names = Names(self.nodes.iter().map(|node| node.id.clone()).collect());
        let mut systemd: BTreeMap<String, Node> = BTreeMap::new();
        let root = self.nodes.first().map(|root| root.id.clone());
        let service = root.iter().flat_map(|root| facts.service.iter().map(move |service| (root.clone(), service)));
        let units = facts.homes.iter().flat_map(|(unit, homes)| homes.iter().map(move |home| (unit.as_str().to_owned(), home)));
        for (of, home) in service.chain(units) {
            self.edge(&of, EdgeKind::RunsIn, &names.systemd(home), None);
        }
        for unit in &facts.systemd {
            for edge in unit.edges() {
                let (from, to) = (names.systemd(&edge.from), names.systemd(&edge.to));
                self.edge(&from, edge.kind, &to, None);
            }
        }
        let links = Links::of(&facts.sockets);
        let hub = facts.service.as_ref().map(|service| Holder::Systemd(service.clone()));
        for (client, server, address) in &links.connected {
            let is_ours = |holder: &Holder| matches!(holder, Holder::Unit(_)) || hub.as_ref() == Some(holder);
            if is_ours(client) || server.as_ref().is_some_and(is_ours) {
                let to = server.as_ref().map_or_else(|| address.clone(), |server| names.holder(server));
                self.edge(&names.holder(client), EdgeKind::Connected, &to, Some(address.clone()));
            }
        }
        let ends: BTreeSet<&String> =
            self.edges.iter().flat_map(|edge| [&edge.from, &edge.to]).filter(|id| !names.0.contains(*id)).collect();
        let unknown: BTreeSet<&String> = links.connected.iter().filter(|(_, server, _)| server.is_none()).map(|(.., at)| at).collect();
        for id in ends {
            let kind = if unknown.contains(id) { NodeKind::Socket } else { NodeKind::Systemd };
            systemd.insert(id.clone(), Node::new(id.as_str(), kind));
        }
        for (name, state) in facts.systemd.iter().map(|unit| (&unit.name, &unit.state)).chain(&facts.states) {
            if let Some(node) = systemd.get_mut(&names.systemd(name)) {
                node.state = Some(state.clone());
            }
        }
        let mut rest: Vec<Node> = systemd.into_values().collect();
        rest.sort_by_key(|node| node.kind);
        self.nodes.extend(rest);
        for (holder, addresses) in &links.listens {
            let id = names.holder(holder);
            if let Some(node) = self.nodes.iter_mut().find(|node| node.id == id) {
                node.listens.extend(addresses.iter().filter(|address| !is_of_systemd(address)).cloned());
            }
        }
        self.notes.extend(facts.notes.iter().cloned());
        self
    }

    /// What is called so.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node of a unit of systemd, if there is one.
    #[must_use]
    pub fn systemd(&self, name: &str) -> Option<&Node> {
        let is_it = |node: &&Node| node.kind == NodeKind::Systemd && node.id.strip_prefix(PREFIX).unwrap_or(&node.id) == name;
        self.nodes.iter().find(is_it)
    }

    /// What one depends on.
    pub fn edges_from<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Edge> {
        // They are in the order of their beginnings.
        let first = Edge { from: id.into(), kind: EdgeKind::Binds, to: String::new(), address: None };
        self.edges.range(first..).take_while(move |edge| edge.from == id)
    }

    fn edge(&mut self, from: &str, kind: EdgeKind, to: &str, address: Option<String>) {
        self.edges.insert(Edge { from: from.into(), kind, to: to.into(), address });
    }
}

/// Before the name of a unit of systemd that is called like something declared.
const PREFIX: &str = "systemd:";

/// The names of what is declared.
struct Names(BTreeSet<String>);

impl Names {
    fn systemd(&self, name: &str) -> String {
        if self.0.contains(name) { format!("{PREFIX}{name}") } else { name.to_owned() }
    }

    fn holder(&self, holder: &Holder) -> String {
        match holder {
            Holder::Unit(unit) => unit.as_str().to_owned(),
            Holder::Systemd(name) => self.systemd(name),
        }
    }
}

/// Whether everything depends on a unit of systemd.
fn is_everywhere(name: &str) -> bool {
    name.strip_suffix(".slice").is_some() || EVERYWHERE.contains(&name)
}

#[cfg(test)]
mod tests;

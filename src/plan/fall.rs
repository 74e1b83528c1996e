//! What falls when something is stopped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::graph::{Edge, EdgeKind, Graph, Node, NodeKind};

/// What becomes of one when another is stopped; the worst is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It goes on, and starts without the other one.
    GoesWithout,
    /// It goes on, and loses a connection.
    LosesConnection,
    /// It goes on, but once it has ended it cannot start.
    CannotStart,
    /// It is stopped, too.
    Stops,
}

/// What becomes of one, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fall {
    /// Which unit, declared or of systemd.
    pub unit: String,
    /// What becomes of it.
    pub fate: Fate,
    /// The one because of which.
    pub because: String,
    /// How it depends on that.
    pub by: EdgeKind,
    /// By which address or path of a socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
}

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, fate, because, by, address } = self;
        let depends = match by {
            EdgeKind::Binds => "binds to",
            EdgeKind::PartOf => "is part of",
            EdgeKind::Requisite => "requires",
            EdgeKind::Connected => "is connected to",
            EdgeKind::Requires | EdgeKind::Wants | EdgeKind::After | EdgeKind::RunsIn => by.verb(),
        };
        match fate {
            Fate::Stops => write!(f, "{unit} stops: it {depends} {because}"),
            Fate::CannotStart => write!(f, "{unit} runs on, but cannot start again: it {depends} {because}"),
            Fate::GoesWithout => write!(f, "{unit} goes on without: it {depends} {because}"),
            Fate::LosesConnection => {
                write!(f, "{unit} loses its connection to {because} ({})", address.as_deref().unwrap_or("?"))
            }
        }
    }
}

/// What an edge means when its end is stopped. systemd stops what requires a unit with it (systemd.unit(5)); here it runs on.
const fn fate(from: NodeKind, kind: EdgeKind) -> Option<Fate> {
    match (kind, from) {
        (EdgeKind::Binds | EdgeKind::PartOf | EdgeKind::RunsIn, _) => Some(Fate::Stops),
        (EdgeKind::Requires | EdgeKind::Requisite, NodeKind::Systemd) => Some(Fate::Stops),
        (EdgeKind::Requires | EdgeKind::Requisite, _) => Some(Fate::CannotStart),
        (EdgeKind::Wants, _) => Some(Fate::GoesWithout),
        (EdgeKind::Connected, _) => Some(Fate::LosesConnection),
        (EdgeKind::After, _) => None,
    }
}

/// What becomes of the others when `stopped` are stopped and stay so: the worst first, each with the worst of its reasons, and with each connection
/// that it loses unless it stops. What systemd says to be down already is left out, but passes on what it is told.
#[must_use]
pub fn fall(graph: &Graph, stopped: &BTreeSet<String>) -> Vec<Fall> {
    let nodes: BTreeMap<&str, &Node> = graph.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let inside = Inside::of(graph);
    let mut dependents: BTreeMap<&str, Vec<(Fate, &Edge)>> = BTreeMap::new();
    for edge in graph.edges.iter() {
        if let Some(fate) = nodes.get(edge.from.as_str()).and_then(|node| fate(node.kind, edge.kind)) {
            dependents.entry(&edge.to).or_default().push((fate, edge));
        }
    }
    let mut fates: BTreeMap<&str, (Fate, &Edge)> = BTreeMap::new();
    let mut lost: BTreeSet<&Edge> = BTreeSet::new();
    let mut down: VecDeque<&str> = stopped.iter().map(String::as_str).collect();
    while let Some(because) = down.pop_front() {
        for &(fate, edge) in dependents.get(because).into_iter().flatten() {
            if fate == Fate::LosesConnection {
                lost.insert(edge);
                continue;
            }
            for unit in inside.units(edge).filter(|unit| !stopped.contains(*unit)) {
                if fates.get(unit).is_none_or(|(known, _)| *known < fate) {
                    fates.insert(unit, (fate, edge));
                    if fate == Fate::Stops {
                        down.push_back(unit);
                    }
                }
            }
        }
    }
    let stops = |unit: &str| stopped.contains(unit) || fates.get(unit).is_some_and(|(fate, _)| *fate == Fate::Stops);
    let lost = lost.iter().filter(|edge| !stops(&edge.from)).map(|edge| (edge.from.as_str(), (Fate::LosesConnection, *edge)));
    let all = fates.iter().map(|(unit, reason)| (*unit, *reason)).chain(lost);
    let runs = |unit: &str| nodes.get(unit).is_some_and(|node| !node.is_down());
    let mut falls: Vec<_> = all.filter(|(unit, _)| runs(unit)).map(|(unit, (fate, edge))| told(unit, fate, edge)).collect();
    falls.sort_by_key(|fall| std::cmp::Reverse(fall.fate));
    falls
}

fn told(unit: &str, fate: Fate, edge: &Edge) -> Fall {
    let Edge { kind, to, address, .. } = edge;
    Fall { unit: unit.into(), fate, because: to.clone(), by: *kind, address: address.clone() }
}

/// What is below each supervisor that something befalls: the daemon's root, when the daemon's own service is stopped.
struct Inside<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Inside<'a> {
    fn of(graph: &'a Graph) -> Self {
        let root = graph.nodes.first().filter(|root| root.kind == NodeKind::Supervisor);
        // What is only watched is nobody's to stop.
        let units = graph.nodes.iter().filter(|node| node.kind == NodeKind::Unit).map(|node| node.id.as_str());
        Self(root.map(|root| (root.id.as_str(), units.collect())).into_iter().collect())
    }

    fn units(&self, edge: &'a Edge) -> impl Iterator<Item = &'a str> {
        match self.0.get(edge.from.as_str()) {
            Some(units) => units.clone(),
            None => vec![edge.from.as_str()],
        }
        .into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Facts, Holder, Sockets, SystemdUnit, UnixSocket, plan_of};

    fn told(graph: &Graph, stopped: &str) -> Vec<String> {
        fall(graph, &BTreeSet::from([stopped.to_owned()])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_binds_falls_all_the_way_and_the_rest_is_told_once() {
        let text = "unit: db\nexec: x\n---\nunit: api\nexec: x\nbinds: db\n---\nunit: web\nexec: x\nbinds: api\nrequires: db\n---\n\
                    unit: report\nexec: x\nrequires: [db, api]\n---\nunit: cache\nexec: x\nwants: [db, report]\n---\nunit: other\nexec: x\n";
        let graph = Graph::of(&plan_of(&[("units/a.yaml", text)]));
        let wanted = [
            "api stops: it binds to db",
            "web stops: it binds to api",
            "report runs on, but cannot start again: it requires db",
            "cache goes on without: it wants db",
        ];
        assert_eq!(told(&graph, "db"), wanted);
        assert_eq!(told(&graph, "other"), [] as [&str; 0]);
        assert_eq!(told(&graph, "report").len(), 1);
    }

    #[test]
    fn systemd_stops_what_requires_and_the_daemon_takes_its_units_along() {
        let text = "unit: pg\nwatch: postgres\n---\nunit: web\nexec: x\nrequires: pg\n---\nunit: api\nexec: x\nbinds: pg\n";
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let unit = |name: &str| SystemdUnit { name: name.into(), exists: true, state: "active".into(), ..SystemdUnit::default() };
        let pg = SystemdUnit { required_by: names(&["ms.service", "idle.service"]), wanted_by: names(&["x.target"]), ..unit("pg.service") };
        let own = SystemdUnit { bound_by: names(&["needs-us.service"]), ..unit("ms.service") };
        let idle = SystemdUnit { consists_of: names(&["part.service"]), state: "inactive".into(), ..unit("idle.service") };
        let listener = UnixSocket { inode: 1, path: Some("/run/pg".into()), listens: true, peer: None };
        let accepted = UnixSocket { inode: 2, listens: false, peer: Some(3), ..listener.clone() };
        let holders = [(1, "pg"), (2, "pg"), (3, "web")].map(|(inode, unit)| (inode, BTreeSet::from([Holder::Unit(unit.into())])));
        let mut facts = Facts {
            homes: [("pg".into(), BTreeSet::from(["pg.service".into()]))].into(),
            systemd: vec![pg.clone(), idle],
            sockets: Sockets { unix: vec![listener, accepted], holders: holders.into(), ..Sockets::default() },
            ..Facts::default()
        };
        let graph = |facts: &Facts| Graph::of(&plan_of(&[("units/a.yaml", text)])).with(facts);
        let without_daemon = [
            "api stops: it binds to pg",
            "ms.service stops: it requires pg.service",
            "part.service stops: it is part of idle.service",
            "pg stops: it runs in pg.service",
            "web runs on, but cannot start again: it requires pg",
            "web loses its connection to pg (/run/pg)",
            "x.target goes on without: it wants pg.service",
        ];
        assert_eq!(told(&graph(&facts), "pg.service"), without_daemon);
        facts.service = Some("ms.service".into());
        facts.systemd.push(own);
        let whole = graph(&facts);
        assert_eq!(
            told(&whole, "ms.service"),
            ["api stops: it runs in ms.service", "needs-us.service stops: it binds to ms.service", "web stops: it runs in ms.service"]
        );
        // What is only watched is not ours to stop; a unit that stops loses no connection besides.
        let all = told(&whole, "pg.service");
        assert!(all.contains(&"web stops: it runs in ms.service".to_owned()) && !all.iter().any(|line| line.contains("loses")), "{all:?}");
        assert_eq!(told(&whole, "pg")[0], "api stops: it binds to pg");
    }
}

//! What was seen on the machine, before anything is concluded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::{Edge, EdgeKind, is_everywhere};
use crate::base::id::UnitId;

/// What was seen on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The unit of systemd that the daemon runs in, by its cgroup.
    pub service: Option<String>,
    /// The units of systemd that processes of units are in, where it is not that of the daemon.
    pub homes: BTreeMap<UnitId, BTreeSet<String>>,
    /// What systemd says of those.
    pub systemd: Vec<SystemdUnit>,
    /// The states of the units around those, by name.
    pub states: BTreeMap<String, String>,
    /// Sockets, and whose they are.
    pub sockets: Sockets,
    /// What could not be seen, and why.
    pub notes: Vec<String>,
}

/// A unit of systemd with its dependencies in both directions, as `systemctl show` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemdUnit {
    /// Its name (`Id`).
    pub name: String,
    /// Whether there is such a unit at all.
    pub exists: bool,
    /// Its state (`ActiveState`).
    pub state: String,
    /// `BindsTo`.
    pub binds_to: Vec<String>,
    /// `Requires`.
    pub requires: Vec<String>,
    /// `Requisite`.
    pub requisite: Vec<String>,
    /// `PartOf`.
    pub part_of: Vec<String>,
    /// `Wants`.
    pub wants: Vec<String>,
    /// `After`.
    pub after: Vec<String>,
    /// `BoundBy`.
    pub bound_by: Vec<String>,
    /// `RequiredBy`.
    pub required_by: Vec<String>,
    /// `RequisiteOf`.
    pub requisite_of: Vec<String>,
    /// `ConsistsOf`.
    pub consists_of: Vec<String>,
    /// `WantedBy`.
    pub wanted_by: Vec<String>,
    /// `Before`.
    pub before: Vec<String>,
}

impl SystemdUnit {
    /// What it needs, and who needs it, without what is the same everywhere.
    pub(super) fn edges(&self) -> Vec<Edge> {
        let directions = [
            (EdgeKind::Binds, &self.binds_to, &self.bound_by),
            (EdgeKind::Requires, &self.requires, &self.required_by),
            (EdgeKind::Requisite, &self.requisite, &self.requisite_of),
            (EdgeKind::PartOf, &self.part_of, &self.consists_of),
            (EdgeKind::Wants, &self.wants, &self.wanted_by),
            (EdgeKind::After, &self.after, &self.before),
        ];
        let mut edges = Vec::new();
        for (kind, needed, dependents) in directions {
            let edge = |from: &String, to: &String| Edge { from: from.clone(), kind, to: to.clone(), address: None };
            edges.extend(needed.iter().filter(|name| !is_everywhere(name)).map(|needed| edge(&self.name, needed)));
            edges.extend(dependents.iter().filter(|name| !is_everywhere(name)).map(|dependent| edge(dependent, &self.name)));
        }
        edges
    }

    /// Those that systemd stops with it.
    pub fn stopped_with(&self) -> impl Iterator<Item = &String> {
        self.bound_by.iter().chain(&self.required_by).chain(&self.requisite_of).chain(&self.consists_of)
    }

    /// All around it, without what is the same everywhere.
    #[must_use]
    pub fn around(&self) -> BTreeSet<String> {
        let ends = self.edges().into_iter().flat_map(|edge| [edge.from, edge.to]);
        ends.filter(|name| *name != self.name).collect()
    }
}

/// Whose a socket is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A declared unit's.
    Unit(UnitId),
    /// Of a process in a unit of systemd, which belongs to no declared unit.
    Systemd(String),
}

/// Sockets as the kernel lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Those of TCP, of each network name space that was looked into.
    pub tcp: Vec<TcpSocket>,
    /// Unix sockets.
    pub unix: Vec<UnixSocket>,
    /// Who holds which, by inode. A socket may be held by several.
    pub holders: BTreeMap<u64, BTreeSet<Holder>>,
}

/// A TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its network name space.
    pub network: u64,
    /// Its own end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether it takes connections.
    pub listens: bool,
    /// Its inode; 0 while nobody has accepted it.
    pub inode: u64,
}

/// A Unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixSocket {
    /// Its inode.
    pub inode: u64,
    /// Its path; the socket that is made for an accepted connection has that of the one that listens.
    pub path: Option<String>,
    /// Whether it takes connections.
    pub listens: bool,
    /// The socket it is connected to, if that is known.
    pub peer: Option<u64>,
}

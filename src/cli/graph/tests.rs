use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command as Process, Stdio};

use super::*;
use crate::plan::{Facts, Holder, Plan, Sockets, SystemdUnit, TcpSocket, plan_of};

fn plan() -> Plan {
    let units = "unit: db\nexec: x\n---\nunit: web\nexec: x\ninstances: 2\nbinds: db\nwants: cache\n---\n\
                 unit: cache\nexec: x\nrequires: db\n---\nunit: cron\nexec: x\nafter: web@1\n";
    let tree = "supervisor: root\nstrategy: rest_for_one\nchildren: [db, front, cron]\n---\nsupervisor: front\nchildren: [web, cache]\n";
    plan_of(&[("units/a.yaml", units), ("supervisors/a.yaml", tree)])
}

/// The daemon is a service, and `web@1` is connected to `db` and to somebody unknown.
fn live() -> Graph {
    let service = SystemdUnit {
        name: "ms.service".into(),
        exists: true,
        state: "active".into(),
        requires: vec![r"dev-disk\x2dA.device".into(), "system.slice".into()],
        wanted_by: vec!["multi-user.target".into()],
        ..SystemdUnit::default()
    };
    let socket = |local: &str, remote: &str, listens, inode| {
        let [local, remote] = [local, remote].map(|address| address.parse().unwrap());
        TcpSocket { network: 1, local, remote, listens, inode }
    };
    let tcp = vec![
        socket("0.0.0.0:5432", "0.0.0.0:0", true, 1),
        socket("127.0.0.1:5432", "127.0.0.1:999", false, 2),
        socket("127.0.0.1:999", "127.0.0.1:5432", false, 3),
        socket("127.0.0.1:6379", "0.0.0.0:0", true, 4),
        socket("127.0.0.1:6379", "127.0.0.1:998", false, 5),
        socket("127.0.0.1:998", "127.0.0.1:6379", false, 6),
    ];
    let holders = [(1, "db"), (2, "db"), (3, "web@1"), (6, "web@1")];
    let holders = holders.map(|(inode, unit)| (inode, BTreeSet::from([Holder::Unit(unit.into())])));
    let facts = Facts {
        service: Some("ms.service".into()),
        systemd: vec![service],
        states: BTreeMap::from([("multi-user.target".into(), "active".into())]),
        sockets: Sockets { tcp, holders: holders.into(), ..Sockets::default() },
        notes: vec!["sockets: 3 processes of other users may not be looked at".into()],
        ..Facts::default()
    };
    Graph::of(&plan()).with(&facts)
}

#[test]
fn a_graph_is_text_dot_and_mermaid() {
    let graph = Graph::of(&plan());
    insta::assert_snapshot!(format!("{}\n{}\n{}", text(&graph), dot(&graph), mermaid(&graph)));
}

#[test]
fn a_live_graph_is_text_dot_mermaid_and_json() {
    let graph = live();
    let json = serde_json::to_string(&graph).unwrap();
    insta::assert_snapshot!(format!("{}\n{}\n{}\n{json}", text(&graph), dot(&graph), mermaid(&graph)));
    assert_eq!(serde_json::from_str::<Graph>(&json).unwrap(), graph);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "runs Graphviz")]
fn graphviz_draws_it() {
    if Process::new("dot").arg("-V").stderr(Stdio::null()).status().is_err() {
        return println!("SKIPPED: Graphviz is not installed");
    }
    let edges = |graph: &Graph| {
        let picture = svg(&dot(graph)).unwrap();
        assert!(picture.contains("web@2"), "{picture}");
        picture.matches("class=\"edge\"").count()
    };
    assert_eq!([edges(&Graph::of(&plan())), edges(&live())], [6, 11]);
    assert!(svg("digraph {").is_err());
}

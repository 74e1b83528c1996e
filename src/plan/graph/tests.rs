use super::*;
use crate::plan::plan_of;

fn facts() -> Facts {
    Facts::default()
}

fn graph(text: &str, facts: &Facts) -> Graph {
    Graph::of(&plan_of(&[("units/a.yaml", text)])).with(facts)
}

fn edges(graph: &Graph) -> Vec<String> {
    let address = |edge: &Edge| edge.address.as_ref().map(|address| format!(" {address}")).unwrap_or_default();
    graph.edges.iter().map(|edge| format!("{} {} {}{}", edge.from, edge.kind.verb(), edge.to, address(edge))).collect()
}

#[test]
fn systemd_is_shown_in_both_directions_without_what_everything_has() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let unit = SystemdUnit {
        name: "ms.service".into(),
        exists: true,
        state: "active".into(),
        requires: names(&["sysinit.target", "system.slice", "net.service", "-.mount"]),
        requisite: names(&["a.service"]),
        binds_to: names(&["b.service"]),
        part_of: names(&["c.target"]),
        wants: names(&["d.service"]),
        after: names(&["basic.target", "systemd-journald.socket", "net.service"]),
        required_by: names(&["needs.service"]),
        requisite_of: names(&["e.service"]),
        bound_by: names(&["f.service"]),
        consists_of: names(&["g.service"]),
        wanted_by: names(&["multi-user.target"]),
        before: names(&["shutdown.target", "needs.service"]),
    };
    let states = BTreeMap::from([("needs.service".into(), "failed".into())]);
    let graph = graph("unit: a\nexec: x\n", &Facts { service: Some("ms.service".into()), systemd: vec![unit], states, ..facts() });
    let wanted = [
        "e.service requisite ms.service",
        "f.service binds ms.service",
        "g.service part of ms.service",
        "ms.service binds b.service",
        "ms.service requires net.service",
        "ms.service requisite a.service",
        "ms.service part of c.target",
        "ms.service wants d.service",
        "ms.service after net.service",
        "multi-user.target wants ms.service",
        "needs.service requires ms.service",
        "needs.service after ms.service",
        "root runs in ms.service",
    ];
    assert_eq!(edges(&graph), wanted);
    assert_eq!(graph.node("ms.service").unwrap().state.as_deref(), Some("active"));
    assert!(graph.node("needs.service").unwrap().is_down());
    assert!(graph.node("sysinit.target").is_none());
}

#[test]
fn a_unit_that_is_called_like_one_of_systemd_is_not_mistaken_for_it() {
    let homes = BTreeMap::from([("db.service".into(), BTreeSet::from(["db.service".into()]))]);
    let graph = graph("unit: db.service\nwatch: x\n", &Facts { homes, ..facts() });
    assert_eq!(edges(&graph), ["db.service runs in systemd:db.service"]);
    assert_eq!(graph.node("db.service").unwrap().kind, NodeKind::Watched);
    assert_eq!(graph.systemd("db.service").unwrap().id, "systemd:db.service");
}

/// TCP sockets `(network, local, remote, inode, holder)`; one without a remote end listens.
fn tcp(sockets: &[(u64, &str, &str, u64, &str)]) -> Sockets {
    let mut all = Sockets::default();
    for &(network, local, remote, inode, holder) in sockets {
        let listens = remote.is_empty();
        let remote = if listens { "0.0.0.0:0" } else { remote };
        all.tcp.push(TcpSocket { network, local: local.parse().unwrap(), remote: remote.parse().unwrap(), listens, inode });
        let holder = if holder.contains('.') { Holder::Systemd(holder.into()) } else { Holder::Unit(holder.into()) };
        all.holders.entry(inode).or_default().insert(holder);
    }
    all.holders.retain(|_, holders| !holders.contains(&Holder::Unit("".into())));
    all
}

#[test]
fn who_is_connected_to_whom() {
    let text = "unit: a\nexec: x\n---\nunit: b\nexec: x\n";
    let check = |sockets: &Sockets, wanted: &[&str]| {
        assert_eq!(edges(&graph(text, &Facts { sockets: sockets.clone(), ..facts() })), wanted, "{sockets:?}");
    };
    let listener = (1, "0.0.0.0:80", "", 1, "b");
    let pair = |network, server: &'static str, inode, holder: &'static str| {
        [(network, "127.0.0.1:80", "127.0.0.1:999", inode, server), (network, "127.0.0.1:999", "127.0.0.1:80", 10, holder)]
    };
    let [server, client] = pair(1, "b", 2, "a");
    check(&tcp(&[listener, server, client]), &["a connected b 127.0.0.1:80"]);
    // Nobody has accepted it yet.
    let [waiting, _] = pair(1, "", 0, "");
    check(&tcp(&[listener, waiting, client]), &["a connected b 127.0.0.1:80"]);
    // What IPv6 calls the same address.
    let mapped = (1, "[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:999", 2, "b");
    check(&tcp(&[(1, "[::]:80", "", 1, "b"), mapped, client]), &["a connected b 127.0.0.1:80"]);
    // Whoever listens is not to be seen; or it is a service.
    check(&tcp(&[(1, "0.0.0.0:80", "", 1, ""), (1, server.1, server.2, 2, ""), client]), &["a connected 127.0.0.1:80 127.0.0.1:80"]);
    check(
        &tcp(&[(1, "0.0.0.0:80", "", 1, "web.service"), (1, server.1, server.2, 2, "web.service"), client]),
        &["a connected web.service 127.0.0.1:80"],
    );
    // A listener that systemd passes on is held by both.
    let mut passed = tcp(&[(1, "0.0.0.0:80", "", 1, "web.service"), waiting, client]);
    passed.holders.entry(1).or_default().insert(Holder::Systemd("init.scope".into()));
    check(&passed, &["a connected web.service 127.0.0.1:80"]);
    // Another machine, another name space, itself, and two that are none of ours.
    check(&tcp(&[listener, (1, "10.0.0.1:999", "10.0.0.2:80", 3, "a")]), &[]);
    check(&tcp(&[listener, (2, server.1, server.2, 2, "b"), client]), &[]);
    let [_, own] = pair(1, "b", 2, "b");
    check(&tcp(&[listener, server, own]), &[]);
    check(
        &tcp(&[(1, "0.0.0.0:80", "", 1, "x.service"), (1, server.1, server.2, 2, "x.service"), (1, client.1, client.2, 3, "y.service")]),
        &[],
    );
}

#[test]
fn unix_sockets_are_known_by_their_peers() {
    let at =
        |inode, path: &str, listens, peer| UnixSocket { inode, path: Some(path.to_owned()).filter(|path| !path.is_empty()), listens, peer };
    let unix = vec![
        at(1, "/run/b", true, None),
        at(2, "/run/b", false, Some(3)),
        at(3, "", false, Some(2)),
        at(4, "/run/systemd/journal/stdout", true, None),
        at(5, "/run/systemd/journal/stdout", false, Some(6)),
        at(6, "", false, Some(5)),
    ];
    let holders = [(1, "b"), (2, "b"), (3, "a"), (4, "b"), (5, "b"), (6, "a")];
    let holders = holders.map(|(inode, unit)| (inode, BTreeSet::from([Holder::Unit(unit.into())])));
    let sockets = Sockets { unix, holders: holders.into(), ..Sockets::default() };
    let graph = graph("unit: a\nexec: x\n---\nunit: b\nexec: x\n", &Facts { sockets, ..facts() });
    assert_eq!(edges(&graph), ["a connected b /run/b"]);
    assert_eq!(graph.node("b").unwrap().listens, BTreeSet::from(["/run/b".to_owned()]));
}

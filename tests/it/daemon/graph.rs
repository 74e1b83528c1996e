//! `graph --live`: who depends on whom, sockets included.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::bench::{Daemon, until};

const SERVER: &str = r#"
import signal, socket, sys
port = int(sys.argv[1])
tcp = socket.create_server(("127.0.0.1", port))
unix = socket.socket(socket.AF_UNIX)
unix.bind("\0ms-graph-%d" % port)
unix.listen()
print("ready", flush=True)
kept = [tcp.accept(), unix.accept()]
signal.pause()
"#;

const CLIENT: &str = r#"
import signal, socket, sys
port = int(sys.argv[1])
tcp = socket.create_connection(("127.0.0.1", port))
unix = socket.socket(socket.AF_UNIX)
unix.connect("\0ms-graph-%d" % port)
signal.pause()
"#;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn graph(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.ok(&["graph", "--live", "--json"])).unwrap()
}

/// The connections of `from`: to whom, and by which address.
fn connections(graph: &Value, from: &str) -> BTreeSet<(String, String)> {
    let of = |edge: &&Value| edge["from"] == from && edge["kind"] == "connected";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    graph["edges"].as_array().unwrap().iter().filter(of).map(|edge| (text(&edge["to"]), text(&edge["address"]))).collect()
}

fn refused(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.cli(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_live_graph_shows_who_is_connected_to_whom() {
    let port = free_port();
    let units = format!(
        "unit: server\nexec: python3 server.py {port}\nreadiness: {{log: ready}}\nworking_directory: .\n---\n\
         unit: client\nexec: [sh, -c, \"python3 client.py {port} & wait\"]\nrequires: server\nworking_directory: .\n---\n\
         unit: bystander\nexec: sleep 1000\nbinds: client\n"
    );
    let mut daemon = Daemon::prepared(&[("units/all.yaml", &units), ("server.py", SERVER), ("client.py", CLIENT)]);
    assert!(refused(&daemon, &["graph", "--live"]).contains("no daemon answers"));
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    let (tcp, unix) = (format!("127.0.0.1:{port}"), format!("@ms-graph-{port}"));
    let by_tcp = ("server".to_owned(), tcp.clone());
    let seen = until("the client, a child of its unit's main process, is connected", || {
        let seen = graph(&daemon);
        connections(&seen, "client").contains(&by_tcp).then_some(seen)
    });
    let server = seen["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "server").unwrap();
    assert_eq!(server["listens"], serde_json::json!([&tcp, &unix]));
    assert_eq!(connections(&seen, "server"), BTreeSet::new());
    let has_peers = !seen["notes"].to_string().contains("Unix sockets is not known");
    if has_peers {
        until("it is connected by the other socket, too", || {
            connections(&graph(&daemon), "client").contains(&("server".into(), unix.clone())).then_some(())
        });
    } else {
        println!("SKIPPED: this kernel does not tell the peers of Unix sockets");
    }
    let text = daemon.ok(&["graph", "--live"]);
    assert!(text.contains(&format!("client requires server; connected server {tcp}")), "{text}");
    assert!(text.contains("bystander binds client") && text.contains(&format!("server listens on {tcp}, {unix}")), "{text}");
    assert!(daemon.ok(&["graph", "--live", "--format", "mermaid"]).contains(&format!("|\"connected {tcp}\"|")));
    if Command::new("dot").arg("-V").output().is_ok() {
        assert!(daemon.ok(&["graph", "--live", "--format", "svg"]).contains(&tcp));
    }
    // What falls.
    let falls = daemon.ok(&["graph", "--live", "--stop", "server"]);
    assert!(falls.contains("client runs on, but cannot start again: it requires server\n"), "{falls}");
    assert!(falls.contains(&format!("client loses its connection to server ({tcp})\n")), "{falls}");
    assert!(daemon.ok(&["graph", "--live", "--stop", "client"]).contains("bystander stops: it binds to client\n"));
    let falls: Value = serde_json::from_str(&daemon.ok(&["graph", "--live", "--stop", "client", "--json"])).unwrap();
    assert_eq!(falls["falls"][0], serde_json::json!({"unit": "bystander", "fate": "stops", "because": "client", "by": "binds"}));
    // What nobody knows.
    assert!(refused(&daemon, &["graph", "--live", "--stop", "serverr"]).contains("did you mean `server`?"));
    let text = refused(&daemon, &["graph", "--live", "--stop", "no-such.service"]);
    assert!(text.contains("there is no unit or supervisor called `no-such.service`, and systemd ") && text.contains("help: "), "{text}");
    if !std::path::Path::new("/run/systemd/system").exists() {
        assert!(seen["notes"].to_string().contains("systemd: not asked: systemd does not run this machine"), "{seen}");
    }
}

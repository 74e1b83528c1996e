//! Metrics and health, as Prometheus and an operator see them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::bench::{Daemon, until};

pub(super) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The status and the body of a GET.
pub(super) fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
}

#[test]
fn each_restart_is_counted_once() {
    let address = free_address();
    let mut daemon = Daemon::prepared(&[("units/all.yaml", "unit: a\nexec: sleep 1000\n---\nunit: b\nexec: sleep 1000\n")]);
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    for _ in 0..3 {
        daemon.kill_and_see("a", &["a"]);
    }
    daemon.ok(&["restart", "b"]);
    let page = until("the page", || get(&address, "/metrics")).1;
    let lines = [
        "ms_unit_restarts_total{unit=\"a\",cause=\"exit\"} 3",
        "ms_unit_restarts_total{unit=\"b\",cause=\"operator\"} 1",
        "ms_unit_exits_total{unit=\"a\",signal=\"SIGKILL\"} 3",
        "ms_unit_exits_total{unit=\"b\",signal=\"SIGTERM\"} 1",
        "ms_unit_restart_seconds_count{unit=\"a\"} 3",
        "ms_unit_up{unit=\"a\",supervisor=\"root\"} 1",
    ];
    for line in lines {
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
    assert!(
        page.contains("ms_unit_memory_bytes{unit=\"a\"}") && page.contains("ms_process_resident_memory_bytes{process=\"launcher\"}"),
        "{page}"
    );
    promtool_accepts(&page);
}

fn promtool_accepts(page: &str) {
    let Ok(mut promtool) = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        eprintln!("SKIPPED: promtool is not installed");
        return;
    };
    promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn health_says_what_is_not_well() {
    let address = free_address();
    let mut daemon = Daemon::prepared(&[(
        "units/all.yaml",
        "unit: good\nexec: sleep 1000\n---\nunit: bad\nexec: no-such-program\n\
         restart: {backoff: {kind: linear, first: 1h, base: 1h, step: 0s, max: 1h}}\n",
    )]);
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("UnitStartFailed", |_| true);
    daemon.events_of("UnitActive", "good", 1);
    until("it is alive", || get(&address, "/livez").filter(|(status, _)| *status == 200));
    let (status, body) = until("it is not ready", || get(&address, "/healthz?verbose").filter(|(_, body)| body.contains("[+]good active")));
    assert!(status == 503 && body.contains("[-]bad"), "{status} {body}");
    assert_eq!(get(&address, "/readyz").unwrap().0, 503);
    let of = |name: &str| get(&address, &format!("/healthz/{name}")).unwrap().0;
    assert_eq!((of("good"), of("bad"), of("nobody")), (200, 503, 404));
    // What an operator stopped is not missed.
    daemon.ok(&["stop", "bad"]);
    until("it is ready", || get(&address, "/readyz").filter(|(status, _)| *status == 200));
}

#[test]
fn the_read_only_port_changes_nothing() {
    let address = free_address();
    let mut daemon = Daemon::prepared(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    let mut stream = TcpStream::connect(&address).unwrap();
    let body = "{\"targets\":[\"a\"]}";
    write!(
        stream,
        "POST /v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 404") || text.starts_with("HTTP/1.1 405"), "{text}");
    assert!(daemon.pids().contains_key("a"));
}

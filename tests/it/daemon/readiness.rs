//! Every way a unit can say that it is ready.

use super::bench::{Daemon, until};

/// A program that becomes ready when the file `go` is there, each in its own way.
fn program(body: &str) -> String {
    let script =
        format!("import os, socket, time, http.server\nwhile not os.path.exists('go'): time.sleep(0.01)\n{body}\ntime.sleep(1000)\n");
    serde_json::to_string(&["python3", "-u", "-c", &script]).unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[track_caller]
fn becomes_ready(readiness: &str, body: &str) {
    let mut daemon = Daemon::prepared(&[("units/a.yaml", &format!("unit: a\nexec: {}\nreadiness: {readiness}\n", program(body)))]);
    daemon.start();
    until("it answers", || daemon.answers());
    until("it is activating", || (daemon.status("a")["state"] == "activating").then_some(()));
    assert!(!daemon.events().iter().any(|event| event["type"] == "DaemonReady"));
    daemon.write("go", "");
    daemon.event("UnitActive", |data| data["unit"] == "a");
    daemon.event("DaemonReady", |_| true);
}

#[test]
fn by_notification() {
    let send = "s=socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'READY=1')";
    becomes_ready("notify", send);
}

#[test]
fn by_tcp() {
    let port = free_port();
    let listen = format!("s=socket.socket(); s.bind(('127.0.0.1', {port})); s.listen()");
    becomes_ready(&format!("{{tcp: \"127.0.0.1:{port}\"}}"), &listen);
}

#[test]
fn by_http() {
    let port = free_port();
    let serve = format!("http.server.HTTPServer(('127.0.0.1', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()");
    becomes_ready(&format!("{{http: \"http://127.0.0.1:{port}/\"}}"), &serve);
}

#[test]
fn by_a_line_in_the_log() {
    becomes_ready("{log: \"^listening on [0-9]+$\"}", "print('listening on 80')");
}

#[test]
fn by_a_newline_on_a_descriptor() {
    becomes_ready("{fd: 5}", "os.write(5, b'\\n')");
}

#[test]
fn a_unit_that_is_never_ready_has_failed_to_start() {
    let mut daemon = Daemon::prepared(&[(
        "units/a.yaml",
        "unit: a\nexec: sleep 1000\nreadiness: {fd: 3, timeout: 200ms}\n\
         restart: {backoff: {kind: linear, first: 1h, base: 1h, step: 0s, max: 1h}}\n",
    )]);
    daemon.start();
    let failed = daemon.event("UnitStartFailed", |_| true);
    assert_eq!(failed["data"]["reason"]["error"], "not ready within 200ms");
    until("it says why", || daemon.status("a")["reason"].as_str().filter(|why| why.contains("not ready within 200ms")).map(drop));
}

//! Nobody keeps others from the sockets: not who never reads, not who says half a sentence, not who comes in crowds.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::bench::{Daemon, until};
use super::metrics::{free_address, get};

/// More than there are places, the kept ones included.
const CROWD: usize = 300;

#[test]
fn a_crowd_that_never_reads_does_not_keep_health_from_being_told() {
    let address = free_address();
    let mut daemon = Daemon::prepared(&[("units/a.yaml", "unit: a\nexec: sleep 1000\n")]);
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    until("the port answers", || get(&address, "/livez").filter(|answer| answer.0 == 200));
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let crowd: Vec<_> = (0..CROWD)
        .map(|number| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_nonblocking(true).unwrap();
            // Some ask without end and never read, some say half a sentence, some nothing.
            match number % 3 {
                0 => while stream.write(request.as_bytes()).is_ok() {},
                1 => drop(stream.write(b"GET /metr")),
                _ => {}
            }
            stream
        })
        .collect();
    for path in ["/livez", "/readyz", "/healthz", "/healthz/a"] {
        let answer = until(path, || get(&address, path));
        assert_eq!(answer.0, 200, "{path}: {}", answer.1);
    }
    // Of the rest so much is told.
    let answer = until("metrics are refused", || get(&address, "/metrics"));
    assert_eq!(answer.0, 503, "{}", answer.1);
    assert_eq!(get(&address, "/livez").map(|answer| answer.0), Some(200));
    // None of them stays for ever, and all of them are still there.
    until("there is room again", || get(&address, "/metrics").filter(|answer| answer.0 == 200));
    drop(crowd);
}

/// A connection that has asked for all events there ever are, and does not read them.
fn reader(daemon: &Daemon) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.path(".ms-supervisor/run/control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let _refused_or_not = stream.write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: a\r\n\r\n");
    stream
}

#[test]
fn a_unit_that_holds_connections_does_not_lock_out_root() {
    let script = "import os, socket, time\n\
        def connect():\n    \
            s = socket.socket(socket.AF_UNIX)\n    \
            s.connect('.ms-supervisor/run/control.sock')\n    \
            s.send(b'GET /v1/events?follow=true HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n    \
            return s\n\
        all = []\n\
        while len(all) < 300:\n    \
            try: all.append(connect())\n    \
            except OSError: time.sleep(0.01)\n\
        print('done', flush=True)\n\
        time.sleep(1000)\n";
    let exec = serde_json::to_string(&["python3", "-u", "-c", script]).unwrap();
    let daemon = Daemon::up(&[("units/a.yaml", &format!("unit: a\nexec: {exec}\n---\nunit: b\nexec: sleep 1000\n"))]);
    until("it has made its connections", || daemon.ok(&["logs", "a"]).contains("done").then_some(()));
    daemon.ok(&["restart", "b"]);
    // A trusted user may take all the places there are, and is told when there is none left.
    let mut mine: Vec<_> = (0..CROWD).map(|_| reader(&daemon)).collect();
    let mut text = String::new();
    // What was asked and not heard has the connection reset, after the answer.
    let _reset = mine.last_mut().unwrap().read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 503") && text.contains("too_many"), "{text}");
    drop(mine);
    until("there is room again", || daemon.answers());
    daemon.ok(&["restart", "b"]);
}

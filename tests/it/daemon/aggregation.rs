//! How well the whole is: from a probe up to the root.

use serde_json::Value;

use super::bench::{Daemon, kill, until};
use super::metrics::{free_address, get};

#[test]
fn a_leaf_decides_as_far_up_as_declared() {
    let address = free_address();
    let units = "unit: web\nexec: sleep 1000\ninstances: 3\nrestart: {backoff: {kind: none, first: 1h}}\n---\nunit: db\nexec: sleep 1001\n";
    let tree = "supervisor: pool\nhealth: {quorum: 2}\nchildren: web\n---\nsupervisor: root\nchildren: [pool, db]\n";
    let mut daemon = Daemon::prepared(&[("units/all.yaml", units), ("supervisors/all.yaml", tree)]);
    daemon.start_with(&["run", "--listen", &address]);
    daemon.event("DaemonReady", |_| true);
    let health = |name: &str| daemon.whole_status()["health"][name]["level"].as_str().unwrap_or_default().to_owned();
    until("all is well", || (health("root") == "healthy").then_some(()));
    let pids = daemon.pids();
    kill(pids["web@2"], 9);
    // While it starts it may be degraded, too.
    let is_told =
        |data: &Value| data["supervisor"] == "root" && data["level"] == "degraded" && data["why"].as_str().unwrap().starts_with("SIGKILL");
    let told = daemon.event("HealthChanged", is_told);
    assert_eq!(told["data"]["by"], "web@2", "{told}");
    assert!(told["data"]["why"].as_str().unwrap().contains("(2 of 3 work, 2 have to)"), "{told}");
    let (status, page) = get(&address, "/healthz").unwrap();
    assert_eq!(status, 200, "what is degraded works: {page}");
    assert!(page.contains("[-]pool active degraded: web@2: ") && page.ends_with("\ndegraded\n"), "{page}");
    assert_eq!(get(&address, "/readyz").unwrap().0, 503, "not every unit is ready");
    kill(pids["web@1"], 9);
    daemon.event("HealthChanged", |data| data["supervisor"] == "root" && data["level"] == "unhealthy");
    // It may have been unhealthy before, while it started.
    until("both pages say so", || ["/healthz", "/healthz/pool"].iter().all(|path| get(&address, path).unwrap().0 == 503).then_some(()));
    assert!(get(&address, "/metrics").unwrap().1.contains("ms_supervisor_health{supervisor=\"pool\",level=\"unhealthy\"} 1"));
    assert!(daemon.ok(&["status"]).contains("health: unhealthy: web@1: "));
    assert!(daemon.ok(&["tree"]).contains("pool one_for_one active, 2 restarts, unhealthy"), "{}", daemon.ok(&["tree"]));
    daemon.ok(&["restart", "web"]);
    daemon.event("HealthChanged", |data| data["supervisor"] == "root" && data["level"] == "healthy");
    assert_eq!(get(&address, "/healthz").unwrap(), (200, "ok\n".into()));
}

#[test]
fn monitoring_gets_one_line_and_a_code() {
    let mut daemon = Daemon::prepared(&[("units/web.yaml", "unit: web\nexec: sleep 1000\nrestart: {backoff: {kind: none, first: 1h}}\n")]);
    let health = |daemon: &Daemon| {
        let output = daemon.cli(&["health"]);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, line) = health(&daemon);
    assert!(code == Some(2) && line.starts_with("MS-SUPERVISOR CRITICAL - no daemon answers on "), "{code:?} {line}");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    let (code, line) = until("all is well", || Some(health(&daemon)).filter(|(code, _)| *code == Some(0)));
    assert!(
        line.starts_with("MS-SUPERVISOR OK - 1 of 1 units active, up ") && line.contains(" | units=1;;;0 active=1;;;0;1 "),
        "{code:?} {line}"
    );
    kill(daemon.pids()["web"], 9);
    let (_, line) = until("it is seen", || Some(health(&daemon)).filter(|(code, _)| *code == Some(2)));
    assert!(line.starts_with("MS-SUPERVISOR CRITICAL - unhealthy: web: ") && line.lines().count() == 1, "{line}");
}

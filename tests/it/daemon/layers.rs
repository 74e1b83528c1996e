//! Drop-ins and tiers: several files say one thing, and each value knows its file.

use serde_json::Value;

use super::bench::Daemon;

const FILES: [(&str, &str); 3] = [
    ("units/web.yaml", "unit: web\nexec: sleep 1000\nlogs: {keep: 7}\nprobes: [{process: true}]\n"),
    ("units/old.yaml", "unit: old\nexec: sleep 1001\n"),
    ("conf.d/10-web.yaml", "unit: web\nshutdown: {timeout: 3s}\n"),
];

fn origin(daemon: &Daemon, unit: &str, key: &str) -> (String, String) {
    let all: Value = serde_json::from_str(&daemon.ok(&["plan", "--origin", unit, "--json"])).unwrap();
    let row = all[0]["values"].as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    (text("value"), if row["from"] == "file" { format!("{}:{}", text("file"), row["line"]) } else { text("from") + &text("tier") })
}

#[test]
fn a_drop_in_changes_what_runs_and_only_that() {
    let daemon = Daemon::up(&FILES);
    assert_eq!(origin(&daemon, "web", "shutdown.timeout"), ("3s".into(), "conf.d/10-web.yaml:2".into()));
    assert_eq!(origin(&daemon, "web", "logs.keep"), ("7".into(), "units/web.yaml:3".into()));
    assert_eq!(origin(&daemon, "old", "logs.keep"), ("5".into(), "default".into()));
    let before = daemon.pids();
    daemon.write("conf.d/20-web.yaml", "unit: web\nexec: sleep 2000\nlogs: {keep: null}\n");
    let told = daemon.ok(&["reload"]);
    assert!(told.contains("unit web: restart") && told.contains("exec") && !told.contains("unit old"), "{told}");
    daemon.events_of("UnitActive", "web", 2);
    let after = daemon.pids();
    assert!(before["web"] != after["web"] && before["old"] == after["old"], "{before:?} {after:?}");
    assert_eq!(origin(&daemon, "web", "logs.keep"), ("5".into(), "default".into()));
    daemon.write("conf.d/30-web.yaml", "unit: wbe\nnice: 3\n");
    let refused = daemon.cli(&["reload"]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(
        text.contains("there is no unit `wbe` to amend") && text.contains("did you mean `web`?") && text.contains("conf.d/30-web.yaml:1:7"),
        "{text}"
    );
}

#[test]
fn the_environment_chooses_the_tier() {
    let mut daemon = Daemon::prepared(&FILES);
    let what_if = daemon.ok(&["plan", "--tier", "tier_3"]);
    assert!(what_if.contains("unit web: change live: ") && what_if.contains("probes") && what_if.contains("daemon: tier, "), "{what_if}");
    daemon.environment("MS_TIER", "operational");
    daemon.start();
    daemon.event("DaemonReady", |_| true);
    assert_eq!((daemon.daemon()["tier"].as_str(), daemon.daemon()["forced_tier"].as_str()), (Some("tier_3"), Some("operational")));
    assert!(daemon.ok(&["status"]).contains(" tier_3 running, "), "{}", daemon.ok(&["status"]));
    // The commands ask the daemon which one it has: it is not in their own environment.
    assert_eq!(origin(&daemon, "web", "probes[0].period"), ("5s".into(), "tiertier_3".into()));
    assert_eq!(origin(&daemon, "daemon", "tier").1, "$MS_TIER:1");
    daemon.write("conf.d/20-web.yaml", "unit: web\nshutdown: brutal_kill\n");
    let refused = String::from_utf8(daemon.cli(&["reload"]).stderr).unwrap();
    assert!(refused.contains("error[MS0401]: `web` is killed when it is to stop") && refused.contains("allow: [brutal_kill]"), "{refused}");
    daemon.write("conf.d/05-allow.yaml", "allow: [brutal_kill]\n");
    let told = daemon.ok(&["reload"]);
    assert!(told.contains("unit web: change live: shutdown.timeout"), "{told}");
}

#[test]
fn tiers_are_printed_and_compared() {
    let daemon = Daemon::prepared(&FILES);
    let profile = daemon.ok(&["tier", "tier_3"]);
    let row = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.split_whitespace().any(|word| word == key))
            .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(row(&profile, "probes.period").unwrap(), ["unit", "*", "probes.period", "5s", "(10s)"], "{profile}");
    let difference = daemon.ok(&["tier", "experimental", "tier_3"]);
    assert_eq!(row(&difference, "logs.keep").unwrap(), ["unit", "*", "logs.keep", "2", "20"], "{difference}");
    assert_eq!(row(&difference, "restart.backoff.max").unwrap(), ["unit", "*", "restart.backoff.max", "(30s)", "5m"], "{difference}");
    assert!(daemon.ok(&["tier", "tier_2", "validation"]).contains("there is no difference"));
    assert!(daemon.ok(&["tier"]).contains("no tier is chosen"));
}

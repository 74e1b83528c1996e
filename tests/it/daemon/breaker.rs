//! Breakers: what fails again and again is left alone for a while.

use super::bench::{Daemon, kill, until};
use super::metrics::{free_address, get};

#[test]
fn a_pool_loses_no_more_than_its_share_to_open_breakers() {
    let unit = "unit: w\nexec: \"false\"\ninstances: 4\nrestart: {backoff: {kind: none, first: 50ms}, \
                breaker: {consecutive: 2, open_for: 1h, max_open: 1h, max_ejected: 50%}}\n";
    let address = free_address();
    let mut daemon =
        Daemon::prepared(&[("units/w.yaml", unit), ("supervisors/s.yaml", "supervisor: s\nintensity: 1000000\nchildren: w\n")]);
    daemon.start_with(&["run", "--listen", &address]);
    for instance in 1..=4 {
        let unit = format!("w@{instance}");
        let told = daemon.event("BreakerChanged", |data| data["unit"] == *unit && data["to"] == "open");
        assert!(told["data"]["open_for"].as_f64().unwrap() > 2000.0, "{told}");
    }
    let restarts = || [1, 2, 3, 4].map(|instance| daemon.status(&format!("w@{instance}"))["restarts"].as_u64().unwrap());
    let grown = |from: [u64; 4]| from.into_iter().zip(restarts()).filter(|(from, now)| *now > from + 3).count();
    until("two are left alone, two are started again", || {
        let before = restarts();
        until("some are started again", || (grown(before) >= 2).then_some(()));
        std::thread::sleep(std::time::Duration::from_millis(500));
        (grown(before) == 2).then_some(())
    });
    assert!(get(&address, "/metrics").unwrap().1.contains("ms_breaker_state{unit=\"w@"));
}

#[test]
fn an_open_breaker_outlives_the_brain_and_whoever_asks_need_not_wait() {
    let daemon = Daemon::up(&[(
        "units/a.yaml",
        "unit: a\nexec: sleep 1000\nrestart: {backoff: none, breaker: {consecutive: 2, open_for: 1h, max_open: 1h}}\n",
    )]);
    daemon.kill_and_see("a", &["a"]);
    kill(daemon.pids()["a"], 9);
    daemon.event("BreakerChanged", |data| data["unit"] == "a" && data["to"] == "open");
    kill(daemon.brain_pid(), 9);
    until("it is held back again", || daemon.answers().filter(|()| daemon.status("a")["state"] == "backoff"));
    assert_eq!(daemon.status("a")["breaker"], "open");
    assert!(daemon.ok(&["status", "a"]).contains("Breaker"), "{}", daemon.ok(&["status", "a"]));
    daemon.ok(&["restart", "a"]);
    until("it runs", || daemon.pids().contains_key("a").then_some(()));
    assert_eq!(daemon.status("a")["breaker"], "closed");
}

#[test]
fn a_probe_whose_breaker_is_open_is_not_made() {
    let address = free_address();
    let unit = format!(
        "unit: a\nexec: sleep 1000\nprobes: [{{name: db, role: observe, tcp: \"{address}\", period: 100ms, \
         breaker: {{consecutive: 3, open_for: 1h, max_open: 1h}}}}]\n"
    );
    let daemon = Daemon::up(&[("units/a.yaml", &unit)]);
    daemon.event("BreakerChanged", |data| data["unit"] == "a" && data["probe"] == "db" && data["to"] == "open" && data["failed"] == 3);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let probe = &daemon.status("a")["probes"][0];
    assert_eq!(probe["breaker"], "open");
    // Those that were made may have been late on a busy machine; those that were not made do not count.
    assert!(probe["late"].as_u64() <= Some(3), "{probe}");
    assert_eq!(probe["runs"].as_array().unwrap().iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), 3, "{probe}");
}

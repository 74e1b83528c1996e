//! The network between a server and its probe is cut, in network namespaces of the test's own.

use std::process::Command;

use super::bench::{Daemon, is_alive, until};

/// A namespace at the other end of a cable. Dropping it takes both away.
struct Cable {
    name: String,
}

impl Cable {
    /// `Err`: why there can be none.
    fn new() -> Result<Self, String> {
        let cable = Self { name: format!("ms{}", std::process::id()) };
        cable.ip("netns add {}")?;
        cable.ip("link add {} type veth peer name other netns {}")?;
        cable.ip("addr add 198.51.100.1/30 dev {}")?;
        cable.ip("link set {} up")?;
        for words in ["addr add 198.51.100.2/30 dev other", "link set other up", "link set lo up"] {
            cable.ip(&format!("-n {{}} {words}"))?;
        }
        Ok(cable)
    }

    /// Runs ip(8); `{}` is the name of the namespace, and of our end.
    fn ip(&self, words: &str) -> Result<(), String> {
        let words = words.replace("{}", &self.name);
        let output = Command::new("ip").args(words.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
        output.status.success().then_some(()).ok_or_else(|| format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _none = self.ip("link del {}");
        let _none = self.ip("netns del {}");
    }
}

/// Whoever cannot be reached gets no work and keeps its process: to start it again would mend nothing.
#[test]
fn a_server_behind_a_cut_cable_is_not_ready_until_it_is_mended() {
    let cable = match Cable::new() {
        Ok(cable) => cable,
        Err(why) => return println!("SKIPPED: no network namespace can be made: {why}"),
    };
    if Command::new("nats-server").arg("--version").output().is_err() {
        return println!("SKIPPED: there is no nats-server");
    }
    let units = format!(
        "unit: server\nexec: ip netns exec {} nats-server -a 198.51.100.2 -p 4222\nprobes:\n\
         - {{name: nats, role: readiness, nats: {{address: \"198.51.100.2:4222\"}}, period: 200ms, timeout: 1s}}\n---\n\
         unit: client\nexec: sleep 1000\nrequires: server\n",
        cable.name
    );
    let daemon = Daemon::up(&[("units/all.yaml", &units)]);
    daemon.event("UnitActive", |data| data["unit"] == "client");
    let before = daemon.pids();
    cable.ip("link set {} down").unwrap();
    let why = daemon.event("UnitUnready", |data| data["unit"] == "server")["data"]["why"].clone();
    println!("cut: {why}");
    assert!(why.as_str().unwrap().starts_with("probe nats: "), "{why}");
    assert_eq!(daemon.status("server")["ready"], false);
    until("the branch is not well", || daemon.ok(&["status"]).contains("not ready for work: probe nats").then_some(()));
    assert!(before.values().all(|pid| is_alive(*pid)), "nobody was ended");
    cable.ip("link set {} up").unwrap();
    daemon.event("UnitReady", |data| data["unit"] == "server");
    assert_eq!(daemon.pids(), before, "the same processes all the time");
    assert_eq!(daemon.status("server")["restarts"], 0);
}

//! This supervisor, with its units' output in logs as it is by default.

use std::fmt::Write as _;
use std::process::Command;

use crate::Fault;
use crate::peer::Peer;
use crate::site::Site;

pub(crate) struct Ours;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ms-supervisor");

impl Peer for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let mut children = String::new();
        for number in 0..site.units {
            declare(site, number, &format!("[{}, \"{number}\", {}]", site.child.display(), site.page.path().display()), "direct")?;
            write!(children, "{}u{number}", if number == 0 { "" } else { ", " })?;
        }
        supervise(site, &children)?;
        Ok(run(site))
    }

    fn status(&self, site: &Site) -> Option<Command> {
        let mut command = Command::new(PROGRAM);
        command.arg("-C").arg(site.path()).arg("status");
        Some(command)
    }
}

/// Declares unit `number`, started again at once and always.
pub(crate) fn declare(site: &Site, number: usize, exec: &str, logs: &str) -> Result<(), Fault> {
    let units = site.path().join("units");
    std::fs::create_dir_all(&units)?;
    let unit = format!("unit: u{number}\nexec: {exec}\nlogs: {logs}\nrestart: {{type: permanent, backoff: {{kind: none}}}}\n");
    Ok(std::fs::write(units.join(format!("u{number}.yaml")), unit)?)
}

/// Declares the supervisor of `children`.
pub(crate) fn supervise(site: &Site, children: &str) -> Result<(), Fault> {
    std::fs::create_dir_all(site.path().join("supervisors"))?;
    std::fs::write(site.path().join("daemon.yaml"), "listen: none\n")?;
    let root = format!("supervisor: root\nintensity: 1000000\nperiod: 1s\nchildren: [{children}]\n");
    Ok(std::fs::write(site.path().join("supervisors/root.yaml"), root)?)
}

/// The daemon in the foreground, as a service manager runs it: without the units' output on its own.
pub(crate) fn run(site: &Site) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("-C").arg(site.path()).args(["run", "--quiet"]);
    command
}

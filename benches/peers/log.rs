//! How fast a child writes its log: into a plain file, and under us in both modes.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::options::Options;
use crate::ours;
use crate::peer::Peer;
use crate::site::{Ground, Site, now, pause};
use crate::table::median;

/// How long the child writes, in seconds.
const SECONDS: u64 = 2;

/// Bytes of a line.
const LINE: f64 = 64.0;

/// The child without anybody above it.
struct Plain;

impl Peer for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let mut command = Command::new("sh");
        command.current_dir(site.path()).args(["-c", "exec \"$0\" \"$@\" >>log"]).arg(&site.child).arg("0").arg(site.page.path());
        command.args(["write", &SECONDS.to_string()]);
        Ok(command)
    }
}

/// The child under us.
struct Logged(&'static str);

impl Peer for Logged {
    fn name(&self) -> &'static str {
        self.0
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let (child, page) = (site.child.display(), site.page.path().display());
        ours::declare(site, 0, &format!("[{child}, \"0\", {page}, write, \"{SECONDS}\"]"), self.0)?;
        ours::supervise(site, "u0")?;
        Ok(ours::run(site))
    }
}

/// One line for each way.
pub(crate) fn measure(ground: &Ground, options: &Options) -> Result<String, Fault> {
    let ways: [Box<dyn Peer>; 3] = [Box::new(Plain), Box::new(Logged("direct")), Box::new(Logged("pipe"))];
    let mut rates = ways.each_ref().map(|_| Vec::new());
    for _ in 0..options.rounds {
        for (way, rates) in ways.iter().zip(&mut rates) {
            rates.push(rate(way.as_ref(), ground)?);
        }
    }
    let mut text = format!("lines of {LINE} bytes a child writes, in millions a second; in brackets the ratio to a plain file\n");
    let plain = median(&rates[0]);
    for (way, rates) in ways.iter().zip(&rates) {
        let rate = median(rates);
        writeln!(text, "log, {:10} {:.2} M lines/s, {:.0} MB/s ({:.2})", way.name(), rate / 1e6, rate * LINE / 1e6, rate / plain)?;
    }
    Ok(text)
}

/// Lines a second.
fn rate(way: &dyn Peer, ground: &Ground) -> Result<f64, Fault> {
    let site = ground.site(1)?;
    let (running, _) = site.start(way)?;
    let start = now();
    pause(Duration::from_secs(SECONDS));
    // The record behind the one of the start.
    running.wait_for_one(1, start)?;
    let (lines, _) = site.page.record(1)?;
    running.stop(way.stop_signal())?;
    Ok(lines as f64 / SECONDS as f64)
}

//! Whether a restart is late because fifty neighbours flood their logs: with a megabyte a second each.

use std::process::Command;

use crate::Fault;
use crate::measure::{REST, restarts_of};
use crate::options::Options;
use crate::ours;
use crate::peer::Peer;
use crate::site::{Ground, Site, pause};
use crate::table::median;

/// How many flood.
const NEIGHBOURS: usize = 50;

/// Unit 0 is restarted, the others write; or they are silent.
struct Flooded {
    name: &'static str,
    floods: bool,
    logs: &'static str,
}

const WAYS: [Flooded; 3] = [
    Flooded { name: "silent", floods: false, logs: "direct" },
    Flooded { name: "direct", floods: true, logs: "direct" },
    Flooded { name: "pipe", floods: true, logs: "pipe" },
];

impl Peer for Flooded {
    fn name(&self) -> &'static str {
        self.name
    }

    fn missing(&self) -> Option<&'static str> {
        None
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let (child, page) = (site.child.display(), site.page.path().display());
        for number in 0..site.units {
            let flood = if self.floods && number > 0 { ", flood" } else { "" };
            ours::declare(site, number, &format!("[{child}, \"{number}\", {page}{flood}]"), self.logs)?;
        }
        let children: Vec<_> = (0..site.units).map(|number| format!("u{number}")).collect();
        ours::supervise(site, &children.join(", "))?;
        Ok(ours::run(site))
    }
}

/// One line for each way.
pub(crate) fn measure(ground: &Ground, options: &Options) -> Result<String, Fault> {
    let mut took: Vec<Vec<f64>> = WAYS.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (way, took) in WAYS.iter().zip(&mut took) {
            let site = ground.site(NEIGHBOURS + 1)?;
            let (running, _) = site.start(way)?;
            pause(REST);
            took.push(restarts_of(&running, 0, options.restarts)?);
            running.stop(way.stop_signal())?;
        }
    }
    let mut text = format!("one unit killed → `main` of its successor, while {NEIGHBOURS} others write 1 MB/s each into their logs\n");
    let silent = median(&took[0]);
    for (way, took) in WAYS.iter().zip(&took) {
        let took = median(took);
        text += &format!("flooded, {:6} {:.2} ms ({:.2})\n", way.name, took / 1e6, took / silent);
    }
    Ok(text)
}

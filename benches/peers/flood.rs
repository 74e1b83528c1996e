//! Whether a restart is late because fifty neighbours flood their logs: with a megabyte a second each.

use std::fmt::Write as _;
use std::process::Command;

use crate::Fault;
use crate::measure::{REST, restarts_of};
use crate::options::Options;
use crate::ours;
use crate::peer::Peer;
use crate::reference::{FloodedReference, Reference};
use crate::site::{Ground, Site, pause};
use crate::table::median;

/// How many flood.
const NEIGHBOURS: usize = 50;

/// Each unit opens a file itself: the same flood, and we have nothing to do with it.
const PLAIN: &str = "none";

/// Unit 0 is restarted, the others write; or they are silent.
struct Flooded {
    name: &'static str,
    floods: bool,
    logs: &'static str,
}

const OURS: [Flooded; 4] = [
    Flooded { name: "ours, silent", floods: false, logs: "direct" },
    Flooded { name: "ours, plain", floods: true, logs: PLAIN },
    Flooded { name: "ours, direct", floods: true, logs: "direct" },
    Flooded { name: "ours, pipe", floods: true, logs: "pipe" },
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
            let command = match (self.floods && number > 0, self.logs) {
                (true, PLAIN) => format!("[sh, -c, 'exec \"$0\" \"$@\" >>log', {child}, \"{number}\", {page}, flood]"),
                (true, _) => format!("[{child}, \"{number}\", {page}, flood]"),
                (false, _) => format!("[{child}, \"{number}\", {page}]"),
            };
            ours::declare(site, number, &command, self.logs)?;
        }
        let children: Vec<_> = (0..site.units).map(|number| format!("u{number}")).collect();
        ours::supervise(site, &children.join(", "))?;
        Ok(ours::run(site))
    }
}

/// One line for each way; ratios to the way of the same supervisor whose units are silent.
pub(crate) fn measure(ground: &Ground, options: &Options) -> Result<String, Fault> {
    let supervisors: [Vec<&dyn Peer>; 2] = [vec![&Reference, &FloodedReference], OURS.iter().map(|way| way as &dyn Peer).collect()];
    let mut took: [Vec<Vec<f64>>; 2] = [vec![Vec::new(); supervisors[0].len()], vec![Vec::new(); supervisors[1].len()]];
    for _ in 0..options.rounds {
        for (ways, took) in supervisors.iter().zip(&mut took) {
            for (way, took) in ways.iter().zip(took) {
                let site = ground.site(NEIGHBOURS + 1)?;
                let (running, _) = site.start(*way)?;
                pause(REST);
                took.push(restarts_of(&running, 0, options.restarts)?);
                running.stop(way.stop_signal())?;
            }
        }
    }
    let mut text = format!(
        "one unit killed → `main` of its successor, while {NEIGHBOURS} others write 1 MB/s each into their logs; in brackets the ratio to \
         the same supervisor with silent units\n"
    );
    for (ways, took) in supervisors.iter().zip(&took) {
        let silent = median(&took[0]);
        for (way, took) in ways.iter().zip(took) {
            let took = median(took);
            writeln!(text, "flooded, {:16} {:.2} ms ({:.2})", way.name(), took / 1e6, took / silent)?;
        }
    }
    Ok(text)
}

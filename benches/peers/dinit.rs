//! dinit: one process, services in files.

use std::process::Command;

use crate::Fault;
use crate::peer::{Peer, lacks};
use crate::site::Site;

pub(crate) struct Dinit;

impl Peer for Dinit {
    fn name(&self) -> &'static str {
        "dinit"
    }

    fn missing(&self) -> Option<&'static str> {
        lacks("dinit")
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let services = site.path().join("services");
        std::fs::create_dir_all(services.join("all"))?;
        std::fs::write(services.join("boot"), "type = internal\nwaits-for.d = all\n")?;
        let (child, page) = (site.child.display(), site.page.path().display());
        for number in 0..site.units {
            let service = format!(
                "type = process\ncommand = {child} {number} {page}\nrestart = yes\nsmooth-recovery = yes\nrestart-delay = 0\n\
                 restart-limit-interval = 0\nlogfile = {}/u{number}.log\n",
                site.path().display()
            );
            std::fs::write(services.join(format!("u{number}")), service)?;
            std::fs::write(services.join(format!("all/u{number}")), "")?;
        }
        let mut command = Command::new("dinit");
        command.arg("--user").arg("-d").arg(&services).arg("-p").arg(site.path().join("control"));
        Ok(command)
    }

    fn status(&self, site: &Site) -> Option<Command> {
        let mut command = Command::new("dinitctl");
        command.arg("-p").arg(site.path().join("control")).arg("list");
        Some(command)
    }
}

//! s6: one process for each unit, and one above them.

use std::process::Command;
use std::time::Duration;

use crate::Fault;
use crate::peer::{Peer, lacks, service_directories};
use crate::site::Site;

pub(crate) struct S6;

impl Peer for S6 {
    fn name(&self) -> &'static str {
        "s6"
    }

    fn missing(&self) -> Option<&'static str> {
        lacks("s6-svscan")
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let services = site.path().join("services");
        service_directories(site, &services)?;
        let mut command = Command::new("s6-svscan");
        command.args(["-c", "2000"]).arg(&services);
        Ok(command)
    }

    fn least_age(&self) -> Duration {
        Duration::from_millis(1100)
    }

    fn status(&self, site: &Site) -> Option<Command> {
        let mut command = Command::new("sh");
        command.current_dir(site.path().join("services")).args(["-c", "for unit in u*; do s6-svstat $unit; done"]);
        Some(command)
    }
}

//! runit: one process for each unit, and one above them.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::Fault;
use crate::peer::{Peer, lacks, service_directories};
use crate::site::Site;

pub(crate) struct Runit;

impl Peer for Runit {
    fn name(&self) -> &'static str {
        "runit"
    }

    fn missing(&self) -> Option<&'static str> {
        lacks("runsvdir")
    }

    fn prepare(&self, site: &Site) -> Result<Command, Fault> {
        let services = site.path().join("services");
        service_directories(site, &services)?;
        let mut command = Command::new("runsvdir");
        command.arg(&services);
        Ok(command)
    }

    fn stop_signal(&self) -> Signal {
        Signal::HUP
    }

    fn least_age(&self) -> Duration {
        Duration::from_millis(1100)
    }

    fn status(&self, site: &Site) -> Option<Command> {
        let mut command = Command::new("sh");
        command.current_dir(site.path().join("services")).args(["-c", "exec sv status ./u*"]);
        Some(command)
    }
}

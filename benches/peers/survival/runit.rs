//! runit: svlogd in `log`, and a `finish` script as its memory.

use std::process::Command;

use rustix::process::Signal;

use super::place::Place;
use super::s6::service_directories;
use super::subject::{End, Subject, command, shell, signal};
use crate::Fault;
use crate::peer::{Peer as _, lacks};

pub(super) struct Runit;

impl Subject for Runit {
    fn name(&self) -> &'static str {
        "runit"
    }

    fn version(&self) -> Result<String, Fault> {
        match crate::runit::Runit.missing().or_else(|| lacks("svlogd")) {
            Some(program) => Err(format!("there is no {program}").into()),
            None => super::fetch::of_package("runit"),
        }
    }

    fn declare(&self, place: &Place) -> Result<(), Fault> {
        service_directories(place, "exec svlogd")?;
        for number in 0..place.units.len() {
            let path = place.write(&format!("services/u{number}/finish"), "#!/bin/sh\necho $1 $2 >> ends\n")?;
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        }
        Ok(())
    }

    fn start(&self, place: &Place) -> Result<u32, Fault> {
        let services = place.path().join("services");
        place.spawn(command("runsvdir", [&services.display().to_string()]))
    }

    fn up(&self, place: &Place) -> Result<usize, Fault> {
        let said = place.run(shell(place, "services", "exec sv status ./u*"))?;
        Ok(said.lines().filter(|line| line.starts_with("run: ")).count())
    }

    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault> {
        // The exit code, or -1 with the signal behind it.
        let end = |line: &str| {
            let (code, status) = line.split_once(' ')?;
            let signal = End::Signal(status.parse().ok()?);
            Some(if code == "-1" { signal } else { End::Code(code.parse().ok()?) })
        };
        Ok(place.read(&format!("services/u{number}/ends")).lines().filter_map(end).collect())
    }

    fn stop(&self, _: &Place, supervisor: u32) -> Result<(), Fault> {
        signal(supervisor, Signal::HUP)
    }

    fn stop_each(&self, place: &Place) -> Option<Command> {
        Some(shell(place, "services", "exec sv -w 20 exit ./u*"))
    }

    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault> {
        place.run(shell(place, "services", &format!("exec sv -w 10 down ./u{number}"))).map(drop)
    }
}

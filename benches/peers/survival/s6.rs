//! s6: its own logger in `log`, the death tally as its memory.

use std::process::Command;

use super::place::{Mode, Place};
use super::subject::{End, Subject, command, shell};
use crate::Fault;
use crate::peer::{Peer as _, lacks};

pub(super) struct S6;

impl Subject for S6 {
    fn name(&self) -> &'static str {
        "s6"
    }

    fn version(&self) -> Result<String, Fault> {
        match crate::s6::S6.missing().or_else(|| lacks("s6-log")) {
            Some(program) => Err(format!("there is no {program}").into()),
            None => super::fetch::of_package("s6"),
        }
    }

    fn declare(&self, place: &Place) -> Result<(), Fault> {
        service_directories(place, "exec s6-log n10 s1000000")
    }

    fn start(&self, place: &Place) -> Result<u32, Fault> {
        let mut command = command("s6-svscan", ["-c", "1000"]);
        place.spawn({
            command.arg(place.path().join("services"));
            command
        })
    }

    fn up(&self, place: &Place) -> Result<usize, Fault> {
        let said = place.run(shell(place, "services", "for unit in u*; do s6-svstat -o up $unit; done"))?;
        Ok(said.lines().filter(|line| *line == "true").count())
    }

    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault> {
        let said = place.run(shell(place, "services", &format!("s6-svdt u{number}")))?;
        // `@TIME exitcode N` or `@TIME signal NAME`.
        let end = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            match (words.next()?, words.next()?) {
                ("exitcode", code) => code.parse().ok().map(End::Code),
                ("signal", "SIGKILL") => Some(End::Signal(9)),
                _ => None,
            }
        };
        Ok(said.lines().filter_map(end).collect())
    }

    fn stop(&self, place: &Place, _: u32) -> Result<(), Fault> {
        place.run(shell(place, ".", "s6-svscanctl -t services")).map(drop)
    }

    fn stop_each(&self, place: &Place) -> Option<Command> {
        // A logger ends with its input.
        Some(shell(place, "services", "for unit in u*; do s6-svc -dx $unit; done; for log in u*/log; do s6-svc -x $log; done"))
    }

    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault> {
        place.run(shell(place, "services", &format!("s6-svc -wD -T 10000 -d u{number}"))).map(drop)
    }
}

/// Service directories as s6 and runit want them, each logging unit with `logger` and its directory.
pub(super) fn service_directories(place: &Place, logger: &str) -> Result<(), Fault> {
    let script = |name: &str, line: &str| -> Result<(), Fault> {
        let path = place.write(name, &format!("#!/bin/sh\n{line}\n"))?;
        Ok(std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?)
    };
    for (number, mode) in place.units.iter().enumerate() {
        script(&format!("services/u{number}/run"), &format!("exec 2>&1\nexec {}", place.words(number).join(" ")))?;
        if *mode == Mode::Log {
            std::fs::create_dir_all(place.log(number))?;
            script(&format!("services/u{number}/log/run"), &format!("{logger} {}", place.log(number).display()))?;
        }
    }
    Ok(())
}

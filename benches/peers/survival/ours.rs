//! This supervisor, alone in its directory, as `run` starts it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use ms_supervisor::os::process;
use rustix::process::Signal;
use serde_json::Value;

use super::place::{Mode, Place};
use super::subject::{End, Subject, signal};
use crate::Fault;
use crate::ours::PROGRAM;

pub(super) struct Ours {
    pub(super) name: &'static str,
    pub(super) logs: &'static str,
    /// The brain is killed, and not the launcher.
    pub(super) brain: bool,
    pub(super) cgroups: bool,
}

impl Ours {
    fn control<const N: usize>(place: &Place, words: [&str; N]) -> Result<String, Fault> {
        let mut command = Command::new(PROGRAM);
        command.arg("-C").arg(place.path()).args(words);
        place.run(command)
    }
}

impl Subject for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> Result<String, Fault> {
        Ok(env!("CARGO_PKG_VERSION").into())
    }

    fn declare(&self, place: &Place) -> Result<(), Fault> {
        let mut units = String::new();
        for (number, mode) in place.units.iter().enumerate() {
            let words = place.words(number).map(|word| format!("\"{word}\"")).join(", ");
            let logs = if *mode == Mode::Log { self.logs } else { "direct" };
            write!(units, "---\nunit: u{number}\nexec: [{words}]\nlogs: {logs}\n")?;
        }
        place.write("units/all.yaml", &units)?;
        // Six ends within half a minute are no fault here; the others have no such limit.
        let children = (0..place.units.len()).map(|number| format!("u{number}")).collect::<Vec<_>>().join(", ");
        place.write("supervisors/root.yaml", &format!("supervisor: root\nintensity: 100\nchildren: [{children}]\n"))?;
        place.write("daemon.yaml", "listen: none\n").map(drop)
    }

    fn start(&self, place: &Place) -> Result<u32, Fault> {
        let mut command = Command::new(PROGRAM);
        command.arg("-C").arg(place.path()).args(["run", "--quiet"]);
        if !self.cgroups {
            command.env("MS_NO_CGROUPS", "1");
        }
        place.spawn(command)
    }

    fn victim(&self, supervisor: u32) -> Result<u32, Fault> {
        if !self.brain {
            return Ok(supervisor);
        }
        let is_brain = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"brain")
        };
        let mut children = Vec::new();
        process::children(supervisor, &mut children);
        children.into_iter().find(is_brain).ok_or_else(|| "there is no brain".into())
    }

    fn comes_back(&self) -> bool {
        self.brain
    }

    fn restart(&self, place: &Place, before: u32) -> Result<u32, Fault> {
        // Nobody need do anything for a brain.
        if self.brain { Ok(before) } else { self.start(place) }
    }

    fn up(&self, place: &Place) -> Result<usize, Fault> {
        let status: Value = serde_json::from_str(&Self::control(place, ["status", "--json"])?)?;
        let units = status["units"].as_array().ok_or("no units")?;
        Ok(units.iter().filter(|unit| unit["state"] == "active").count())
    }

    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault> {
        let mut ends = Vec::new();
        for line in place.read(".ms-supervisor/events.jsonl").lines() {
            // The last one may be on its way.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            if event["type"] == "UnitExited" && event["data"]["unit"] == format!("u{number}") {
                let cause = &event["data"]["cause"];
                let number = |cause: &Value| cause.as_i64().and_then(|number| i32::try_from(number).ok());
                ends.extend(number(&cause["code"]).map(End::Code).or_else(|| number(&cause["signal"]["signal"]).map(End::Signal)));
            }
        }
        Ok(ends)
    }

    fn stop(&self, _: &Place, supervisor: u32) -> Result<(), Fault> {
        signal(supervisor, Signal::TERM)
    }

    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault> {
        Self::control(place, ["stop", &format!("u{number}")]).map(drop)
    }

    fn log(&self, place: &Place, number: usize) -> PathBuf {
        place.path().join(format!(".ms-supervisor/logs/u{number}.log"))
    }
}

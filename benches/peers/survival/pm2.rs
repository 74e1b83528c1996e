//! PM2: what units write goes through the pipes of its daemon into files; how they ended stands in its own log.

use std::process::Command;

use serde_json::{Value, json};

use super::fetch;
use super::place::{Mode, Place};
use super::subject::{End, Subject};
use crate::Fault;

const VERSION: &str = "7.0.4";

pub(super) struct Pm2;

impl Pm2 {
    fn command(place: &Place) -> Command {
        let mut command = Command::new(fetch::directory("pm2", VERSION).join("node_modules/.bin/pm2"));
        command.env("PM2_HOME", place.path().join("pm2"));
        command
    }

    fn control<const N: usize>(place: &Place, words: [&str; N]) -> Result<String, Fault> {
        let mut command = Self::command(place);
        command.args(words);
        place.run(command)
    }

    fn daemon(place: &Place, said: &str) -> Result<u32, Fault> {
        place.read("pm2/pm2.pid").trim().parse().map_err(|_| format!("there is no daemon: {said}").into())
    }
}

impl Subject for Pm2 {
    fn name(&self) -> &'static str {
        "pm2"
    }

    fn version(&self) -> Result<String, Fault> {
        fetch::node("pm2", VERSION)?;
        Ok(VERSION.into())
    }

    fn declare(&self, place: &Place) -> Result<(), Fault> {
        let app = |(number, mode): (usize, &Mode)| {
            let [program, words @ ..] = place.words(number);
            let log = if *mode == Mode::Log { place.log(number) } else { "/dev/null".into() };
            json!({
                "name": format!("u{number}"), "script": program, "args": words, "interpreter": "none", "exec_mode": "fork",
                "out_file": log, "error_file": "/dev/null", "merge_logs": true, "vizion": false, "pmx": false, "automation": false,
            })
        };
        let apps: Vec<Value> = place.units.iter().enumerate().map(app).collect();
        place.write("ecosystem.json", &serde_json::to_string(&json!({ "apps": apps }))?).map(drop)
    }

    fn start(&self, place: &Place) -> Result<u32, Fault> {
        let file = place.path().join("ecosystem.json").display().to_string();
        let said = Self::control(place, ["start", &file])?;
        Self::daemon(place, &said)
    }

    fn keep(&self, place: &Place) -> Result<(), Fault> {
        Self::control(place, ["save"]).map(drop)
    }

    /// As the units do that `pm2 startup` writes for service managers.
    fn restart(&self, place: &Place, _: u32) -> Result<u32, Fault> {
        let said = Self::control(place, ["resurrect"])?;
        Self::daemon(place, &said)
    }

    fn up(&self, place: &Place) -> Result<usize, Fault> {
        let said = Self::control(place, ["jlist"])?;
        let list = said.lines().find(|line| line.starts_with("[{")).ok_or("no list")?;
        let list: Vec<Value> = serde_json::from_str(list)?;
        Ok(list.iter().filter(|app| app["pm2_env"]["status"] == "online").count())
    }

    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault> {
        // `App [u1:1] exited with code [0] via signal [SIGKILL]`; without a signal it says SIGINT.
        let words = format!("App [u{number}:");
        let end = |line: &str| {
            let how = line.split_once(&words)?.1.split_once("exited with code [")?.1;
            let code = how.split_once(']')?.0.parse().ok()?;
            Some(if how.contains("[SIGKILL]") { End::Signal(9) } else { End::Code(code) })
        };
        Ok(place.read("pm2/pm2.log").lines().filter_map(end).collect())
    }

    fn stop(&self, place: &Place, _: u32) -> Result<(), Fault> {
        Self::control(place, ["kill"]).map(drop)
    }

    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault> {
        Self::control(place, ["stop", &format!("u{number}")]).map(drop)
    }
}

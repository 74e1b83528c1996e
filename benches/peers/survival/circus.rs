//! Circus: what units write goes through its pipes into its streams; a hook of its is told how they ended.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::fetch;
use super::place::{Mode, Place};
use super::subject::{End, Subject, command};
use crate::Fault;

const VERSION: &str = "0.19.0";

/// The hook, in circus' own language.
const HOOK: &str = "import os\n\
                    def note(watcher, arbiter, hook_name, exit_code=None, **more):\n\
                    \x20   with open(os.path.join(os.path.dirname(__file__), watcher.name + '.ends'), 'a') as file:\n\
                    \x20       file.write('%s\\n' % exit_code)\n";

pub(super) struct Circus;

impl Circus {
    fn tool(name: &str) -> PathBuf {
        fetch::directory("circus", VERSION).join("bin").join(name)
    }

    fn control<const N: usize>(place: &Place, words: [&str; N]) -> Result<String, Fault> {
        let mut command = command(Self::tool("circusctl"), ["--timeout", "60", "--endpoint"]);
        command.arg(endpoint(place, "control")).args(words);
        place.run(command)
    }
}

fn endpoint(place: &Place, name: &str) -> String {
    format!("ipc://{}/{name}", place.path().display())
}

impl Subject for Circus {
    fn name(&self) -> &'static str {
        "circus"
    }

    fn version(&self) -> Result<String, Fault> {
        fetch::python("circus", VERSION)?;
        fetch::said(command(Self::tool("circusd"), ["--version"]))
    }

    fn declare(&self, place: &Place) -> Result<(), Fault> {
        let (control, publish) = (endpoint(place, "control"), endpoint(place, "publish"));
        let mut text = format!("[circus]\nendpoint = {control}\npubsub_endpoint = {publish}\n");
        for (number, mode) in place.units.iter().enumerate() {
            write!(
                text,
                "[watcher:u{number}]\ncmd = {}\nnumprocesses = 1\nstop_children = True\nhooks.after_reap = reaped.note\n",
                place.words(number).join(" ")
            )?;
            if *mode == Mode::Log {
                writeln!(text, "stdout_stream.class = FileStream\nstdout_stream.filename = {}", place.log(number).display())?;
            }
        }
        place.write("reaped.py", HOOK)?;
        place.write("circus.ini", &text).map(drop)
    }

    fn start(&self, place: &Place) -> Result<u32, Fault> {
        let settings = place.path().join("circus.ini").display().to_string();
        let mut command = command(Self::tool("circusd"), [&settings]);
        command.env("PYTHONPATH", place.path()).current_dir(place.path());
        place.spawn(command)
    }

    fn up(&self, place: &Place) -> Result<usize, Fault> {
        // A watcher is active before its process is there.
        let said = Self::control(place, ["numprocesses"])?;
        let said = said.trim().trim_start_matches("numprocesses:").trim();
        Ok(said.parse()?)
    }

    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault> {
        let ends = place.read(&format!("u{number}.ends"));
        Ok(ends.lines().filter_map(|line| line.parse().ok().map(End::from_number)).collect())
    }

    fn stop(&self, place: &Place, _: u32) -> Result<(), Fault> {
        Self::control(place, ["quit"]).map(drop)
    }

    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault> {
        Self::control(place, ["stop", &format!("u{number}")]).map(drop)
    }
}

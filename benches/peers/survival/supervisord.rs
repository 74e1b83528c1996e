//! supervisord: what units write goes through its pipes into its log files; how they ended stands in its own log.

use std::fmt::Write as _;

use rustix::process::Signal;

use super::place::{Mode, Place};
use super::subject::{End, Subject, command, signal};
use crate::Fault;
use crate::peer::Peer as _;

pub(super) struct Supervisord;

impl Supervisord {
    fn control<const N: usize>(place: &Place, words: [&str; N]) -> Result<String, Fault> {
        let mut command = command("supervisorctl", ["-c"]);
        command.arg(place.path().join("supervisord.conf")).args(words);
        place.run(command)
    }
}

impl Subject for Supervisord {
    fn name(&self) -> &'static str {
        "supervisord"
    }

    fn version(&self) -> Result<String, Fault> {
        match crate::supervisord::Supervisord.missing() {
            Some(program) => Err(format!("there is no {program}").into()),
            None => super::fetch::said(command("supervisord", ["--version"])),
        }
    }

    fn declare(&self, place: &Place) -> Result<(), Fault> {
        let directory = place.path().display();
        let mut text = format!(
            "[unix_http_server]\nfile={directory}/control\n\
             [supervisord]\nnodaemon=true\nuser=root\nlogfile={directory}/supervisord.log\npidfile={directory}/pid\nchildlogdir={directory}\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{directory}/control\n"
        );
        for (number, mode) in place.units.iter().enumerate() {
            let log = if *mode == Mode::Log { place.log(number).display().to_string() } else { "NONE".into() };
            write!(
                text,
                "[program:u{number}]\ncommand={}\nautorestart=true\nstopasgroup=true\nkillasgroup=true\nredirect_stderr=true\n\
                 stdout_logfile={log}\n",
                place.words(number).join(" ")
            )?;
        }
        place.write("supervisord.conf", &text).map(drop)
    }

    fn start(&self, place: &Place) -> Result<u32, Fault> {
        let settings = place.path().join("supervisord.conf").display().to_string();
        place.spawn(command("supervisord", ["-c", &settings]))
    }

    fn up(&self, place: &Place) -> Result<usize, Fault> {
        Ok(Self::control(place, ["status"])?.lines().filter(|line| line.contains(" RUNNING ")).count())
    }

    fn ends(&self, place: &Place, number: usize) -> Result<Vec<End>, Fault> {
        let words = format!("exited: u{number} (");
        // `exit status N; …` or `terminated by SIGNAME; …`.
        let end = |line: &str| {
            let how = line.split_once(&words)?.1.split_once(';')?.0;
            match how.split_once("exit status ") {
                Some((_, code)) => code.parse().ok().map(End::Code),
                None => how.contains("SIGKILL").then_some(End::Signal(9)),
            }
        };
        Ok(place.read("supervisord.log").lines().filter_map(end).collect())
    }

    fn stop(&self, _: &Place, supervisor: u32) -> Result<(), Fault> {
        signal(supervisor, Signal::TERM)
    }

    fn stop_unit(&self, place: &Place, number: usize) -> Result<(), Fault> {
        Self::control(place, ["stop", &format!("u{number}")]).map(drop)
    }
}

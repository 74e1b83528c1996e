//! Erlang, with OTP's own supervisor. What runs in it stands in `measure.erl` and `worker.erl`.

use std::process::{Command, Stdio};

use crate::Fault;

/// The sources, by file name.
const SOURCES: [(&str, &str); 2] = [("measure.erl", include_str!("measure.erl")), ("worker.erl", include_str!("worker.erl"))];

/// The compiled modules, in a directory that goes with this.
pub(crate) struct Erlang(tempfile::TempDir);

impl Erlang {
    /// Compiles the modules; nothing, if there is no Erlang here.
    pub(crate) fn compile() -> Result<Option<Self>, Fault> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        for program in ["erl", "erlc"] {
            if !std::env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
                println!("SKIPPED: erlang, gen_server, simple: there is no {program} on this machine");
                return Ok(None);
            }
        }
        let directory = tempfile::tempdir()?;
        for (name, source) in SOURCES {
            std::fs::write(directory.path().join(name), source)?;
            let status = Command::new("erlc").arg("-Werror").arg(name).current_dir(&directory).stdin(Stdio::null()).status()?;
            if !status.success() {
                return Err(format!("{name} does not compile").into());
            }
        }
        Ok(Some(Self(directory)))
    }

    /// Runs `measure:main/1` with the arguments that are appended.
    pub(crate) fn command(&self, schedulers: usize) -> Command {
        let mut command = Command::new("erl");
        command.args(["+S", &format!("{schedulers}:{schedulers}"), "+P", "1048576", "-noshell", "-noinput", "-pa"]);
        command.arg(self.0.path()).args(["-run", "measure", "main"]);
        command
    }
}

//! The supervisors that distributions do not carry: got from their registries, below the target directory, when there is need.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::subject::command;
use crate::Fault;
use crate::peer::lacks;

/// Where a version of one is.
pub(super) fn directory(name: &str, version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("peers").join(format!("{name}-{version}"))
}

/// One written in Python, in an environment of its own.
pub(super) fn python(name: &str, version: &str) -> Result<(), Fault> {
    let there = directory(name, version);
    unless_there(&there, || {
        need("python3")?;
        let mut make = command("python3", ["-m", "venv"]);
        make.arg(&there);
        said(make)?;
        said(command(there.join("bin/pip"), ["install", "--quiet", &format!("{name}=={version}")]))
    })
}

/// One written for Node.
pub(super) fn node(name: &str, version: &str) -> Result<(), Fault> {
    let there = directory(name, version);
    unless_there(&there, || {
        need("npm")?;
        let mut install = command("npm", ["install", "--silent", "--no-fund", "--no-audit", "--prefix"]);
        install.arg(&there).arg(format!("{name}@{version}"));
        said(install)
    })
}

fn need(program: &'static str) -> Result<(), Fault> {
    lacks(program).map_or(Ok(()), |program| Err(format!("there is no {program}").into()))
}

/// Half of one is none.
fn unless_there(there: &Path, get: impl FnOnce() -> Result<String, Fault>) -> Result<(), Fault> {
    let whole = there.join("whole");
    if whole.exists() {
        return Ok(());
    }
    eprintln!("getting {}", there.display());
    get().map_err(|fault| format!("it cannot be had: {fault}"))?;
    Ok(std::fs::write(whole, "")?)
}

/// What a command that must succeed prints first.
pub(super) fn said(mut command: Command) -> Result<String, Fault> {
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false if output.stderr.is_empty() => Err(text(&output.stdout).into()),
        false => Err(text(&output.stderr).into()),
    }
}

/// The version of a Debian package; programs like s6 do not say theirs.
pub(super) fn of_package(name: &str) -> Result<String, Fault> {
    Ok(said(command("dpkg-query", ["-W", "-f", "${Version}", name])).unwrap_or_else(|_| "version unknown".into()))
}

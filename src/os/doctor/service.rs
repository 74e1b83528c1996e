//! What systemd says of a service.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// The longest answer, in bytes.
const ANSWER_MAX: u64 = 256 << 10;

/// The properties that are asked for.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload,Type,NotifyAccess,WatchdogUSec,\
                          Delegate,KillMode,Restart,MainPID,ExecStart,Environment,User,Slice,ControlGroup,MemoryMax,MemoryHigh,CPUQuotaPerSecUSec,TasksMax";

/// What `systemctl show` says of `unit`: properties by name.
///
/// # Errors
/// A sentence that says why systemd could not be asked.
pub fn show(unit: &str, user: bool) -> Result<BTreeMap<String, String>, String> {
    let mut command = Command::new("systemctl");
    command.args(user.then_some("--user")).args(["--no-pager", "--no-ask-password", "show", "--property", PROPERTIES, "--", unit]);
    let text = answer(command)?;
    Ok(text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// What a program prints within the time it may take.
fn answer(mut command: Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("cannot run {name}: {error}"))?;
    let status = (0..PATIENCE.as_millis() / LOOK.as_millis()).find_map(|_| match child.try_wait() {
        Ok(None) => {
            std::thread::sleep(LOOK);
            None
        }
        ended => Some(ended),
    });
    let Some(status) = status else {
        // It hangs; whether it can be killed changes nothing.
        drop(child.kill());
        drop(child.wait());
        return Err(format!("{name} has not answered for {} s", PATIENCE.as_secs()));
    };
    let status = status.map_err(|error| format!("cannot wait for {name}: {error}"))?.ok_or_else(|| format!("{name} is lost"))?;
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        // What is no text is no answer.
        drop(pipe.map(|pipe| pipe.take(ANSWER_MAX).read_to_string(&mut text)));
        text
    };
    let out = read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn std::io::Read));
    if status.success() {
        return Ok(out);
    }
    let said = read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn std::io::Read));
    Err(format!("{name}: {}", said.lines().next().unwrap_or("it failed and said nothing")))
}

/// Whether the services of this user run while nobody is logged in.
#[must_use]
pub fn lingers(user: &str) -> bool {
    Path::new("/var/lib/systemd/linger").join(user).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_waited_for_and_failures_told() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            answer(command)
        };
        assert_eq!(run("echo A=b"), Ok("A=b\n".into()));
        assert_eq!(run("echo no bus >&2; exit 1"), Err("sh: no bus".into()));
        assert_eq!(
            answer(Command::new("/nonexistent/systemctl")).unwrap_err(),
            "cannot run /nonexistent/systemctl: No such file or directory (os error 2)"
        );
    }
}

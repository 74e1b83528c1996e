//! Whether a process is able to do anything.

use crate::base::outcome::Outcome;

/// Looks at the state of process `pid`.
pub(super) fn check(pid: u32) -> Outcome {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    // The name, in parentheses, may hold anything; the state follows the last one.
    let state = stat.as_ref().ok().and_then(|stat| stat.rsplit_once(") ")).and_then(|(_, rest)| rest.chars().next());
    match state {
        None => Outcome::failed(format!("process {pid} is gone")),
        Some('Z' | 'X') => Outcome::failed(format!("process {pid} is a zombie")),
        Some('T' | 't') => Outcome::failed(format!("process {pid} is stopped")),
        Some('D') => Outcome::failed(format!("process {pid} waits in the kernel and cannot be interrupted")),
        Some(_) => Outcome::ok(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::outcome::Verdict;

    #[test]
    fn what_can_do_nothing_is_not_well() {
        assert_eq!(check(std::process::id()).verdict, Verdict::Ok);
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id();
        let state = |wanted: &str| {
            let end = crate::os::clock::mono() + std::time::Duration::from_secs(10);
            while !check(pid).text.contains(wanted) {
                assert!(crate::os::clock::mono() < end, "{:?}", check(pid));
            }
        };
        let kill = |signal| rustix::process::kill_process(rustix::process::Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
        kill(rustix::process::Signal::STOP);
        state("is stopped");
        kill(rustix::process::Signal::KILL);
        state("is a zombie");
        child.wait().unwrap();
        assert_eq!(check(pid), Outcome::failed(format!("process {pid} is gone")));
    }
}

//! What directories, ports and the declarations mean for the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::finding::{Finding, Severity};
use crate::base::quantity::format_size;
use crate::os::doctor::files::{Directory, DirectoryFacts, Loose};

use Severity::{Error, Note, Warning};

/// Less free space than this, in bytes, is little.
const SPACE_LEAST: u64 = 256 << 20;

/// Less than this share of what there is, is little: of bytes, if they are also fewer than [`SPACE_PLENTY`], and of inodes.
const SHARE_LEAST: u64 = 20;

/// More free space than this is enough, whatever share it is.
const SPACE_PLENTY: u64 = 4 << 30;

/// So many loose files are named.
const NAMED_MAX: usize = 5;

/// Whom directories are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// The daemon's user, or who would be.
    pub(super) uid: u32,
    /// Whether that is the user who asks: only then is it known what may be written.
    pub(super) is_us: bool,
}

/// A directory; `parent` is where a missing one would be made, and whether it may be.
pub(super) fn directory(directory: &Directory, parent: Option<(PathBuf, bool)>, owner: Owner) -> Vec<Finding> {
    let check = match directory.name {
        "config" => "files.config",
        "state" => "files.state",
        "run" => "files.run",
        _ => "files.logs",
    };
    let shown = format!("{} ({})", directory.path.display(), directory.name);
    let facts = match &directory.facts {
        Ok(facts) => facts,
        Err(why) => return vec![missing(check, directory, &shown, why, parent, owner)],
    };
    if !facts.is_directory {
        let fault = Finding::new(Error, "files", check, format!("{shown} is not a directory"), "the daemon cannot use it");
        return vec![fault.cure(format!("mv {0} {0}.old", directory.path.display()))];
    }
    let mut findings = access(check, &shown, directory, facts, owner);
    if directory.name != "config" {
        findings.extend(room(check, &shown, facts));
    }
    if directory.name == "logs" && facts.collapses == Some(false) {
        let why = "logs of mode `direct` go through pipes instead, which costs processor time";
        findings.push(
            Finding::new(Note, "files", "files.collapse", format!("the file system of {shown} cannot take off a file's head"), why)
                .cure("ext4 and xfs can"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok("files", check, format!("{shown}, mode {:o}, {} free", facts.mode, format_size(facts.bytes.0))));
    }
    findings
}

fn missing(check: &'static str, directory: &Directory, shown: &str, why: &str, parent: Option<(PathBuf, bool)>, owner: Owner) -> Finding {
    let make = format!("install -d -m 750 -o {} {}", owner.uid, directory.path.display());
    if directory.name == "config" {
        let fault = Finding::new(Error, "files", check, format!("{shown}: {why}"), "there are no declarations");
        return fault.cure(format!("mkdir -p {}/units, or name another directory with -C DIR", directory.path.display()));
    }
    match parent {
        Some((at, false)) if owner.is_us => {
            let why = format!("it cannot be made, because {} may not be written", at.display());
            Finding::new(Error, "files", check, format!("{shown} is not there"), why).cure(format!("as root: {make}"))
        }
        _ => Finding::new(Note, "files", check, format!("{shown} is not there"), "`run` makes it"),
    }
}

fn access(check: &'static str, shown: &str, directory: &Directory, facts: &DirectoryFacts, owner: Owner) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_config = directory.name == "config";
    if facts.read_only && !is_config {
        let fault = Finding::new(
            Error,
            "files",
            check,
            format!("{shown} is on a file system that is mounted read-only"),
            "the daemon cannot start",
        );
        findings.push(fault.cure("mount -o remount,rw, or `ReadWritePaths=` in the service"));
    } else if owner.is_us && !facts.writable && !is_config {
        let fault = Finding::new(
            Error,
            "files",
            check,
            format!("{shown} may not be written (mode {:o}, user {})", facts.mode, facts.uid),
            "the daemon cannot start",
        );
        findings.push(fault.cure(format!("as root: chown {} {}", owner.uid, directory.path.display())));
    } else if facts.uid != owner.uid && facts.uid != 0 {
        let why = "whoever owns it may replace what the daemon keeps there, or runs";
        let fault = Finding::new(
            Warning,
            "files",
            check,
            format!("{shown} belongs to user {}, not to the daemon's ({})", facts.uid, owner.uid),
            why,
        );
        findings.push(fault.cure(format!("as root: chown {} {}", owner.uid, directory.path.display())));
    }
    if facts.mode & 0o002 != 0 && facts.mode & 0o1000 == 0 && !is_config {
        let fault = Finding::new(
            Error,
            "files",
            check,
            format!("everybody may write in {shown} (mode {:o})", facts.mode),
            "anybody may replace what the daemon keeps there",
        );
        findings.push(fault.cure(format!("chmod o-w {}", directory.path.display())));
    }
    findings
}

fn room(check: &'static str, shown: &str, facts: &DirectoryFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (free, all) = facts.bytes;
    let is_scarce = |free: u64, all: u64| all > 0 && free < all / SHARE_LEAST;
    // What is small as a whole, as /run may be, is not short for that.
    if all > 0 && (is_scarce(free, all) && free < SPACE_PLENTY || free < SPACE_LEAST.min(all / 4)) {
        let severity = if free < 1 << 20 { Error } else { Warning };
        let why = "what does not fit is not remembered and not logged; supervision goes on";
        findings.push(
            Finding::new(severity, "files", check, format!("{} of {} are free in {shown}", format_size(free), format_size(all)), why)
                .cure("make room, or bound the logs: `logs: {max_total: …}` in daemon.yaml"),
        );
    }
    let (free, all) = facts.inodes;
    if is_scarce(free, all) {
        let why = "no files can be made when there are no inodes, whatever space there is";
        findings.push(
            Finding::new(Warning, "files", check, format!("{free} of {all} inodes are free in {shown}"), why)
                .cure("remove small files; `df -i` shows where"),
        );
    }
    findings
}

/// What others may change of what the daemon reads and runs.
pub(super) fn loose(loose: &[Loose], daemon_is_root: bool) -> Finding {
    const CHECK: &str = "files.trust";
    let Some(first) = loose.first() else { return Finding::ok("files", CHECK, "nobody else may change the configuration") };
    let named: Vec<_> =
        loose.iter().take(NAMED_MAX).map(|one| format!("{} (user {}, mode {:o})", one.path.display(), one.uid, one.mode)).collect();
    let more = if loose.len() > NAMED_MAX { format!(" and {} more", loose.len() - NAMED_MAX) } else { String::new() };
    let (severity, why) = if daemon_is_root {
        (Error, "whoever may change a declaration has programs run as root")
    } else {
        (Warning, "whoever may change a declaration has programs run as you")
    };
    let found = format!("others may change {}{more}", named.join(", "));
    Finding::new(severity, "files", CHECK, found, why)
        .cure(format!("chmod go-w, or chown, for example: chmod go-w {}", first.path.display()))
}

/// Who listens where the daemon serves, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listener {
    /// Nobody.
    Nobody,
    /// The daemon.
    Daemon,
    /// Somebody else.
    Other,
    /// Somebody; it may not be asked who.
    Unknown,
}

pub(super) fn port(address: Option<SocketAddr>, listener: Listener, runs: bool) -> Finding {
    const CHECK: &str = "ports.listen";
    let Some(address) = address else { return Finding::ok("ports", CHECK, "`listen: none`: no port is needed") };
    let which = format!("ss -ltnp 'sport = :{}'", address.port());
    match (listener, runs) {
        (Listener::Daemon, _) => Finding::ok("ports", CHECK, format!("the daemon serves metrics and health on {address}")),
        (Listener::Nobody, false) => Finding::ok("ports", CHECK, format!("{address} is free")),
        (Listener::Nobody, true) => Finding::new(
            Note,
            "ports",
            CHECK,
            format!("the daemon does not listen on {address}"),
            "it was started with another `--listen`, or is starting",
        ),
        (Listener::Unknown, true) => Finding::new(
            Note,
            "ports",
            CHECK,
            format!("somebody listens on {address}"),
            "only root, or the daemon's user, may see that it is the daemon",
        ),
        (Listener::Other, true) => {
            Finding::new(Error, "ports", CHECK, format!("somebody else listens on {address}"), "the daemon serves no metrics")
                .cure(format!("{which}; then another `listen:` in daemon.yaml"))
        }
        (Listener::Other | Listener::Unknown, false) => {
            Finding::new(Error, "ports", CHECK, format!("somebody listens on {address}"), "the daemon could not serve metrics there")
                .cure(format!("{which}; then another `listen:` in daemon.yaml"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Owner = Owner { uid: 990, is_us: true };

    fn facts() -> DirectoryFacts {
        DirectoryFacts {
            is_directory: true,
            uid: 990,
            gid: 990,
            mode: 0o750,
            writable: true,
            bytes: (50 << 30, 100 << 30),
            inodes: (900, 1000),
            read_only: false,
            collapses: Some(true),
        }
    }

    fn check(name: &'static str, facts: Result<DirectoryFacts, String>, parent: Option<(PathBuf, bool)>, owner: Owner, expect: Severity) {
        let findings = directory(&Directory { name, path: "/var/lib/ms".into(), facts }, parent, owner);
        assert_eq!(findings.iter().map(|finding| finding.severity).max(), Some(expect), "{findings:#?}");
        assert!(findings.iter().all(|finding| finding.severity < Warning || finding.cure.is_some()), "{findings:#?}");
    }

    #[test]
    fn directories_are_judged() {
        let gone = || Err("No such file or directory".to_owned());
        let here = |change: fn(&mut DirectoryFacts)| {
            let mut facts = facts();
            change(&mut facts);
            Ok(facts)
        };
        check("state", here(|_| {}), None, US, Severity::Ok);
        check("state", gone(), Some(("/var/lib".into(), true)), US, Note);
        check("state", gone(), Some(("/var/lib".into(), false)), US, Error);
        check("state", gone(), Some(("/var/lib".into(), false)), Owner { uid: 0, is_us: false }, Note);
        check("config", gone(), None, US, Error);
        check("state", here(|facts| facts.writable = false), None, US, Error);
        check("config", here(|facts| facts.writable = false), None, US, Severity::Ok);
        check("state", here(|facts| facts.uid = 1000), None, US, Warning);
        check("state", here(|facts| facts.mode = 0o777), None, US, Error);
        check("run", here(|facts| facts.mode = 0o1777), None, US, Severity::Ok);
        check("logs", here(|facts| facts.bytes = (1 << 20, 100 << 30)), None, US, Warning);
        check("logs", here(|facts| facts.bytes = (10, 100 << 30)), None, US, Error);
        check("run", here(|facts| facts.bytes = (60 << 20, 64 << 20)), None, US, Severity::Ok);
        check("logs", here(|facts| facts.inodes = (1, 1000)), None, US, Warning);
        check("logs", here(|facts| facts.collapses = Some(false)), None, US, Note);
        check("logs", here(|facts| facts.read_only = true), None, US, Error);
        check("logs", here(|facts| facts.is_directory = false), None, US, Error);
    }

    #[test]
    fn ports_are_judged() {
        let address = Some("127.0.0.1:8001".parse().unwrap());
        for (listener, runs, expect) in [
            (Listener::Nobody, false, Severity::Ok),
            (Listener::Daemon, true, Severity::Ok),
            (Listener::Nobody, true, Note),
            (Listener::Unknown, true, Note),
            (Listener::Other, true, Error),
            (Listener::Unknown, false, Error),
        ] {
            assert_eq!(port(address, listener, runs).severity, expect, "{listener:?} {runs}");
        }
        assert_eq!(port(None, Listener::Nobody, true).severity, Severity::Ok);
    }

    #[test]
    fn what_others_may_change_is_named() {
        assert_eq!(loose(&[], true).severity, Severity::Ok);
        let open = vec![Loose { path: "/etc/ms-supervisor/units/a.yaml".into(), uid: 1000, mode: 0o666 }; 7];
        let finding = loose(&open, true);
        assert!(finding.severity == Error && finding.found.ends_with("and 2 more"), "{finding:?}");
        assert_eq!(loose(&open, false).severity, Warning);
    }
}

//! `verify-install`: whether what a package, or somebody by hand, has put on this machine is all there and works.

use std::path::{Path, PathBuf};

use super::places::{self, Owner};
use super::service::{self, Properties, property};
use super::{Patient, SERVICE, daemon, is_same_file, tier};
use crate::api::dto::DaemonStatus;
use crate::base::finding::{Finding, Severity};
use crate::base::quantity::format_size;
use crate::os::doctor::files::{self, Directory};
use crate::os::doctor::install::{self as seen, Program, SliceFacts};
use crate::os::doctor::service as systemd;
use crate::os::users;

use Severity::{Error, Note, Warning};

/// The unit file as it is shipped.
const SHIPPED: &str = include_str!("../../../deploy/ms-supervisor.service");

/// The slices that may be installed with it.
const SLICES: [&str; 4] =
    ["mister-smith.slice", "mister-smith-orchestrator.slice", "mister-smith-workers.slice", "mister-smith-messaging.slice"];

pub(super) fn installation(patient: &Patient) -> Vec<Finding> {
    let mut findings = programs(&seen::programs());
    let properties = crate::os::systemd::is_there().then(|| systemd::show(SERVICE, patient.uid != 0));
    match &properties {
        None => findings.push(
            Finding::new(Warning, "service", "service.systemd", "systemd does not run this machine", "the service cannot be verified")
                .cure("run this where the service is to run"),
        ),
        Some(Err(why)) => findings.push(
            Finding::new(Error, "service", "service.systemd", "systemd cannot be asked", why.as_str())
                .cure("run it as root, or where the system bus is"),
        ),
        Some(Ok(properties)) => findings.extend(unit_file(properties)),
    }
    let properties = properties.and_then(Result::ok).unwrap_or_default();
    findings.extend(account(property(&properties, "User")));
    findings.extend(directories(patient));
    findings.push(patient.checked());
    findings.extend(patient.plan.as_ref().map(tier));
    findings.push(answers(patient.running.as_ref()));
    findings.extend(metrics(patient));
    let slices = SLICES.iter().filter_map(|slice| Some((*slice, systemd::show(slice, false).ok()?)));
    findings.extend(slices.filter(|(_, slice)| is_declared(slice)).map(|(name, properties)| slice(name, &SliceFacts::of(&properties))));
    findings
}

/// The program and its second name.
fn programs(programs: &[Program]) -> Vec<Finding> {
    const GROUP: &str = "programs";
    let mut findings = Vec::new();
    let find = |name: &str| programs.iter().find(|program| program.name == name);
    match find("ms-supervisor") {
        None => findings.push(
            Finding::new(Error, GROUP, "programs.binary", "there is no ms-supervisor in PATH", "neither people nor units files find it")
                .cure("install the package, or put it into /usr/bin"),
        ),
        Some(program) => {
            let path = program.path.display();
            findings.push(if program.mode & 0o022 != 0 || program.uid != 0 {
                let found = format!("{path} may be changed by others than root (user {}, mode {:o})", program.uid, program.mode);
                let why = "whoever changes it runs as the daemon";
                Finding::new(Warning, GROUP, "programs.binary", found, why)
                    .cure(format!("as root: chown root:root {path} && chmod 755 {path}"))
            } else {
                Finding::ok(GROUP, "programs.binary", format!("{path}, mode {:o}", program.mode))
            });
            if !is_same_file(&program.path, Path::new("/proc/self/exe")) {
                let why = "what is verified here is not what is installed";
                findings.push(
                    Finding::new(Note, GROUP, "programs.this", format!("this is not {path}"), why).cure(format!("{path} verify-install")),
                );
            }
        }
    }
    findings.push(match (find("msctl"), find("ms-supervisor")) {
        (Some(link), Some(program)) if is_same_file(&link.path, &program.path) => {
            Finding::ok(GROUP, "programs.link", format!("{} is the same program", link.path.display()))
        }
        (Some(link), _) => Finding::new(
            Error,
            GROUP,
            "programs.link",
            format!("{} is another program", link.path.display()),
            "commands would be of another version",
        )
        .cure("ln -sf ms-supervisor /usr/bin/msctl"),
        (None, _) => Finding::new(Warning, GROUP, "programs.link", "there is no msctl in PATH", "the documents use that name")
            .cure("ln -sf ms-supervisor /usr/bin/msctl"),
    });
    findings
}

/// The unit file, its state, and what it starts.
fn unit_file(properties: &Properties) -> Vec<Finding> {
    let mut findings = service::service(SERVICE, properties);
    for finding in &mut findings {
        // Who has installed it wants it to run.
        if finding.severity == Note && matches!(finding.check, "service.installed" | "service.active" | "service.enabled") {
            finding.severity = Error;
        }
    }
    if !service::is_installed(properties) {
        return findings;
    }
    let fragment = PathBuf::from(property(properties, "FragmentPath"));
    findings.push(match seen::text(&fragment) {
        Ok(text) if settings(&text) == settings(SHIPPED) => {
            Finding::ok("service", "service.shipped", format!("{} is as it is shipped", fragment.display()))
        }
        Ok(text) => {
            let why = "an upgrade does not change it; a drop-in (`systemctl edit`) would keep both";
            Finding::new(
                Note,
                "service",
                "service.shipped",
                format!("{} is not as it is shipped: {}", fragment.display(), difference(&text)),
                why,
            )
        }
        Err(why) => Finding::new(Warning, "service", "service.shipped", format!("{} cannot be read", fragment.display()), why)
            .cure("as root: chmod 644 it"),
    });
    findings
}

/// What a unit file says: its lines without comments.
fn settings(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).collect()
}

fn difference(text: &str) -> String {
    let (here, shipped) = (settings(text), settings(SHIPPED));
    let only = |these: &[&str], others: &[&str]| {
        these.iter().filter(|line| !others.contains(line)).map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let (more, less) = (only(&here, &shipped), only(&shipped, &here));
    let part = |what: &str, lines: &[String]| {
        (!lines.is_empty()).then(|| format!("{what} {}", lines.iter().take(3).cloned().collect::<Vec<_>>().join(", ")))
    };
    let parts: Vec<_> = part("with", &more).into_iter().chain(part("without", &less)).collect();
    if parts.is_empty() { "in another order".into() } else { parts.join("; ") }
}

/// The user the service names.
fn account(user: &str) -> Option<Finding> {
    if user.is_empty() {
        return None;
    }
    Some(match users::lookup(Some(user), None) {
        Ok(account) => Finding::ok("service", "service.user", format!("the user {user} is {}", account.uid)),
        Err(error) => {
            Finding::new(Error, "service", "service.user", error.to_string(), "systemd cannot start the service").cure("systemd-sysusers")
        }
    })
}

fn directories(patient: &Patient) -> Vec<Finding> {
    let owner = Owner { uid: patient.uid, is_us: patient.is_us() };
    let places = &patient.directories;
    let mut findings = Vec::new();
    for (name, path) in [("config", &places.config), ("state", &places.state), ("run", &places.run), ("logs", &places.logs)] {
        findings.extend(places::directory(&Directory::look(name, path), files::parent_of(path), owner));
    }
    findings.push(places::loose(&files::loose(&places.config, patient.uid), patient.uid == 0));
    findings
}

/// Whether the daemon answers, and its tree is up.
fn answers(running: Option<&DaemonStatus>) -> Finding {
    running.map_or_else(
        || {
            let missing = Finding::new(Error, "daemon", "daemon.ready", "no daemon answers", "nothing is supervised");
            missing.cure(format!("systemctl start {SERVICE}; journalctl -u {SERVICE} -n 50"))
        },
        daemon::state,
    )
}

/// Whether metrics are served where they should be.
fn metrics(patient: &Patient) -> Option<Finding> {
    const CHECK: &str = "daemon.metrics";
    let address = patient.plan.as_ref()?.daemon.listen?;
    patient.running.as_ref()?;
    Some(match seen::page(address, "/metrics") {
        Ok(page) if page.contains("ms_build_info") => Finding::ok("daemon", CHECK, format!("http://{address}/metrics answers")),
        Ok(_) => Finding::new(
            Error,
            "daemon",
            CHECK,
            format!("what answers on {address} is not this daemon"),
            "Prometheus scrapes something else",
        )
        .cure(format!("ss -ltnp 'sport = :{}'", address.port())),
        Err(why) => Finding::new(Error, "daemon", CHECK, format!("http://{address}/metrics does not answer"), why)
            .cure("msctl status; `listen` in daemon.yaml"),
    })
}

/// Whether there is a file for it: systemd makes any slice up that somebody names.
fn is_declared(slice: &Properties) -> bool {
    service::is_installed(slice) && !property(slice, "FragmentPath").is_empty()
}

/// Whether the kernel holds a slice to what systemd says of it.
fn slice(name: &str, facts: &SliceFacts) -> Finding {
    const CHECK: &str = "slices.limits";
    let Some(cgroup) = &facts.cgroup else {
        return Finding::new(
            Note,
            "slices",
            CHECK,
            format!("{name} is installed, and nothing runs in it"),
            "its limits cannot be read back",
        );
    };
    let amount = |value: Option<u64>| value.map_or_else(|| "no limit".to_owned(), format_size);
    let share = |value: Option<u64>| value.map_or_else(|| "no limit".to_owned(), |percent| format!("{percent} %"));
    let said = format!("{} of memory, {} of processor time", amount(facts.memory_declared), share(facts.cpu_declared));
    if (facts.memory_declared, facts.cpu_declared) == (facts.memory_applied, facts.cpu_applied) {
        return Finding::ok("slices", CHECK, format!("{name} has {said}"));
    }
    let found = format!(
        "{name} is to have {said}, and has {} and {} in {}",
        amount(facts.memory_applied),
        share(facts.cpu_applied),
        cgroup.display()
    );
    Finding::new(Error, "slices", CHECK, found, "the limits have no effect")
        .cure("systemctl daemon-reload; are the controllers there? see `ms-supervisor doctor`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(findings: &[Finding]) -> Severity {
        assert!(findings.iter().all(|finding| finding.severity < Warning || finding.cure.is_some()), "{findings:#?}");
        findings.iter().map(|finding| finding.severity).max().unwrap()
    }

    #[test]
    fn programs_are_judged() {
        let directory = tempfile::tempdir().unwrap();
        let program = |name: &str, uid: u32, mode: u32| {
            let path = directory.path().join(name);
            if !path.exists() {
                seen::tests::touch(&path);
            }
            Program { name: name.into(), path, uid, mode }
        };
        assert_eq!(worst(&programs(&[])), Error);
        let binary = program("ms-supervisor", 0, 0o755);
        let link = Program { name: "msctl".into(), ..binary.clone() };
        let findings = programs(&[binary.clone(), link.clone()]);
        assert_eq!(findings.iter().filter(|finding| finding.severity == Severity::Ok).count(), 2, "{findings:#?}");
        assert_eq!(worst(&programs(&[program("ms-supervisor", 1000, 0o775), link])), Warning);
        assert_eq!(worst(&programs(&[binary, program("msctl", 0, 0o755)])), Error);
    }

    #[test]
    fn the_unit_file_is_compared_without_its_comments() {
        let plain = settings(SHIPPED).join("\n");
        assert_eq!(settings(&format!("# mine\n{plain}\n")), settings(SHIPPED));
        assert_eq!(difference(&plain.replace("KillMode=mixed", "KillMode=process")), "with KillMode=process; without KillMode=mixed");
    }

    #[test]
    fn slices_are_read_back() {
        let facts = SliceFacts {
            cgroup: Some("/sys/fs/cgroup/mister.slice".into()),
            memory_declared: Some(8 << 30),
            memory_applied: Some(8 << 30),
            cpu_declared: Some(800),
            cpu_applied: Some(800),
        };
        assert_eq!(slice("mister-smith.slice", &facts).severity, Severity::Ok);
        let finding = slice("mister-smith.slice", &SliceFacts { memory_applied: None, ..facts.clone() });
        assert!(finding.severity == Error && finding.found.contains("and has no limit and 800 %"), "{finding:?}");
        assert_eq!(slice("mister-smith.slice", &SliceFacts { cgroup: None, ..facts }).severity, Note);
    }
}

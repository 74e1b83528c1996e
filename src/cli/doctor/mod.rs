//! `doctor` and `verify-install`: what is wrong with this machine, this configuration, this installation, and what helps.
//!
//! `os::doctor` looks, and the files here judge: each is a pure function of what was seen, tested with machines that are made up.

mod daemon;
mod install;
mod machine;
mod places;
mod privileges;
mod report;
mod service;
mod units;

use std::path::{Path, PathBuf};

pub(super) use report::HELP;

use self::machine::Subject;
use self::places::{Listener, Owner};
use super::Session;
use super::declarations::{count, plan_of_whoever};
use super::exit::{Ending, Failure};
use crate::api::dto::{DaemonStatus, Status};
use crate::base::finding::{Finding, Severity};
use crate::os::doctor::files::{self, Directory};
use crate::os::doctor::kernel::{Cgroups, Kernel};
use crate::os::doctor::limits::{Clocks, Limits};
use crate::os::doctor::service as systemd;
use crate::os::paths::Directories;
use crate::os::pressure::PressureFiles;
use crate::os::{privileges as allowed, process, users};
use crate::plan::Plan;
use crate::spec::Diagnostics;

/// The service of the machine, and of a user.
const SERVICE: &str = "ms-supervisor.service";

pub(super) fn doctor(session: &mut Session, verbose: bool, as_json: bool) -> Ending {
    let patient = Patient::look(session)?;
    let mut findings = patient.machine();
    findings.extend(patient.places());
    findings.extend(patient.declarations());
    findings.extend(patient.service());
    findings.extend(patient.running.iter().flat_map(daemon::daemon));
    report::tell(session, &findings, verbose, as_json)
}

pub(super) fn verify_install(session: &mut Session, verbose: bool, as_json: bool) -> Ending {
    let patient = Patient::look(session)?;
    let findings = install::installation(&patient);
    report::tell(session, &findings, verbose, as_json)
}

/// Everything that is looked at more than once.
struct Patient {
    directories: Directories,
    /// The running daemon.
    running: Option<DaemonStatus>,
    plan: Option<Plan>,
    diagnostics: Diagnostics,
    /// The daemon's user, or who would be.
    uid: u32,
    user: Option<String>,
}

impl Patient {
    fn look(session: &Session) -> Result<Self, Failure> {
        let directories = session.directories()?;
        let status: Option<Status> = session.client().ok().and_then(|client| client.get("/v1/status").ok());
        let running = status.map(|status| status.daemon);
        // With the tier of the daemon, which may be in its environment and not in ours.
        let (plan, diagnostics) = match plan_of_whoever(session)? {
            Ok(plan) => (Some(plan), Diagnostics::default()),
            Err(diagnostics) => (None, diagnostics),
        };
        let own = rustix::process::geteuid().as_raw();
        let uid = running.as_ref().and_then(|daemon| process::owner(daemon.launcher_pid)).unwrap_or(own);
        let user = users::lookup(Some(&uid.to_string()), Some("0")).ok().and_then(|account| account.name);
        Ok(Self { directories, running, plan, diagnostics, uid, user })
    }

    /// Whose limits and cgroup count.
    fn pid(&self) -> u32 {
        self.running.as_ref().map_or_else(std::process::id, |daemon| daemon.launcher_pid)
    }

    fn is_us(&self) -> bool {
        self.uid == rustix::process::geteuid().as_raw()
    }

    fn machine(&self) -> Vec<Finding> {
        let subject = Subject {
            is_root: self.uid == 0,
            runs: self.running.is_some(),
            units: self.plan.as_ref().map_or(0, |plan| plan.units.len() as u64),
            has_limits: self.plan.as_ref().is_some_and(units::has_limits),
        };
        let mut findings = machine::kernel(&Kernel::look(PressureFiles::of_this_process().directory()));
        findings.extend(machine::cgroups(&self.cgroups(), subject));
        findings.extend(machine::limits(&Limits::look(self.pid()), subject));
        findings.extend(machine::clocks(&Clocks::look()));
        findings
    }

    /// A running daemon has moved itself below the place it was given: what it made there tells more than trying could.
    fn cgroups(&self) -> Cgroups {
        let mut cgroups = Cgroups::look(self.pid());
        if let Some(daemon) = &self.running {
            cgroups.writable = daemon.cgroup.is_some();
            if let Some(units) = &daemon.cgroup {
                cgroups.controllers.extend(Cgroups::controllers_of(units));
            }
        }
        cgroups
    }

    fn places(&self) -> Vec<Finding> {
        let owner = Owner { uid: self.uid, is_us: self.is_us() };
        let places: [(&'static str, &PathBuf); 4] = [
            ("config", &self.directories.config),
            ("state", &self.directories.state),
            ("run", &self.directories.run),
            ("logs", &self.directories.logs),
        ];
        let mut findings = Vec::new();
        for (name, path) in places {
            findings.extend(places::directory(&Directory::look(name, path), files::parent_of(path), owner));
        }
        findings.push(places::loose(&files::loose(&self.directories.config, self.uid), self.uid == 0));
        if let Some(plan) = &self.plan {
            findings.push(self.port(plan));
        }
        findings
    }

    fn port(&self, plan: &Plan) -> Finding {
        let listener = match plan.daemon.listen.and_then(files::listener) {
            None => Listener::Nobody,
            Some(inode) => match self.running.as_ref().map(|daemon| files::has_socket(daemon.pid, inode)) {
                Some(Some(true)) => Listener::Daemon,
                Some(Some(false)) => Listener::Other,
                Some(None) | None => Listener::Unknown,
            },
        };
        places::port(plan.daemon.listen, listener, self.running.is_some())
    }

    fn declarations(&self) -> Vec<Finding> {
        let mut findings = vec![self.checked()];
        if let Some(plan) = &self.plan {
            findings.push(tier(plan));
            findings.extend(units::units(plan));
            let capabilities = allowed::of(self.pid()).unwrap_or_default();
            let daemon = privileges::Daemon { uid: self.uid, user: self.user.clone(), capabilities };
            findings.extend(privileges::privileges(plan, &daemon));
        }
        findings
    }

    fn checked(&self) -> Finding {
        const CHECK: &str = "declarations.check";
        match &self.plan {
            Some(plan) => Finding::ok(
                "declarations",
                CHECK,
                format!("{} and {} are fine", count(plan.units.len(), "unit"), count(plan.supervisors.len(), "supervisor")),
            ),
            None => {
                let config = self.directories.config.display();
                let why = "they are not applied: a running daemon keeps what it has, a new one does not start";
                let found = format!("the declarations in {config} are faulty: {}", self.diagnostics.summary());
                Finding::new(Severity::Error, "declarations", CHECK, found, why).cure(format!("ms-supervisor check {config}"))
            }
        }
    }

    fn service(&self) -> Vec<Finding> {
        let own = env!("CARGO_PKG_VERSION");
        let running = self.running.as_ref().map(|daemon| (daemon.version.as_str(), daemon.launcher_pid));
        if !crate::os::systemd::is_there() {
            let why = "nobody starts the daemon with the machine, or watches its launcher";
            let mut findings = vec![Finding::new(Severity::Note, "service", "service.systemd", "systemd does not run this machine", why)];
            findings.extend(service::versions(own, running, None));
            return findings;
        }
        let is_user = self.uid != 0;
        let mut findings = Vec::new();
        let mut main_pid = None;
        match systemd::show(SERVICE, is_user) {
            Ok(properties) => {
                main_pid = properties.get("MainPID").and_then(|pid| pid.parse().ok());
                findings.extend(service::service(SERVICE, &properties));
                if is_user && service::is_installed(&properties) {
                    let user = self.user.clone().unwrap_or_else(|| self.uid.to_string());
                    findings.push(service::lingering(&user, systemd::lingers(&user)));
                }
            }
            Err(why) => findings.push(Finding::new(Severity::Note, "service", "service.systemd", "systemd cannot be asked", why)),
        }
        findings.extend(service::versions(own, running, main_pid));
        findings
    }
}

/// Which tier is in force.
fn tier(plan: &Plan) -> Finding {
    let found = match plan.daemon.tier {
        Some(tier) => format!("{tier} ({}) is in force", tier.purpose()),
        None => "no tier is chosen: the defaults of this program hold".into(),
    };
    Finding::ok("declarations", "declarations.tier", found)
}

/// Whether two paths lead to the same file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().zip(other.canonicalize().ok()).is_some_and(|(one, other)| one == other)
}

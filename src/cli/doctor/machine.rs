//! What the kernel, cgroups, limits and clocks of a machine mean for the daemon.

use crate::base::finding::{Finding, Severity};
use crate::base::quantity::format_size;
use crate::base::time::approx_duration;
use crate::os::doctor::kernel::{Cgroups, Kernel};
use crate::os::doctor::limits::{Bound, Clocks, Limits};

use Severity::{Error, Note, Warning};

/// The oldest kernel the daemon runs on.
const OLDEST: (u32, u32) = (5, 9);

/// Descriptors the daemon needs for itself, and for each unit.
const DESCRIPTORS: (u64, u64) = (128, 8);

/// Tasks the daemon needs for itself, and for each unit at the least.
const TASKS: (u64, u64) = (32, 1);

/// The controllers that limits may need.
const CONTROLLERS: [&str; 5] = ["memory", "cpu", "pids", "io", "cpuset"];

/// From this share on a limit of memory is near.
const NEAR: f64 = 0.9;

/// 2024-01-01: no clock that was ever set shows less.
const CLOCK_LEAST: i64 = 1_704_067_200;

/// Whom an examination concerns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Subject {
    /// Whether the daemon is root, or would be.
    pub(super) is_root: bool,
    /// Whether a daemon runs here: what is looked at is its own, not this shell's.
    pub(super) runs: bool,
    /// How many units are declared.
    pub(super) units: u64,
    /// Whether any unit or supervisor has limits.
    pub(super) has_limits: bool,
}

impl Subject {
    const fn whose(self) -> &'static str {
        if self.runs { "the daemon" } else { "this shell" }
    }
}

/// What a kernel may be able to do.
struct Feature {
    check: &'static str,
    name: &'static str,
    is: fn(&Kernel) -> bool,
    /// How bad it is without.
    severity: Severity,
    why: &'static str,
    cure: &'static str,
}

const NEWER: &str = "install a newer kernel, or let the sandbox (seccomp) permit it";

const FEATURES: [Feature; 7] = [
    Feature {
        check: "kernel.pidfd",
        name: "pidfd_open(2)",
        is: |kernel| kernel.pidfd_open,
        severity: Error,
        why: "processes cannot be told apart safely",
        cure: NEWER,
    },
    Feature {
        check: "kernel.close_range",
        name: "close_range(2)",
        is: |kernel| kernel.close_range,
        severity: Error,
        why: "descriptors would leak into units",
        cure: NEWER,
    },
    Feature {
        check: "kernel.clone3",
        name: "clone3(2)",
        is: |kernel| kernel.clone3,
        severity: Warning,
        why: "units are not born in their cgroups but moved there: what they start at once may stay outside",
        cure: NEWER,
    },
    Feature {
        check: "kernel.pidfd_info",
        name: "PIDFD_GET_INFO",
        is: |kernel| kernel.pidfd_info,
        severity: Note,
        why: "how a unit ended while no launcher ran stays unknown",
        cure: "Linux 6.15 has it",
    },
    Feature {
        check: "kernel.landlock",
        name: "Landlock",
        is: |kernel| kernel.landlock.is_some(),
        severity: Note,
        why: "units cannot be kept to paths by it",
        cure: "boot with `lsm=landlock,…` (CONFIG_SECURITY_LANDLOCK)",
    },
    Feature {
        check: "kernel.seccomp",
        name: "seccomp",
        is: |kernel| kernel.seccomp,
        severity: Note,
        why: "units cannot be kept to system calls",
        cure: "a kernel with CONFIG_SECCOMP_FILTER",
    },
    Feature {
        check: "kernel.pressure",
        name: "pressure stall information",
        is: |kernel| kernel.pressure.is_some(),
        severity: Warning,
        why: "that the machine stands still cannot be told from units that hang",
        cure: "boot with `psi=1`; in a container set MS_PRESSURE_DIR=/sys/fs/cgroup",
    },
];

pub(super) fn kernel(kernel: &Kernel) -> Vec<Finding> {
    const GROUP: &str = "kernel";
    const CHECK: &str = "kernel.version";
    let release = &kernel.release;
    let version = match version(release) {
        Some(version) if version < OLDEST => {
            let found = format!("Linux {release} is older than {}.{}", OLDEST.0, OLDEST.1);
            Finding::new(Error, GROUP, CHECK, found, "the daemon needs pidfds and close_range").cure("install a newer kernel")
        }
        Some(_) => Finding::ok(GROUP, CHECK, format!("Linux {release}")),
        None => Finding::new(Note, GROUP, CHECK, format!("the release `{release}` has no number"), "it is not known what it can do"),
    };
    let judge = |feature: &Feature| {
        if !(feature.is)(kernel) {
            let found = format!("{} cannot be had", feature.name);
            return Finding::new(feature.severity, GROUP, feature.check, found, feature.why).cure(feature.cure);
        }
        let version = kernel.landlock.filter(|_| feature.check == "kernel.landlock").map(|abi| format!(", version {abi} of its interface"));
        Finding::ok(GROUP, feature.check, format!("{} can be had{}", feature.name, version.unwrap_or_default()))
    };
    std::iter::once(version).chain(FEATURES.iter().map(judge)).collect()
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn cgroups(cgroups: &Cgroups, subject: Subject) -> Vec<Finding> {
    const GROUP: &str = "cgroup";
    let Some(own) = &cgroups.own else {
        let why = "processes that hide from their unit are found late, a unit cannot be killed as a whole, and limits have no effect";
        let missing = Finding::new(Warning, GROUP, "cgroup.mount", "there is no cgroup v2 hierarchy here", why);
        return vec![missing.cure("boot with `systemd.unified_cgroup_hierarchy=1`, or mount it: `mount -t cgroup2 none /sys/fs/cgroup`")];
    };
    let mut findings = vec![Finding::ok(GROUP, "cgroup.mount", format!("{} is in {}", subject.whose(), own.display()))];
    findings.push(if cgroups.writable {
        Finding::ok(GROUP, "cgroup.delegation", "cgroups can be made there, one for each unit")
    } else {
        let cure = if subject.is_root {
            "under systemd: `Delegate=yes` in the service; in a container: mount /sys/fs/cgroup writable (`--cgroupns=private`)"
        } else {
            "systemd-run --user --scope -p Delegate=yes ms-supervisor run"
        };
        let why = "units have no cgroups of their own: they are known by descent, and limits have no effect";
        Finding::new(Warning, GROUP, "cgroup.delegation", format!("no cgroups can be made in {}", own.display()), why).cure(cure)
    });
    findings.push(if cgroups.kill {
        Finding::ok(GROUP, "cgroup.kill", "a unit can be killed as a whole")
    } else {
        let why = "a unit's processes are killed one by one, until none is left";
        Finding::new(Note, GROUP, "cgroup.kill", "there is no cgroup.kill", why).cure("Linux 5.14 has it")
    });
    findings.extend(controllers(cgroups, subject));
    findings
}

/// Which controllers can be used, and why others cannot: one finding for each reason.
fn controllers(cgroups: &Cgroups, subject: Subject) -> Vec<Finding> {
    const CHECK: &str = "cgroup.controllers";
    let (here, missing): (Vec<_>, Vec<_>) = CONTROLLERS.into_iter().partition(|name| cgroups.controllers.iter().any(|known| known == name));
    let mut findings = Vec::new();
    if !here.is_empty() {
        findings.push(Finding::ok("cgroup", CHECK, format!("{} can be used", here.join(", "))));
    }
    let held = |name: &str| cgroups.held_by_v1.iter().any(|held| held == name || (name == "io" && held == "blkio"));
    // Without limits nothing is missed; of those that are declared most are of the first three.
    let matters = |name: &str| subject.has_limits && matches!(name, "memory" | "cpu" | "pids");
    for (by_v1, severity) in [(true, Warning), (false, Warning), (true, Note), (false, Note)] {
        let fits = |name: &&&str| held(name) == by_v1 && matters(name) == (severity == Warning);
        let names: Vec<&str> = missing.iter().filter(fits).copied().collect();
        if names.is_empty() {
            continue;
        }
        let (whose, cure) = reason(by_v1, subject);
        let found = format!("{}: {whose}", names.join(", "));
        findings.push(Finding::new(severity, "cgroup", CHECK, found, "such limits have no effect").cure(cure));
    }
    findings
}

/// Why controllers are not to be had, and what helps.
const fn reason(by_v1: bool, subject: Subject) -> (&'static str, &'static str) {
    match (by_v1, subject.is_root) {
        (true, _) => ("held by a hierarchy of version 1", "boot with `systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all`"),
        (false, true) => {
            ("not passed on to us", "under systemd: `Delegate=yes` in the service; else switch them on in cgroup.subtree_control above")
        }
        (false, false) => (
            "not passed on to users",
            "as root: printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf",
        ),
    }
}

pub(super) fn limits(limits: &Limits, subject: Subject) -> Vec<Finding> {
    const GROUP: &str = "limits";
    let mut findings = Vec::new();
    let need = DESCRIPTORS.0 + DESCRIPTORS.1 * subject.units;
    if let Some((soft, hard)) = limits.descriptors {
        let found = format!("{} may open {soft} descriptors, {hard} at most", subject.whose());
        findings.push(if soft < need {
            let why = format!("{} units need about {need}", subject.units);
            let cure =
                format!("`LimitNOFILE={}` in the service, or `ulimit -n {}`", need.next_power_of_two(), need.next_power_of_two().min(hard));
            Finding::new(Warning, GROUP, "limits.descriptors", found, why).cure(cure)
        } else {
            Finding::ok(GROUP, "limits.descriptors", found)
        });
    }
    let need = TASKS.0 + TASKS.1 * subject.units;
    if let Some(processes) = limits.processes.filter(|processes| !subject.is_root && *processes < need) {
        let found = format!("the user may have {processes} processes");
        findings.push(
            Finding::new(Warning, GROUP, "limits.processes", found, format!("{} units need {need} at the least", subject.units))
                .cure("`LimitNPROC=` in the service, or `ulimit -u`"),
        );
    }
    findings.push(match &limits.tasks {
        Some(bound) if bound.max < need => Finding::new(
            Warning,
            GROUP,
            "limits.tasks",
            format!("at most {} tasks may run in {}", bound.max, bound.cgroup.display()),
            format!("{} units need {need} at the least", subject.units),
        )
        .cure("`TasksMax=infinity` in the service, or more in the container"),
        Some(bound) => Finding::ok(GROUP, "limits.tasks", format!("at most {} tasks may run in {}", bound.max, bound.cgroup.display())),
        None => Finding::ok(GROUP, "limits.tasks", "no cgroup limits the number of tasks"),
    });
    findings.push(memory(limits));
    findings.push(match limits.cpus {
        Some(cpus) => Finding::new(
            Note,
            GROUP,
            "limits.cpu",
            format!("{cpus:.1} processors may be used at a time"),
            "a cgroup above limits them for the daemon and all units together",
        ),
        None => Finding::ok(GROUP, "limits.cpu", "no cgroup limits processor time"),
    });
    findings
}

fn memory(limits: &Limits) -> Finding {
    const CHECK: &str = "limits.memory";
    // A limit above what there is limits nothing.
    let Some(Bound { max, used, cgroup }) = limits.memory.as_ref().filter(|bound| limits.machine_memory.is_none_or(|all| bound.max < all))
    else {
        return Finding::ok("limits", CHECK, "no cgroup limits memory");
    };
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = used.map_or(0.0, |used| used as f64 / *max as f64);
    let used = used.map(|used| format!(", {} of it used", format_size(used))).unwrap_or_default();
    let found = format!("{} of memory for everything in {}{used}", format_size(*max), cgroup.display());
    if share < NEAR {
        return Finding::new(Severity::Note, "limits", CHECK, found, "the daemon and all units share it");
    }
    let why = "the kernel is about to kill something in it";
    Finding::new(Warning, "limits", CHECK, found, why)
        .cure("raise the limit (MemoryMax=, the container's memory limit), or give units limits of their own")
}

pub(super) fn clocks(clocks: &Clocks) -> Vec<Finding> {
    const GROUP: &str = "clock";
    let mut findings = Vec::new();
    findings.push(if clocks.seconds < CLOCK_LEAST {
        let why = "certificates are not valid yet, logs and schedules are wrong";
        Finding::new(Error, GROUP, "clock.date", "the clock is years behind", why).cure("timedatectl set-ntp true, or date -s")
    } else {
        Finding::ok(GROUP, "clock.date", "the clock has been set")
    });
    findings.push(match &clocks.wall {
        Some(wall) if wall.is_synchronized => {
            Finding::ok(GROUP, "clock.synchronized", format!("the clock is kept to {:?}", wall.max_error))
        }
        Some(_) => {
            let why = "stamps of several machines cannot be compared, and steps of the clock move schedules; nothing else depends on it";
            Finding::new(Warning, GROUP, "clock.synchronized", "nobody keeps the clock right", why).cure("timedatectl set-ntp true")
        }
        None => {
            Finding::new(Note, GROUP, "clock.synchronized", "it may not be asked how the clock is kept", "a sandbox forbids adjtimex(2)")
        }
    });
    if !clocks.suspended.is_zero() {
        let found = format!("the machine was suspended for {} since it was started", approx_duration(clocks.suspended));
        findings.push(Finding::new(Note, GROUP, "clock.suspended", found, "time limits of units do not go on meanwhile"));
    }
    if let Some(source) = clocks.source.as_deref().filter(|source| matches!(*source, "acpi_pm" | "jiffies" | "refined-jiffies")) {
        let why = "each look at the clock is slow";
        findings.push(Finding::new(Note, GROUP, "clock.source", format!("the clock source is {source}"), why));
    }
    findings.push(match &clocks.zone {
        Some(zone) => Finding::ok(GROUP, "clock.zone", format!("the time zone is {zone}")),
        None => Finding::new(Note, GROUP, "clock.zone", "no time zone is set: times are shown in UTC", "schedules go by the local time")
            .cure("timedatectl set-timezone REGION/CITY"),
    });
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::os::timekeeping::Timekeeping;

    fn check(findings: &[Finding], expect: &[(&str, Severity)]) {
        let worse: Vec<_> =
            findings.iter().filter(|finding| finding.severity != Severity::Ok).map(|finding| (finding.check, finding.severity)).collect();
        assert_eq!(worse, expect, "{findings:#?}");
        for finding in findings.iter().filter(|finding| finding.severity >= Severity::Warning) {
            assert!(!finding.why.is_empty() && finding.cure.is_some(), "{finding:?}");
        }
    }

    fn good_kernel() -> Kernel {
        Kernel {
            release: "6.18.0-1-cloud-amd64".into(),
            pidfd_open: true,
            clone3: true,
            close_range: true,
            pidfd_info: true,
            landlock: Some(7),
            seccomp: true,
            pressure: Some("/proc/pressure/memory".into()),
        }
    }

    #[test]
    fn kernels_are_judged() {
        check(&kernel(&good_kernel()), &[]);
        let old = Kernel { release: "4.19.0".into(), pidfd_info: false, ..good_kernel() };
        check(&kernel(&old), &[("kernel.version", Error), ("kernel.pidfd_info", Note)]);
        let sandboxed = Kernel { clone3: false, pressure: None, ..good_kernel() };
        check(&kernel(&sandboxed), &[("kernel.clone3", Warning), ("kernel.pressure", Warning)]);
    }

    #[test]
    fn cgroups_are_judged() {
        let all = ["memory", "cpu", "pids", "io", "cpuset"].map(str::to_owned).to_vec();
        let good = Cgroups {
            own: Some("/sys/fs/cgroup/system.slice/ms".into()),
            writable: true,
            controllers: all,
            held_by_v1: Vec::new(),
            kill: true,
        };
        let root = Subject { is_root: true, has_limits: true, ..Subject::default() };
        check(&cgroups(&good, root), &[]);
        check(&cgroups(&Cgroups::default(), root), &[("cgroup.mount", Warning)]);
        let user = Cgroups { writable: false, controllers: vec!["memory".into(), "pids".into()], ..good.clone() };
        let findings = cgroups(&user, Subject { has_limits: true, ..Subject::default() });
        check(&findings, &[("cgroup.delegation", Warning), ("cgroup.controllers", Warning), ("cgroup.controllers", Note)]);
        assert_eq!(findings[4].found, "cpu: not passed on to users");
        assert!(findings[1].cure.as_ref().unwrap().starts_with("systemd-run --user --scope"), "{findings:#?}");
        let hybrid = Cgroups { controllers: Vec::new(), held_by_v1: vec!["memory".into(), "blkio".into()], ..good };
        let findings = cgroups(&hybrid, Subject { is_root: true, ..Subject::default() });
        assert!(findings.iter().any(|finding| finding.found == "memory, io: held by a hierarchy of version 1"), "{findings:#?}");
        assert!(findings.iter().any(|finding| finding.found == "cpu, pids, cpuset: not passed on to us"), "{findings:#?}");
    }

    #[test]
    fn limits_are_judged() {
        let none = Limits { descriptors: Some((524_288, 524_288)), ..Limits::default() };
        check(&limits(&none, Subject::default()), &[]);
        let container = Limits {
            descriptors: Some((1024, 524_288)),
            processes: Some(100),
            memory: Some(Bound { max: 512 << 20, used: Some(500 << 20), cgroup: "/sys/fs/cgroup".into() }),
            tasks: Some(Bound { max: 100, used: None, cgroup: "/sys/fs/cgroup".into() }),
            cpus: Some(0.5),
            machine_memory: Some(8 << 30),
            ..Limits::default()
        };
        let many = Subject { units: 200, ..Subject::default() };
        let expect = [
            ("limits.descriptors", Warning),
            ("limits.processes", Warning),
            ("limits.tasks", Warning),
            ("limits.memory", Warning),
            ("limits.cpu", Note),
        ];
        check(&limits(&container, many), &expect);
        let roomy = Limits {
            memory: Some(Bound { max: 512 << 20, used: Some(1), cgroup: "/c".into() }),
            machine_memory: Some(8 << 30),
            ..none.clone()
        };
        check(&limits(&roomy, many), &[("limits.memory", Note)]);
        let vast = Limits { memory: Some(Bound { max: 1 << 50, used: None, cgroup: "/c".into() }), machine_memory: Some(8 << 30), ..none };
        check(&limits(&vast, many), &[]);
    }

    #[test]
    fn clocks_are_judged() {
        let kept = Timekeeping { is_synchronized: true, offset: 0.0, max_error: Duration::from_millis(3) };
        let good = Clocks { wall: Some(kept), seconds: 1_800_000_000, zone: Some("Europe/Berlin".into()), ..Clocks::default() };
        check(&clocks(&good), &[]);
        let lost = Clocks {
            wall: Some(Timekeeping { is_synchronized: false, ..kept }),
            seconds: 1_000,
            zone: None,
            suspended: Duration::from_secs(5),
            ..good
        };
        let expect = [("clock.date", Error), ("clock.synchronized", Warning), ("clock.suspended", Note), ("clock.zone", Note)];
        check(&clocks(&lost), &expect);
    }
}

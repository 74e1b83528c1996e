//! From what a plan keeps a unit from to an order for the launcher, and to what it has to look like then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use caps::Capability;
use rustix::process::{getegid, geteuid};

use super::unit::set;
use crate::launcher::wire::{Confinement, Credentials, Landlock, Mount, MountKind, Spawn, SpawnStep};
use crate::os::foreign::{self, Purpose, Table};
use crate::os::privileges::{self, Allowed};
use crate::os::{seccomp, users};
use crate::plan::{IsolationPlan, KeyringMode, LandlockPlan, PathAccess, UnitPlan};

/// What is mounted over for `private_tmp`.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Whom a unit runs as, and its environment with what follows from that.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// None: as the daemon.
    pub(crate) credentials: Option<Credentials>,
    /// The environment.
    pub(crate) environment: Vec<(String, String)>,
}

impl Account {
    /// Asks the user database, which may take its time, or hang.
    ///
    /// # Errors
    /// There is no such user or group, or no answer in time.
    pub(crate) async fn of(
        plan: &Arc<UnitPlan>,
        mut environment: Vec<(String, String)>,
        (purpose, whose, within): (Purpose, &str, Duration),
    ) -> Result<Self, String> {
        if !names_somebody(plan) {
            return Ok(Self { credentials: None, environment });
        }
        let plan = plan.clone();
        let ask = move || account(&plan, &mut environment).map(|credentials| Self { credentials, environment });
        // Libraries of name services keep descriptors.
        foreign::look((purpose, Table::Shared), whose, within, ask).await.map_err(|hangs| hangs.to_string())?
    }

    /// Its groups.
    pub(crate) fn groups(&self) -> &[u32] {
        self.credentials.as_ref().map_or(&[], |user| user.groups.as_slice())
    }
}

/// Whether a unit is to run as somebody else.
fn names_somebody(plan: &UnitPlan) -> bool {
    let more = plan.isolation.as_ref().is_some_and(|isolation| !isolation.supplementary_groups.is_empty());
    plan.user.is_some() || plan.group.is_some() || more
}

/// Whom a unit runs as; HOME, USER, LOGNAME and SHELL follow. Reads files: not for the runtime's threads.
///
/// # Errors
/// There is no such user or group.
fn account(plan: &UnitPlan, environment: &mut Vec<(String, String)>) -> Result<Option<Credentials>, String> {
    let more = plan.isolation.as_ref().map(|isolation| isolation.supplementary_groups.as_slice()).unwrap_or_default();
    let account = users::lookup(plan.user.as_deref(), plan.group.as_deref()).map_err(|error| error.to_string())?;
    // A daemon that is not root may name its own user: the same declarations then serve it and one that is root.
    let is_ours = more.is_empty() && account.is_held_without_root(geteuid().as_raw(), getegid().as_raw());
    if plan.user.is_some() {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let facts = [
            ("USER", account.name.clone()),
            ("LOGNAME", account.name),
            ("HOME", account.home.map(text)),
            ("SHELL", account.shell.map(text)),
        ];
        for (name, value) in facts {
            match value {
                Some(value) => set(environment, name, &value),
                None => environment.retain(|(known, _)| known != name),
            }
        }
    }
    let mut groups = account.groups;
    for group in more {
        let gid = users::gid_of(group).map_err(|error| error.to_string())?;
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Ok((!is_ours).then_some(Credentials { uid: account.uid, gid: account.gid, groups }))
}

/// The confinement of a unit whose process needs the paths `needed`, by what they are, and from which `closed` is hidden if it has mounts of
/// its own. Looks at files: not for the runtime's threads.
///
/// # Errors
/// A sentence that says what cannot be had.
pub(crate) fn confinement(
    plan: &IsolationPlan,
    credentials: Option<&Credentials>,
    needed: &[(&str, &Path)],
    handed_over: Option<&Path>,
    closed: &[PathBuf],
) -> Result<Confinement, String> {
    let mounts = mounts(plan, closed)?;
    for (what, path) in needed {
        let hidden = |mount: &&Mount| {
            let hides = matches!(mount.kind, MountKind::HiddenDirectory | MountKind::HiddenFile | MountKind::Temporary);
            hides && path.starts_with(&mount.path)
        };
        if let Some(mount) = mounts.iter().find(hidden) {
            let key = if mount.kind == MountKind::Temporary { "private_tmp" } else { "inaccessible_paths or protect_home" };
            return Err(format!("cannot isolate it: {key} hides {what}, {}, from it; move that elsewhere", path.display()));
        }
    }
    let uid = credentials.map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid);
    let capabilities = plan.capabilities.as_ref().map(privileges::mask).or((uid != 0).then_some(0));
    let drops_bounding = privileges::has(Capability::CAP_SETPCAP);
    if capabilities.is_some() && !drops_bounding && !plan.no_new_privileges && !plan.best_effort {
        let why = "the daemon lacks CAP_SETPCAP, and the unit could gain them by what it executes";
        return Err(format!("cannot drop its capabilities: {why}; write no_new_privileges: true, or run the daemon as root"));
    }
    let filters = plan.system_call_filter.as_ref().map(seccomp::compile).transpose();
    let filters = match filters {
        Err(why) if !plan.best_effort => return Err(why),
        filters => filters.ok().flatten().unwrap_or_default(),
    };
    Ok(Confinement {
        mounts,
        private_network: plan.private_network,
        join: None,
        capabilities,
        drops_bounding,
        no_new_privileges: plan.no_new_privileges,
        private_keyring: plan.keyring_mode == KeyringMode::Private,
        landlock: plan.landlock.as_ref().map(|plan| landlock(plan, handed_over)).transpose()?,
        filters,
        best_effort: plan.best_effort,
    })
}

fn mounts(plan: &IsolationPlan, closed: &[PathBuf]) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for rule in &plan.paths {
        foreign::doing(format_args!("looking at {}", rule.path.display()));
        let found = match std::fs::metadata(&rule.path) {
            Ok(found) => found,
            Err(_) if rule.optional => continue,
            Err(fault) => {
                let path = rule.path.display();
                return Err(format!("cannot isolate it: {path}: {fault}; write `-{path}` if it may be missing"));
            }
        };
        let kind = match rule.access {
            PathAccess::ReadOnly => MountKind::ReadOnly,
            PathAccess::ReadWrite => MountKind::Same,
            PathAccess::Inaccessible if found.is_dir() => MountKind::HiddenDirectory,
            PathAccess::Inaccessible => MountKind::HiddenFile,
        };
        mounts.push(Mount { path: rule.path.clone(), kind });
    }
    if plan.private_tmp {
        let there = TEMPORARY.into_iter().map(PathBuf::from).filter(|path| path.is_dir());
        mounts.extend(there.map(|path| Mount { path, kind: MountKind::Temporary }));
        mounts.sort_by(|one, other| one.path.cmp(&other.path));
    }
    if !mounts.is_empty() {
        let hides = |mount: &Mount| matches!(mount.kind, MountKind::HiddenDirectory | MountKind::Temporary);
        let is_hidden = |path: &Path| mounts.iter().any(|mount| hides(mount) && path.starts_with(&mount.path));
        let is_there = |path: &&PathBuf| std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir() && !found.is_symlink());
        let closed: Vec<_> = closed.iter().filter(is_there).filter(|path| !is_hidden(path)).cloned().collect();
        // Whoever makes a file of a mount the unit declares itself has seen to it.
        mounts.retain(|mount| !closed.contains(&mount.path));
        mounts.extend(closed.into_iter().map(|path| Mount { path, kind: MountKind::HiddenFile }));
    }
    Ok(mounts)
}

fn landlock(plan: &LandlockPlan, handed_over: Option<&Path>) -> Result<Landlock, String> {
    let there = |paths: &[(PathBuf, bool)]| {
        let mut found = Vec::new();
        for (path, optional) in paths {
            foreign::doing(format_args!("looking at {}", path.display()));
            match path.try_exists() {
                Ok(true) => found.push(path.clone()),
                _ if *optional => {}
                Ok(false) => {
                    return Err(format!("cannot isolate it: landlock: there is no {0}; write `-{0}` if it may be missing", path.display()));
                }
                Err(fault) => return Err(format!("cannot isolate it: landlock: {}: {fault}", path.display())),
            }
        }
        Ok(found)
    };
    let mut read = there(&plan.read)?;
    read.extend(handed_over.map(Path::to_owned));
    let (write, execute) = (there(&plan.write)?, there(&plan.execute)?);
    Ok(Landlock { read, write, execute, bind_tcp: plan.bind_tcp.clone(), connect_tcp: plan.connect_tcp.clone() })
}

/// What the process of an order may do at most.
pub(crate) fn allowed(order: &Spawn, missing: &[(SpawnStep, i32)]) -> Option<Allowed> {
    if order.credentials.is_none() && order.confinement.is_none() {
        return None;
    }
    let user = order.credentials.as_ref();
    let mut allowed =
        Allowed { user: user.map(|user| (user.uid, user.gid)), groups: user.map(|user| user.groups.clone()), ..Allowed::default() };
    if let Some(confinement) = &order.confinement {
        let has = |step: SpawnStep| !missing.iter().any(|(lacking, _)| *lacking == step);
        allowed.capabilities = confinement.capabilities.filter(|_| has(SpawnStep::Capabilities));
        allowed.bounding = confinement.drops_bounding;
        allowed.no_new_privileges = confinement.no_new_privileges && has(SpawnStep::NoNewPrivileges);
        allowed.filtered = !confinement.filters.is_empty() && has(SpawnStep::SystemCallFilter);
        allowed.own_mounts = !confinement.mounts.is_empty() && has(SpawnStep::Namespace);
        allowed.own_network = confinement.private_network && has(SpawnStep::Network);
    }
    Some(allowed)
}

/// What of an isolation is missing, and why: a sentence for each.
pub(crate) fn missing_words(missing: &[(SpawnStep, i32)]) -> Vec<String> {
    let word = |step: SpawnStep| match step {
        SpawnStep::Namespace => "private_tmp and paths",
        SpawnStep::Network => "private_network",
        SpawnStep::Capabilities => "capabilities",
        SpawnStep::NoNewPrivileges => "no_new_privileges",
        SpawnStep::Keyring => "keyring_mode",
        SpawnStep::Landlock => "landlock",
        _ => "system_call_filter",
    };
    missing.iter().map(|(step, errno)| format!("{}: {}", word(*step), std::io::Error::from_raw_os_error(*errno))).collect()
}

/// What failed when a unit was to be isolated, and what helps. None: it was another step.
pub(crate) fn failure(plan: &UnitPlan, order: Option<&Spawn>, step: SpawnStep, error: &std::io::Error) -> Option<String> {
    let confinement = order.and_then(|order| order.confinement.as_deref());
    let is_denied = error.raw_os_error() == Some(libc::EPERM);
    let admin = if is_denied { "; that takes CAP_SYS_ADMIN: run the daemon as root, or write best_effort: true" } else { "" };
    let path = |number: u16| {
        let mount = confinement.and_then(|confinement| confinement.mounts.get(usize::from(number)));
        mount.map_or_else(|| "?".into(), |mount| format!("{} ({})", mount.path.display(), kind_word(mount.kind)))
    };
    let landlock_path = |number: u16| {
        let rules = confinement.and_then(|confinement| confinement.landlock.as_ref());
        let mut paths = rules.into_iter().flat_map(|rules| rules.read.iter().chain(&rules.write).chain(&rules.execute));
        paths.nth(usize::from(number)).map_or_else(|| "?".into(), |path| path.display().to_string())
    };
    Some(match step {
        SpawnStep::Namespace => format!("cannot give it a file system of its own: {error}{admin}"),
        SpawnStep::Mount(number) if error.raw_os_error() == Some(libc::ENOSYS) => {
            format!("cannot isolate {}: {error}; that takes Linux 5.12", path(number))
        }
        SpawnStep::Mount(number) => format!("cannot isolate {}: {error}{admin}", path(number)),
        SpawnStep::Network => format!("cannot give it a network of its own: {error}{admin}"),
        SpawnStep::Join if is_denied => {
            "cannot enter the namespaces of the unit: its main process is in others that it has made itself; restart the unit".into()
        }
        SpawnStep::Join => format!("cannot enter the namespaces of the unit: {error}"),
        SpawnStep::Capabilities => {
            let kept = confinement.and_then(|confinement| confinement.capabilities).map(privileges::names).unwrap_or_default();
            let kept = if kept.is_empty() { "none".to_owned() } else { kept };
            format!("cannot reduce its capabilities to {kept}: {error}; the daemon needs those itself, and CAP_SETPCAP")
        }
        SpawnStep::NoNewPrivileges => format!("cannot set no_new_privileges: {error}"),
        SpawnStep::Keyring => format!("cannot give it a keyring of its own: {error}; remove keyring_mode, or write best_effort: true"),
        SpawnStep::Landlock => {
            format!(
                "cannot restrict it by Landlock: {error}; that takes Linux 5.13 with Landlock switched on, 6.7 for TCP, or best_effort: true"
            )
        }
        SpawnStep::LandlockPath(number) => format!("cannot restrict it by Landlock: {}: {error}", landlock_path(number)),
        SpawnStep::SystemCallFilter => {
            format!("cannot filter its system calls: {error}; that takes a kernel with seccomp, or best_effort: true")
        }
        SpawnStep::Exec
            if error.raw_os_error() == Some(libc::EACCES) && plan.isolation.as_ref().is_some_and(|plan| plan.landlock.is_some()) =>
        {
            let program = order.map_or_else(|| plan.exec[0].clone(), |order| order.program.display().to_string());
            format!("cannot execute {program}: {error}; it, its interpreter and its libraries have to be below one of landlock.execute")
        }
        _ => return None,
    })
}

const fn kind_word(kind: MountKind) -> &'static str {
    match kind {
        MountKind::ReadOnly => "read only",
        MountKind::Same => "as outside",
        MountKind::HiddenDirectory | MountKind::HiddenFile => "inaccessible",
        MountKind::Temporary => "private_tmp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    fn of(isolation: &str, needed: &[(&str, &Path)]) -> Result<Confinement, String> {
        let plan = plan_of(&[("units/a.yaml", &format!("unit: a\nexec: x\nisolation: {isolation}\n"))]);
        let nobody = Credentials { uid: 65_534, gid: 65_534, groups: vec![] };
        let closed = [PathBuf::from("/etc/hostname"), PathBuf::from("/nothing"), PathBuf::from("/usr/bin/env")];
        confinement(plan.units["a"].isolation.as_ref().unwrap(), Some(&nobody), needed, Some(Path::new("/run/secrets")), &closed)
    }

    #[test]
    fn what_is_there_is_ordered() {
        let made =
            of("{private_tmp: true, read_only_paths: [/, /etc/passwd, -/nothing], inaccessible_paths: [/etc/passwd, /usr]}", &[]).unwrap();
        let mounts: Vec<_> = made.mounts.iter().map(|mount| (mount.path.to_str().unwrap(), mount.kind)).collect();
        let expect = [
            ("/", MountKind::ReadOnly),
            ("/etc/passwd", MountKind::HiddenFile),
            ("/tmp", MountKind::Temporary),
            ("/usr", MountKind::HiddenDirectory),
            // What is closed comes last, but for what is hidden anyhow, and what is not there.
            ("/etc/hostname", MountKind::HiddenFile),
        ];
        assert_eq!(mounts.into_iter().filter(|(path, _)| *path != "/var/tmp").collect::<Vec<_>>(), expect);
        assert_eq!((made.capabilities, made.no_new_privileges), (Some(0), true));
        let rules = of("{landlock: {execute: [/usr]}, system_call_filter: strict, capabilities: [CAP_CHOWN]}", &[]).unwrap();
        assert_eq!(rules.landlock.unwrap().read, [Path::new("/run/secrets")]);
        assert_eq!((rules.filters.len(), rules.capabilities), (2, Some(1)));
    }

    #[test]
    fn what_it_needs_must_not_be_hidden() {
        let why = |isolation: &str, needed: &[(&str, &Path)]| of(isolation, needed).unwrap_err();
        assert!(why("{inaccessible_paths: /nothing/here}", &[]).ends_with("write `-/nothing/here` if it may be missing"));
        let program = [("its program", Path::new("/tmp/x"))];
        assert!(why("{private_tmp: true}", &program).contains("private_tmp hides its program, /tmp/x"));
        assert!(of("{read_only_paths: /tmp}", &program).is_ok());
        assert!(why("{landlock: {read: /nothing/here}}", &[]).contains("there is no /nothing/here"));
    }
}

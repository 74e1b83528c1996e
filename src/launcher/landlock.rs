//! Landlock rulesets, made before the process is.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, AddRuleError, AddRulesError, BitFlags, CompatLevel, Compatible as _, CreateRulesetError,
    NetPort, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::confinement::Landlock;
use super::exec::Failure;
use super::wire::SpawnStep;

/// What every kernel with Landlock can refuse.
const ALWAYS: ABI = ABI::V1;

/// What of files it is refused where the kernel knows of it: later versions refine the first.
const LATEST: ABI = ABI::V5;

/// The ruleset; `temporary`: directories besides that it may change.
///
/// # Errors
/// The kernel cannot, or a path cannot be looked at.
pub(super) fn ruleset<'a>(wanted: &Landlock, temporary: impl Iterator<Item = &'a OwnedFd>) -> Result<OwnedFd, Failure> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(LATEST) & !BitFlags::from(AccessFs::Execute);
    let mut ruleset = create(wanted).map_err(|fault| failure(&fault))?.set_compatibility(CompatLevel::BestEffort);
    let kinds = [(&wanted.read, read), (&wanted.write, write), (&wanted.execute, read | AccessFs::Execute)];
    let mut number = 0;
    for (paths, access) in kinds {
        for path in paths {
            ruleset = allow_path(ruleset, path, access).map_err(|errno| (SpawnStep::LandlockPath(number), errno))?;
            number = number.saturating_add(1);
        }
    }
    for directory in temporary {
        ruleset = ruleset.add_rule(PathBeneath::new(directory.as_fd(), write)).map_err(|fault| failure(&fault))?;
    }
    for (ports, access) in [(&wanted.bind_tcp, AccessNet::BindTcp), (&wanted.connect_tcp, AccessNet::ConnectTcp)] {
        for port in ports.iter().flatten() {
            ruleset = ruleset.add_rule(NetPort::new(*port, access)).map_err(|fault| failure(&fault))?;
        }
    }
    Option::from(ruleset).ok_or((SpawnStep::Landlock, libc::EOPNOTSUPP))
}

fn create(wanted: &Landlock) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ALWAYS))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LATEST))?
        .set_compatibility(CompatLevel::HardRequirement);
    for (ports, access) in [(&wanted.bind_tcp, AccessNet::BindTcp), (&wanted.connect_tcp, AccessNet::ConnectTcp)] {
        if ports.is_some() {
            ruleset = ruleset.handle_access(access)?;
        }
    }
    ruleset.create()
}

fn allow_path(ruleset: RulesetCreated, path: &PathBuf, access: BitFlags<AccessFs>) -> Result<RulesetCreated, i32> {
    let raw = |fault: rustix::io::Errno| fault.raw_os_error();
    let opened = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(raw)?;
    let stat = rustix::fs::fstat(&opened).map_err(raw)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let access = if is_directory { access } else { access & AccessFs::from_file(LATEST) };
    ruleset.add_rule(PathBeneath::new(&opened, access)).map_err(|fault| failure(&fault).1)
}

/// What the kernel said, or that it knows too little.
fn failure(fault: &RulesetError) -> Failure {
    let source = match fault {
        RulesetError::CreateRuleset(CreateRulesetError::CreateRulesetCall { source, .. }) => Some(source),
        RulesetError::AddRules(AddRulesError::Fs(AddRuleError::AddRuleCall { source, .. })) => Some(source),
        RulesetError::AddRules(AddRulesError::Net(AddRuleError::AddRuleCall { source, .. })) => Some(source),
        _ => None,
    };
    (SpawnStep::Landlock, source.and_then(std::io::Error::raw_os_error).unwrap_or(libc::EOPNOTSUPP))
}

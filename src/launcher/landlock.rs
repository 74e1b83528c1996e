//! Landlock rulesets, made before the process is; the rules for paths are added by the process itself, which looks at them: they may hang.
#![expect(unsafe_code, reason = "the rules of a process that may not allocate, and the question which version the kernel has")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, AddRuleError, AddRulesError, BitFlags, CompatLevel, Compatible as _, CreateRulesetError,
    NetPort, PathBeneath, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError,
};
use libc::{c_int, c_long};

use super::child::{call, last_errno, step};
use super::confinement::Landlock;
use super::exec::Failure;
use super::report::Report;
use super::wire::SpawnStep;

/// What every kernel with Landlock can refuse.
const ALWAYS: ABI = ABI::V1;

/// What of files it is refused where the kernel knows of it: later versions refine the first.
const LATEST: ABI = ABI::V5;

/// `LANDLOCK_CREATE_RULESET_VERSION` in linux/landlock.h.
const ASK_VERSION: c_long = 1;

/// `LANDLOCK_RULE_PATH_BENEATH` in linux/landlock.h.
const PATH_BENEATH: c_long = 1;

/// `struct landlock_path_beneath_attr` in linux/landlock.h.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// A ruleset, and what is to be added to it.
pub(super) struct Ruleset {
    fd: OwnedFd,
    paths: Vec<Path>,
}

struct Path {
    path: CString,
    /// What it may do in a directory.
    directory: u64,
    /// What it may do with a file.
    file: u64,
}

impl Ruleset {
    /// The ruleset but for its paths; `temporary`: directories besides that it may change.
    ///
    /// # Errors
    /// The kernel cannot.
    pub(super) fn new<'a>(wanted: &Landlock, temporary: impl Iterator<Item = &'a OwnedFd>) -> Result<Self, Failure> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::from_all(LATEST) & !BitFlags::from(AccessFs::Execute);
        let mut ruleset = create(wanted).map_err(|fault| failure(&fault))?.set_compatibility(CompatLevel::BestEffort);
        for directory in temporary {
            ruleset = ruleset.add_rule(PathBeneath::new(directory.as_fd(), write)).map_err(|fault| failure(&fault))?;
        }
        for (ports, access) in [(&wanted.bind_tcp, AccessNet::BindTcp), (&wanted.connect_tcp, AccessNet::ConnectTcp)] {
            for port in ports.iter().flatten() {
                ruleset = ruleset.add_rule(NetPort::new(*port, access)).map_err(|fault| failure(&fault))?;
            }
        }
        let fd = Option::from(ruleset).ok_or((SpawnStep::Landlock, libc::EOPNOTSUPP))?;
        let known = AccessFs::from_all(version());
        let kinds = [(&wanted.read, read), (&wanted.write, write), (&wanted.execute, read | AccessFs::Execute)];
        let paths = kinds.into_iter().flat_map(|(paths, access)| paths.iter().map(move |path| (path, access & known)));
        let paths = paths.zip(0..).map(|((path, access), number)| {
            let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| (SpawnStep::LandlockPath(number), libc::EINVAL))?;
            Ok(Path { path, directory: access.bits(), file: (access & AccessFs::from_file(LATEST)).bits() })
        });
        Ok(Self { fd, paths: paths.collect::<Result<_, Failure>>()? })
    }

    pub(super) fn fd(&self) -> c_int {
        self.fd.as_raw_fd()
    }

    /// Adds what it may do with its paths, looked at as the launcher sees them: what the process does itself.
    pub(super) fn allow_paths(&self, report: &Report) -> Result<(), Failure> {
        (0..).zip(&self.paths).try_for_each(|(number, path)| {
            report.at(SpawnStep::LandlockPath(number));
            path.allow(self.fd()).map_err(|errno| (SpawnStep::LandlockPath(number), errno))
        })
    }
}

/// Restricts the process, for good. `ruleset`: its descriptor, under the number it has by now.
pub(super) fn restrict(ruleset: c_int) -> Result<(), Failure> {
    step(SpawnStep::Landlock, call(libc::SYS_landlock_restrict_self, [ruleset.into(), 0, 0, 0]))
}

impl Path {
    fn allow(&self, ruleset: c_int) -> Result<(), i32> {
        let opened = open(&self.path)?;
        let done = self.allow_opened(ruleset, opened);
        call(libc::SYS_close, [opened.into(), 0, 0, 0]);
        done
    }

    fn allow_opened(&self, ruleset: c_int, opened: c_int) -> Result<(), i32> {
        // SAFETY: a structure of numbers, for which zeroes are values.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the structure is live.
        if unsafe { libc::fstat(opened, &raw mut stat) } != 0 {
            return Err(last_errno());
        }
        let is_directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let rule = PathBeneathAttr { allowed_access: if is_directory { self.directory } else { self.file }, parent_fd: opened };
        let added = call(libc::SYS_landlock_add_rule, [ruleset.into(), PATH_BENEATH, (&raw const rule) as c_long, 0]);
        if added < 0 { Err(last_errno()) } else { Ok(()) }
    }
}

fn open(path: &CStr) -> Result<c_int, i32> {
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let fd = call(libc::SYS_openat, [libc::AT_FDCWD.into(), path.as_ptr() as c_long, flags.into(), 0]);
    if fd < 0 { Err(last_errno()) } else { Ok(fd as c_int) }
}

/// What this kernel knows of files.
fn version() -> ABI {
    match call(libc::SYS_landlock_create_ruleset, [0, 0, ASK_VERSION, 0]) {
        1 => ABI::V1,
        2 => ABI::V2,
        3 | 4 => ABI::V3,
        5.. => LATEST,
        _ => ABI::Unsupported,
    }
}

fn create(wanted: &Landlock) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = landlock::Ruleset::default()
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

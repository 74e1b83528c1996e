//! Where the daemon's files are.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::id::UnitId;

/// The longest path of a Unix socket, in bytes (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// The file in the run directory that says, while the brain keeps dying, how that stands.
pub const SAFE_MODE: &str = "safe-mode";

/// The keeper's socket in the run directory.
pub const KEEPER_SOCKET: &str = "keeper";

/// The configuration of the whole machine.
pub const SYSTEM_CONFIG: &str = "/etc/ms-supervisor";

/// What the choice of directories depends on.
pub struct Surroundings<'a> {
    /// The directory named on the command line.
    pub explicit: Option<&'a Path>,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Whether the caller is root.
    pub is_root: bool,
    /// The current directory.
    pub cwd: &'a Path,
    /// Whether root may take a directory for its own.
    pub is_roots: &'a dyn Fn(&Path) -> bool,
    /// Whether a path exists.
    pub exists: &'a dyn Fn(&Path) -> bool,
}

/// Where the daemon's files are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// The declarations: `supervisors/`, `units/`, `daemon.yaml`.
    pub config: PathBuf,
    /// What must survive a reboot.
    pub state: PathBuf,
    /// What need not: sockets.
    pub run: PathBuf,
    /// The units' logs.
    pub logs: PathBuf,
}

/// Why there are no usable directories.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathsError {
    /// Without a home directory there is no place to look at.
    #[error("cannot tell where the configuration is: neither XDG_CONFIG_HOME nor HOME is set; name the directory or set MS_CONFIG_DIR")]
    NoHome,
    /// The kernel limits the path of a socket.
    #[error(
        "cannot use {} as control socket: the path has {} bytes and the kernel allows {SOCKET_PATH_MAX}; set MS_RUN_DIR to a shorter directory",
        .0.display(),
        .0.as_os_str().len()
    )]
    SocketTooLong(PathBuf),
}

/// The directory of the declarations: `explicit`, else `MS_CONFIG_DIR` or systemd's `CONFIGURATION_DIRECTORY`, else the current directory
/// if it holds `units/` or `supervisors/` and, for root, nobody else may write there, else `/etc/ms-supervisor` for root and the XDG directory for others.
///
/// # Errors
/// When none of them can be named.
pub fn config_directory(explicit: Option<&Path>) -> Result<PathBuf, PathsError> {
    directories(explicit).map(|directories| directories.config)
}

/// Every directory, for this process as it is.
///
/// # Errors
/// When they cannot be named, or the control socket would have too long a path.
pub fn directories(explicit: Option<&Path>) -> Result<Directories, PathsError> {
    let surroundings = Surroundings {
        explicit,
        variable: &|name| std::env::var_os(name),
        is_root: rustix::process::geteuid().is_root(),
        cwd: &std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        is_roots: &super::trust::is_roots,
        exists: &|path| path.exists(),
    };
    let directories = choose(&surroundings)?;
    directories.control_socket()?;
    Ok(directories)
}

impl Directories {
    /// Where the evidence of failures is kept.
    #[must_use]
    pub fn incidents(&self) -> PathBuf {
        self.state.join("incidents")
    }

    /// The notification socket of a unit.
    #[must_use]
    pub fn notify_socket(&self, unit: &UnitId) -> PathBuf {
        self.run.join("notify").join(format!("{unit}.sock"))
    }

    /// The socket commands come in by.
    ///
    /// # Errors
    /// When its path is too long for a socket.
    pub fn control_socket(&self) -> Result<PathBuf, PathsError> {
        let path = self.run.join("control.sock");
        if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX { Err(PathsError::SocketTooLong(path)) } else { Ok(path) }
    }
}

/// Which of the three layouts a configuration directory has beside it.
enum Layout {
    /// Everything below the directory itself.
    Project,
    /// The machine's: /var/lib, /run, /var/log.
    System,
    /// A user's: the XDG base directories.
    User,
}

/// Chooses the directories. Variables override what follows from the configuration directory.
///
/// # Errors
/// When there is neither a directory nor a home.
pub fn choose(around: &Surroundings<'_>) -> Result<Directories, PathsError> {
    let (config, layout) = find_config(around)?;
    let (state, run, logs) = match layout {
        Layout::Project => {
            let own = config.join(".ms-supervisor");
            (own.clone(), own.join("run"), own.join("logs"))
        }
        Layout::System => ("/var/lib/ms-supervisor".into(), "/run/ms-supervisor".into(), "/var/log/ms-supervisor".into()),
        Layout::User => {
            let state = base(around, "XDG_STATE_HOME", ".local/state")?.join("ms-supervisor");
            let run = absolute(around, "XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |run| run.join("ms-supervisor"));
            (state.clone(), run, state.join("logs"))
        }
    };
    let or = |own, systemd, default| chosen(around, own, systemd).unwrap_or(default);
    Ok(Directories {
        state: or("MS_STATE_DIR", "STATE_DIRECTORY", state),
        run: or("MS_RUN_DIR", "RUNTIME_DIRECTORY", run),
        logs: or("MS_LOG_DIR", "LOGS_DIRECTORY", logs),
        config,
    })
}

fn find_config(around: &Surroundings<'_>) -> Result<(PathBuf, Layout), PathsError> {
    let named = around.explicit.map(|path| tidy(around.cwd, path)).or_else(|| chosen(around, "MS_CONFIG_DIR", "CONFIGURATION_DIRECTORY"));
    if let Some(config) = named {
        let layout = if around.is_root && config == Path::new(SYSTEM_CONFIG) { Layout::System } else { Layout::Project };
        return Ok((config, layout));
    }
    let is_project = ["units", "supervisors"].iter().any(|name| (around.exists)(&around.cwd.join(name)));
    // Whoever lays down declarations where root happens to be must not have them run.
    let is_believed = || !around.is_root || (around.is_roots)(around.cwd);
    if is_project && around.cwd != Path::new(SYSTEM_CONFIG) && is_believed() {
        return Ok((around.cwd.to_owned(), Layout::Project));
    }
    if around.is_root {
        return Ok((SYSTEM_CONFIG.into(), Layout::System));
    }
    Ok((base(around, "XDG_CONFIG_HOME", ".config")?.join("ms-supervisor"), Layout::User))
}

/// An override: our own variable, else systemd's, which may list several directories; the first counts.
fn chosen(around: &Surroundings<'_>, own: &str, systemd: &str) -> Option<PathBuf> {
    if let Some(path) = variable(around, own) {
        return Some(tidy(around.cwd, &path));
    }
    let list = variable(around, systemd)?;
    let first = list.as_os_str().as_bytes().split(|&byte| byte == b':').next()?;
    Some(tidy(around.cwd, Path::new(std::ffi::OsStr::from_bytes(first))))
}

/// Absolute, and without `.` components, so that the same directory gives the same paths.
fn tidy(cwd: &Path, path: &Path) -> PathBuf {
    cwd.join(path).components().collect()
}

fn variable(around: &Surroundings<'_>, name: &str) -> Option<PathBuf> {
    (around.variable)(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The XDG specification wants relative paths to be ignored.
fn absolute(around: &Surroundings<'_>, name: &str) -> Option<PathBuf> {
    variable(around, name).filter(|path| path.is_absolute())
}

fn base(around: &Surroundings<'_>, name: &str, below_home: &str) -> Result<PathBuf, PathsError> {
    let home = || absolute(around, "HOME").map(|home| home.join(below_home));
    absolute(around, name).or_else(home).ok_or(PathsError::NoHome)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        explicit: Option<&'static str>,
        variables: &'static [(&'static str, &'static str)],
        is_root: bool,
        is_roots: bool,
        existing: &'static [&'static str],
    }

    const NOBODY: Case = Case { explicit: None, variables: &[("HOME", "/home/ann")], is_root: false, is_roots: true, existing: &[] };

    /// Chosen with `/project` as current directory: config, state, run, logs.
    fn check(case: &Case, expect: [&str; 4]) {
        let around = Surroundings {
            explicit: case.explicit.map(Path::new),
            variable: &|name| case.variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
            is_root: case.is_root,
            cwd: Path::new("/project"),
            is_roots: &|_| case.is_roots,
            exists: &|path| case.existing.iter().any(|known| path == Path::new(known)),
        };
        let Directories { config, state, run, logs } = choose(&around).unwrap();
        assert_eq!([config, state, run, logs], expect.map(PathBuf::from));
    }

    #[test]
    fn a_project_keeps_everything_to_itself() {
        let project = ["/project", "/project/.ms-supervisor", "/project/.ms-supervisor/run", "/project/.ms-supervisor/logs"];
        check(&Case { existing: &["/project/units"], ..NOBODY }, project);
        check(&Case { existing: &["/project/supervisors"], is_root: true, ..NOBODY }, project);
        check(&Case { explicit: Some("."), ..NOBODY }, project);
        let demo =
            ["/project/demo", "/project/demo/.ms-supervisor", "/project/demo/.ms-supervisor/run", "/project/demo/.ms-supervisor/logs"];
        check(&Case { explicit: Some("./demo/"), existing: &["/project/units"], ..NOBODY }, demo);
        check(&Case { variables: &[("MS_CONFIG_DIR", "demo")], existing: &["/project/units"], ..NOBODY }, demo);
    }

    #[test]
    fn root_has_the_machine() {
        let system = [SYSTEM_CONFIG, "/var/lib/ms-supervisor", "/run/ms-supervisor", "/var/log/ms-supervisor"];
        check(&Case { is_root: true, ..NOBODY }, system);
        let others = Case { existing: &["/project/units"], is_roots: false, ..NOBODY };
        check(&Case { is_root: true, existing: others.existing, ..others }, system);
        // Others know what they do.
        check(&others, ["/project", "/project/.ms-supervisor", "/project/.ms-supervisor/run", "/project/.ms-supervisor/logs"]);
        check(&Case { is_root: true, explicit: Some("/etc/ms-supervisor/"), ..NOBODY }, system);
        let variables = &[("CONFIGURATION_DIRECTORY", "/etc/ms-supervisor:/etc/more"), ("STATE_DIRECTORY", "/var/lib/private/ms:/x")];
        check(&Case { is_root: true, variables, ..NOBODY }, [system[0], "/var/lib/private/ms", system[2], system[3]]);
    }

    #[test]
    fn a_user_has_the_xdg_directories() {
        let state = "/home/ann/.local/state/ms-supervisor";
        let logs = "/home/ann/.local/state/ms-supervisor/logs";
        check(&NOBODY, ["/home/ann/.config/ms-supervisor", state, "/home/ann/.local/state/ms-supervisor/run", logs]);
        let variables = &[("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        check(
            &Case { variables, ..NOBODY },
            ["/c/ms-supervisor", "/s/ms-supervisor", "/run/user/7/ms-supervisor", "/s/ms-supervisor/logs"],
        );
    }

    #[test]
    fn variables_override() {
        let variables =
            &[("MS_STATE_DIR", "/s"), ("MS_RUN_DIR", "/r"), ("MS_LOG_DIR", "l"), ("STATE_DIRECTORY", "/no"), ("RUNTIME_DIRECTORY", "")];
        check(&Case { variables, explicit: Some("/p"), ..NOBODY }, ["/p", "/s", "/r", "/project/l"]);
        check(
            &Case { variables: &[("LOGS_DIRECTORY", "/l")], explicit: Some("/p"), ..NOBODY },
            ["/p", "/p/.ms-supervisor", "/p/.ms-supervisor/run", "/l"],
        );
    }

    #[test]
    fn without_a_home_there_is_a_hint() {
        let nothing = Surroundings {
            explicit: None,
            variable: &|_| None,
            is_root: false,
            cwd: Path::new("/"),
            is_roots: &|_| true,
            exists: &|_| false,
        };
        assert_eq!(choose(&nothing), Err(PathsError::NoHome));
    }

    #[test]
    fn a_long_socket_path_is_told() {
        let directories = |length: usize| {
            let run = PathBuf::from(format!("/{}", "r".repeat(length - 1 - "/control.sock".len())));
            Directories { config: "/c".into(), state: "/s".into(), run, logs: "/l".into() }
        };
        assert!(directories(107).control_socket().is_ok());
        let text = directories(108).control_socket().unwrap_err().to_string();
        assert!(text.ends_with("the path has 108 bytes and the kernel allows 107; set MS_RUN_DIR to a shorter directory"), "{text}");
    }
}

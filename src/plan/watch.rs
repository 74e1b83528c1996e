//! Which processes of others a unit watches: every default filled in.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::resolve::{absolute, or};
use crate::spec::Field;
use crate::spec::value::Text;
use crate::spec::watch::WatchSpec;

const DEFAULT_PERIOD: Duration = Duration::from_secs(1);

/// Where cgroups usually are mounted: who copies a path from there means what is below.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The processes a unit watches: those that fit everything that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchPlan {
    /// What it is called: itself, the file name of its program, or that of the first word of its command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<PathBuf>,
    /// A regular expression that fits its command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    /// The cgroup it is in or below, with a slash at its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// A file with its process id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
    /// The user it runs as, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// So many have to be there.
    pub min: u32,
    /// How often new ones are looked for.
    pub period: Duration,
}

impl WatchPlan {
    /// Whether `other` looks for the same processes.
    #[must_use]
    pub fn finds_the_same_as(&self, other: &Self) -> bool {
        Self { min: 0, period: Duration::ZERO, ..self.clone() } == Self { min: 0, period: Duration::ZERO, ..other.clone() }
    }
}

impl fmt::Display for WatchPlan {
    /// For people: `name sshd, user root`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let parts = [
            ("name", self.name.clone()),
            ("exe", path(&self.exe)),
            ("command line", self.command_line.clone()),
            ("cgroup", self.cgroup.clone()),
            ("pid file", path(&self.pid_file)),
            ("user", self.user.clone()),
        ];
        let parts: Vec<_> = parts.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value?))).collect();
        f.write_str(&parts.join(", "))
    }
}

/// The plan of `spec`, whose specifiers are replaced by `text`; paths begin in `directory`.
pub(super) fn watch_plan(spec: &WatchSpec, text: &impl Fn(&str) -> String, directory: &Path) -> WatchPlan {
    let value = |field: &Field<Text>| field.as_ref().map(|field| text(&field.0));
    WatchPlan {
        name: value(&spec.name),
        exe: value(&spec.exe).map(PathBuf::from),
        command_line: value(&spec.command_line),
        cgroup: value(&spec.cgroup).map(|path| cgroup(&path)),
        pid_file: value(&spec.pid_file).map(|path| absolute(directory, &path)),
        user: spec.user.as_ref().map(|user| user.value.0.clone()),
        min: or(&spec.min, 1, |min| min.to_u32()),
        period: or(&spec.period, DEFAULT_PERIOD, |period| period.0),
    }
}

/// A path as /proc/PID/cgroup has it.
fn cgroup(path: &str) -> String {
    let below = path.strip_prefix(CGROUPS).filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(path);
    format!("/{}", below.trim_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_called_as_the_kernel_calls_them() {
        for (written, meant) in [
            ("system.slice/ssh.service", "/system.slice/ssh.service"),
            ("/system.slice/ssh.service/", "/system.slice/ssh.service"),
            ("/sys/fs/cgroup/system.slice", "/system.slice"),
            ("/sys/fs/cgroupies", "/sys/fs/cgroupies"),
            ("/", "/"),
        ] {
            assert_eq!(cgroup(written), meant);
        }
    }

    #[test]
    fn instances_watch_different_processes() {
        let text = "unit: w\ninstances: 2\nworking_directory: /run/w\n\
                    watch: {pid_file: '%i.pid', command_line: '--id %i$', user: root, min: 3, period: 2s}\n";
        let plan = crate::plan::plan_of(&[("units/w.yaml", text)]);
        let watch = plan.units["w@2"].watch.clone().unwrap();
        assert_eq!(watch.to_string(), "command line --id 2$, pid file /run/w/2.pid, user root");
        assert_eq!((watch.min, watch.period), (3, Duration::from_secs(2)));
        let other = plan.units["w@1"].watch.clone().unwrap();
        assert!(!watch.finds_the_same_as(&other) && watch.finds_the_same_as(&WatchPlan { min: 1, ..watch.clone() }));
    }
}

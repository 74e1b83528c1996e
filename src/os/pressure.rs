//! How much this machine is under pressure: PSI, and the memory that is left.
//!
//! Looks read what the kernel makes up at that moment. They do not wait for a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::pressure::{Pressure, Pressures};

/// Where pressure is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PressureFiles {
    directory: PathBuf,
}

impl Default for PressureFiles {
    fn default() -> Self {
        Self { directory: "/proc/pressure".into() }
    }
}

impl PressureFiles {
    /// Those in the directory `MS_PRESSURE_DIR`, else the machine's. In a container that may be its cgroup (`/sys/fs/cgroup`): a file is looked
    /// for by the name it has in `/proc/pressure` (`memory`) and by that in a cgroup (`memory.pressure`).
    #[must_use]
    pub fn of_this_process() -> Self {
        std::env::var_os("MS_PRESSURE_DIR").map_or_else(Self::default, |directory| Self { directory: directory.into() })
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Those in a directory.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// How much is waited for each resource. What cannot be read is not known.
    #[must_use]
    pub fn look(&self) -> Pressures {
        let one = |resource| self.one(resource).ok();
        Pressures { cpu: one("cpu"), memory: one("memory"), io: one("io") }
    }

    /// How much is waited for one resource.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn one(&self, resource: &str) -> Result<Pressure, String> {
        let path = self.directory.join(resource);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::read_to_string(self.directory.join(format!("{resource}.pressure"))).map_err(|_| error)
            }
            read => read,
        };
        let path = path.display();
        let text = text.map_err(|error| format!("cannot read {path}: {error}; the kernel may lack PSI"))?;
        parse(&text).ok_or_else(|| format!("{path} does not say `some avg10=`"))
    }
}

/// Reads what the kernel writes (Documentation/accounting/psi.rst). Before Linux 5.13 nothing is said of `full` for processors.
fn parse(text: &str) -> Option<Pressure> {
    let field = |line: &str, name: &str| -> Option<f64> {
        text.lines()
            .find_map(|found| found.strip_prefix(line))?
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix(name)?.parse().ok())
    };
    Some(Pressure {
        some: field("some ", "avg10=")? / 100.0,
        full: field("full ", "avg10=").map(|percent| percent / 100.0),
        stood_still: field("full ", "total=").and_then(|micros| Duration::try_from_secs_f64(micros / 1e6).ok()),
    })
}

/// The share of the memory that is available (proc_meminfo(5)).
///
/// # Errors
/// Why that is not known.
pub fn memory_available() -> Result<f64, String> {
    let text = std::fs::read_to_string("/proc/meminfo").map_err(|error| format!("cannot read /proc/meminfo: {error}"))?;
    let field = |name: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next()?.parse().ok())
    };
    field("MemAvailable:").zip(field("MemTotal:")).map(|(available, total)| available / total).ok_or("/proc/meminfo says nothing".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read_and_what_is_missing_is_unknown() {
        let directory = tempfile::tempdir().unwrap();
        let full = "some avg10=12.50 avg60=0.83 avg300=2.64 total=21135472\nfull avg10=4.00 avg60=0.00 avg300=0.00 total=1500000\n";
        std::fs::write(directory.path().join("memory"), full).unwrap();
        std::fs::write(directory.path().join("cpu.pressure"), "some avg10=50.00 avg60=0.83 avg300=2.64 total=1\n").unwrap();
        std::fs::write(directory.path().join("io"), "nonsense\n").unwrap();
        let found = PressureFiles::in_directory(directory.path()).look();
        let memory = Pressure { some: 0.125, full: Some(0.04), stood_still: Some(Duration::from_millis(1500)) };
        assert_eq!(found, Pressures { cpu: Some(Pressure { some: 0.5, ..Pressure::default() }), memory: Some(memory), io: None });
        assert_eq!(PressureFiles::in_directory(Path::new("/no/such")).look(), Pressures::default());
        assert!(memory_available().unwrap() > 0.0);
    }
}

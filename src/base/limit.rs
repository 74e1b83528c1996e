//! The control files of a cgroup that limits are written to: a closed list, so that who writes them has nothing to decide.

use serde::{Deserialize, Serialize, Serializer};

use super::choice::choices;
use super::cpus::Cpus;

choices! {
    /// What happens to a unit of which the kernel kills a process because memory is short.
    OomPolicy = Kill {
        /// The rest of it is ended as well, and that counts as a failure (`oom` in `restart.on`).
        Kill = "kill",
        /// It goes on, unless it was the main process.
        Continue = "continue",
        /// The kernel kills all of its processes at once.
        Group = "group",
    }
}

/// A kind of resource the kernel shares out by cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Which processors.
    Cpuset,
    /// Input and output of block devices.
    Io,
    /// Memory.
    Memory,
    /// The number of processes and threads.
    Pids,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuset, Self::Io, Self::Memory, Self::Pids];

    /// The kernel's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! files {
    ($($(#[doc = $doc:literal])+ $name:ident = $file:literal, $limit:literal, $controller:ident, $default:literal;)+) => {
        /// A control file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ControlFile {
            $($(#[doc = $doc])+ $name),+
        }

        impl ControlFile {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its name in the directory of a cgroup.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $file),+ }
            }

            /// The key below `limits` that is written there.
            #[must_use]
            pub const fn limit(self) -> &'static str {
                match self { $(Self::$name => $limit),+ }
            }

            /// Whose file it is.
            #[must_use]
            pub const fn controller(self) -> Controller {
                match self { $(Self::$name => Controller::$controller),+ }
            }

            /// What stands in it when nobody has written to it; of `io.max`, for a device.
            #[must_use]
            pub const fn default_value(self) -> &'static str {
                match self { $(Self::$name => $default),+ }
            }
        }
    };
}

files! {
    /// Memory that is never taken away.
    MemoryMin = "memory.min", "memory_min", Memory, "0";
    /// Memory that is taken away last.
    MemoryLow = "memory.low", "memory_low", Memory, "0";
    /// More than that is slowed down.
    MemoryHigh = "memory.high", "memory_high", Memory, "max";
    /// There is no more than that.
    MemoryMax = "memory.max", "memory_max", Memory, "max";
    /// The same for swap space.
    MemorySwapMax = "memory.swap.max", "memory_swap_max", Memory, "max";
    /// Whether all are killed when one has to be.
    MemoryOomGroup = "memory.oom.group", "oom_policy", Memory, "0";
    /// The share of processor time.
    CpuWeight = "cpu.weight", "cpu_weight", Cpu, "100";
    /// The most processor time.
    CpuMax = "cpu.max", "cpu_max", Cpu, "max 100000";
    /// Which processors.
    CpusetCpus = "cpuset.cpus", "cpuset", Cpuset, "";
    /// The share of what devices can do.
    IoWeight = "io.weight", "io_weight", Io, "default 100";
    /// The most of what a device does.
    IoMax = "io.max", "io_max", Io, "rbps=max wbps=max riops=max wiops=max";
    /// The most processes and threads.
    PidsMax = "pids.max", "tasks_max", Pids, "max";
}

/// A number, or `None`, which is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound(pub Option<u64>);

impl Bound {
    /// No bound at all.
    pub const INFINITY: Self = Self(None);
    /// Nothing.
    pub const ZERO: Self = Self(Some(0));

    /// As control files have it.
    #[must_use]
    pub fn to_value(self) -> String {
        self.0.map_or_else(|| "max".into(), |number| number.to_string())
    }

    /// The sum; infinity if one of them is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.zip(other.0).map(|(one, two)| one.saturating_add(two)))
    }

    /// Whether this is more than that.
    #[must_use]
    pub fn exceeds(self, other: Self) -> bool {
        other.0.is_some_and(|most| self.0.is_none_or(|number| number > most))
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(number) => serializer.serialize_u64(number),
            None => serializer.serialize_str("infinity"),
        }
    }
}

/// What is to stand in a control file. `io.max` is written once for each device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Setting {
    /// The file.
    pub file: ControlFile,
    /// What is written.
    pub value: String,
}

impl Setting {
    /// `value` in `file`.
    pub fn new(file: ControlFile, value: impl Into<String>) -> Self {
        Self { file, value: value.into() }
    }

    /// What of `found`, which was read from the file, answers to this setting; `None`: nothing has to.
    #[must_use]
    pub fn part_of<'a>(&self, found: &'a str) -> Option<&'a str> {
        match self.file {
            ControlFile::IoMax => {
                let device = self.value.split(' ').next()?;
                found.lines().find(|line| line.split(' ').next() == Some(device))
            }
            ControlFile::IoWeight => found.lines().find(|line| line.starts_with("default")),
            _ => Some(found.trim()),
        }
    }

    /// Whether `found`, which was read from the file, is what was to be written. The kernel rounds sizes down to whole pages, and writes
    /// lists of processors in its own way.
    #[must_use]
    pub fn is_in(&self, found: &str) -> bool {
        /// The largest pages there are.
        const PAGE: u64 = 64 << 10;
        let Some(part) = self.part_of(found) else {
            // A device without a limit has no line.
            return self.file == ControlFile::IoMax && self.value.ends_with(ControlFile::IoMax.default_value());
        };
        match self.file.controller() {
            Controller::Memory => match (self.value.parse::<u64>(), part.parse::<u64>()) {
                (Ok(wanted), Ok(found)) => found <= wanted && wanted - found < PAGE,
                _ => self.value == part,
            },
            Controller::Cpuset => self.value == part || Cpus::parse(&self.value).is_ok_and(|wanted| Cpus::parse(part) == Ok(wanted)),
            Controller::Io if self.file == ControlFile::IoMax => {
                let known: Vec<&str> = part.split(' ').collect();
                self.value.split(' ').all(|word| known.contains(&word))
            }
            Controller::Cpu | Controller::Io | Controller::Pids => self.value == part,
        }
    }
}

impl std::fmt::Display for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.file.as_str(), self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_makes_of_a_value_is_recognised() {
        let check = |file, wanted: &str, found: &str, is_in| {
            assert_eq!(Setting::new(file, wanted).is_in(found), is_in, "{wanted:?} in {found:?}");
        };
        check(ControlFile::MemoryMax, "max", "max\n", true);
        check(ControlFile::MemoryMax, "1000000", "999424\n", true);
        check(ControlFile::MemoryMax, "1000000", "800000\n", false);
        check(ControlFile::MemoryMax, "1000000", "1003520\n", false);
        check(ControlFile::MemoryMax, "1000000", "max\n", false);
        check(ControlFile::CpuMax, "50000 100000", "50000 100000\n", true);
        check(ControlFile::CpuMax, "max 100000", "50000 100000\n", false);
        check(ControlFile::CpusetCpus, "0,1,2", "0-2\n", true);
        check(ControlFile::CpusetCpus, "0-1", "0\n", false);
        check(ControlFile::CpusetCpus, "", "\n", true);
        check(ControlFile::CpusetCpus, "", "0\n", false);
        check(ControlFile::IoWeight, "default 50", "default 50\n8:0 10\n", true);
        check(ControlFile::IoWeight, "default 50", "default 100\n", false);
        let two = "8:0 rbps=max wbps=1048576 riops=max wiops=max\n8:16 rbps=1 wbps=max riops=max wiops=max\n";
        check(ControlFile::IoMax, "8:0 rbps=max wbps=1048576 riops=max wiops=max", two, true);
        check(ControlFile::IoMax, "8:0 rbps=max wbps=2097152 riops=max wiops=max", two, false);
        check(ControlFile::IoMax, "8:32 rbps=max wbps=max riops=max wiops=max", two, true);
        check(ControlFile::IoMax, "8:32 rbps=7 wbps=max riops=max wiops=max", two, false);
        check(ControlFile::PidsMax, "64", "64\n", true);
    }
}

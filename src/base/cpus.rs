//! Sets of processors, as the kernel writes them: `0-3,5` (the list format of cpuset(7)).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};

/// The highest number a processor may have: as many as the kernel can be built for.
pub const CPU_MAX: u16 = 8191;

/// Processors by number; never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpus(BTreeSet<u16>);

impl Cpus {
    /// Reads `0-3,5`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut cpus = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |word: &str| {
                let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| word.parse::<u16>().ok()).flatten()
            };
            let (Some(first), Some(last)) = (number(first.trim()), number(last.trim())) else {
                return Err(format!("`{part}` names no processors; write for example `0-3,5`"));
            };
            if first > last {
                return Err(format!("`{part}` is a range that ends before it begins"));
            }
            if last > CPU_MAX {
                return Err(format!("processor {last} is not in the range from 0 to {CPU_MAX}"));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    /// Of these numbers.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = u16>) -> Option<Self> {
        let cpus: BTreeSet<u16> = numbers.into_iter().collect();
        (!cpus.is_empty()).then_some(Self(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl Serialize for Cpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_read_and_write() {
        for (text, expected) in [("0", "0"), ("3,1,2", "1-3"), ("0-3, 5", "0-3,5"), ("7-8,8191", "7-8,8191")] {
            assert_eq!(Cpus::parse(text).map(|cpus| cpus.to_string()), Ok(expected.into()), "{text}");
        }
        for bad in ["", "a", "1-", "-1", "3-1", "8192", "1,,2", "+1"] {
            assert!(Cpus::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Cpus::of([]), None);
    }
}

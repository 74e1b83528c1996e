//! Names of units and supervisors.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name a unit or supervisor may have, in bytes.
pub const NAME_MAX: usize = 64;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name! {
    /// One running thing: `redis`, or `resizer@2` for the second instance of the unit `resizer`.
    UnitId
}

name! {
    /// A supervisor's name. Units and supervisors share one name space.
    SupervisorId
}

/// What the name of a log adds to the name of the unit whose stderr it holds. No unit can be named so.
const STDERR: &str = "+stderr";

impl UnitId {
    /// The name of the log that holds the stderr of this unit apart.
    #[must_use]
    pub fn stderr_log(&self) -> Self {
        Self(format!("{}{STDERR}", self.0).into())
    }

    /// Whose log bears this name, and whether it is that of its stderr.
    #[must_use]
    pub fn of_log(name: &str) -> (&str, bool) {
        name.strip_suffix(STDERR).map_or((name, false), |unit| (unit, true))
    }

    /// The id of instance `number` of the unit `name`.
    #[must_use]
    pub fn instance_of(name: &str, number: u32) -> Self {
        Self(format!("{name}@{number}").into())
    }

    /// The unit's name as declared, without the instance: `resizer` for `resizer@2`.
    #[must_use]
    pub fn template(&self) -> &str {
        self.0.split_once('@').map_or(&*self.0, |(name, _)| name)
    }

    /// The instance's number, where there is one.
    #[must_use]
    pub fn instance(&self) -> Option<u32> {
        self.0.split_once('@').and_then(|(_, number)| number.parse().ok())
    }
}

/// Why `name` cannot name a unit or supervisor; `None` if it can.
///
/// Names start with a letter or digit and hold letters, digits, `_`, `-` and `.`; at most [`NAME_MAX`] bytes.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() {
        Some("a name cannot be empty")
    } else if name.len() > NAME_MAX {
        Some("a name has at most 64 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Some("a name starts with a letter or a digit")
    } else if !name.chars().all(allowed) {
        Some("a name holds only letters, digits, `_`, `-` and `.`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_take_apart() {
        let id = UnitId::instance_of("resizer", 2);
        assert_eq!((id.as_str(), id.template(), id.instance()), ("resizer@2", "resizer", Some(2)));
        let id = UnitId::from("redis");
        assert_eq!((UnitId::of_log("redis"), UnitId::of_log(id.stderr_log().as_str())), (("redis", false), ("redis", true)));
        assert_eq!((id.template(), id.instance()), ("redis", None));
    }

    #[test]
    fn names_with_odd_characters_are_refused() {
        for bad in ["", "-a", "a b", "a/b", "a@1", "ä", &"x".repeat(65)] {
            assert!(name_fault(bad).is_some(), "{bad:?}");
        }
        for good in ["a", "9lives", "web-1.api_x", &"x".repeat(64)] {
            assert!(name_fault(good).is_none(), "{good:?}");
        }
    }
}

//! Text that nobody is shown by mistake.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// What stands where a secret is not shown.
pub const REDACTED: &str = "[redacted]";

/// Secret text. It is not printed, and its memory is wiped when it is dropped. Only the launcher is sent it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// From here on it is a secret.
    #[must_use]
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The text, for the one who is to have it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // What people read is never written from here.
        let text = if serializer.is_human_readable() { REDACTED } else { &self.0 };
        serializer.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// A variable of a unit's environment, to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, or that it is not shown.
    pub value: String,
    /// Whether the value is not shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_to_the_launcher_alone() {
        let secret = Secret::new(Zeroizing::new("canary".into()));
        assert_eq!(format!("{secret:?} {:#?}", vec![secret.clone()]), "[redacted] [\n    [redacted],\n]");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        let sent: Secret = postcard::from_bytes(&postcard::to_stdvec(&secret).unwrap()).unwrap();
        assert_eq!(sent.reveal(), "canary");
    }
}

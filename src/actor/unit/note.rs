//! What the launcher remembers of a unit from one brain to the next.

use serde::{Deserialize, Serialize};

/// What a new brain has to know and cannot see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The run this was written in.
    pub(crate) run: u64,
    /// Whether that run is ready.
    pub(crate) ready: bool,
    /// Whether an operator keeps the unit stopped.
    pub(crate) held: bool,
    /// How often it was restarted.
    pub(crate) restarts: u64,
}

impl Note {
    pub(crate) fn encode(&self) -> Vec<u8> {
        // A plain struct always encodes; an empty note is the same as none.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// An empty or foreign note tells nothing.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        postcard::from_bytes(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let note = Note { run: 7, ready: true, held: false, restarts: 300 };
        assert_eq!(Note::decode(&note.encode()), note);
        assert_eq!(Note::decode(b""), Note::default());
    }
}

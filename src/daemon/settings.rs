//! What `run` tells the brain, through the launcher, as one argument.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::os::paths::Directories;

/// What a brain has to know before it reads any file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Where things are.
    pub directories: Directories,
    /// Where metrics and health are served, instead of what `daemon.yaml` says.
    pub listen: Option<Listen>,
    /// Whether events are printed.
    pub events: bool,
    /// Whether nothing is printed in colour.
    pub plain: bool,
    /// Whether the units' output is printed.
    pub logs: bool,
}

/// Where metrics and health are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// Nowhere.
    None,
    /// Here.
    Address(SocketAddr),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let help = || format!("`{text}` is neither `none` nor an address; write for example `127.0.0.1:8001`");
        text.parse().map(Self::Address).map_err(|_| help())
    }
}

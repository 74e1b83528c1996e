//! One look at whether something is well. Each takes no longer than it may, and says in one line what it has found.

mod command;
mod perfdata;
mod process;

use std::path::PathBuf;
use std::time::Duration;

use super::probe;
use crate::base::outcome::Outcome;
use crate::plan::ProbeKind;

/// What a look may have to know of the unit.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Its main process.
    pub pid: u32,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

/// Looks at `kind`, for `within` at most.
pub async fn check(kind: &ProbeKind, surroundings: &Surroundings, within: Duration) -> Outcome {
    let found = |result: Result<(), String>| match result {
        Ok(()) => Outcome::ok(""),
        Err(why) => Outcome::failed(why),
    };
    match kind {
        ProbeKind::Http(url) => found(probe::http(url, within).await),
        ProbeKind::Tcp(address) => found(probe::tcp(address, within).await),
        ProbeKind::Command(words) => command::check(words, surroundings, within).await,
        ProbeKind::Process => {
            let pid = surroundings.pid;
            let look = tokio::task::spawn_blocking(move || process::check(pid));
            look.await.unwrap_or_else(|_| Outcome::unknown("the daemon is going down"))
        }
    }
}

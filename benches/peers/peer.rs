//! What a supervisor has to offer to be measured.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::Fault;
use crate::site::Site;

/// A supervisor.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// The program it needs and this machine lacks.
    fn missing(&self) -> Option<&'static str>;

    /// Writes its declarations into the site's directory; the command that runs it in the foreground.
    fn prepare(&self, site: &Site) -> Result<Command, Fault>;

    /// The signal that makes it stop everything and go.
    fn stop_signal(&self) -> Signal {
        Signal::TERM
    }

    /// A child that dies younger than this is not started again at once.
    fn least_age(&self) -> Duration {
        Duration::ZERO
    }

    /// The command that tells how every unit stands.
    fn status(&self, _site: &Site) -> Option<Command> {
        None
    }
}

/// Every supervisor, in the order of the columns.
pub(crate) fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(crate::reference::Reference),
        Box::new(crate::ours::Ours),
        Box::new(crate::dinit::Dinit),
        Box::new(crate::s6::S6),
        Box::new(crate::runit::Runit),
        Box::new(crate::supervisord::Supervisord),
    ]
}

/// `program`, if it is not on the path.
pub(crate) fn lacks(program: &'static str) -> Option<&'static str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    (!found).then_some(program)
}

/// Directories `u0`, `u1` and so on below `above`, in each the page, and the child as the program `run`.
pub(crate) fn service_directories(site: &Site, above: &Path) -> Result<(), Fault> {
    for number in 0..site.units {
        let directory = above.join(format!("u{number}"));
        std::fs::create_dir_all(&directory)?;
        std::os::unix::fs::symlink(&site.child, directory.join("run"))?;
        std::os::unix::fs::symlink(site.page.path(), directory.join("page"))?;
    }
    Ok(())
}

//! The error kernel: a small, single-threaded process that holds every unit.
//!
//! It starts what the brain tells it to start, reaps it, keeps what the next brain has to know, and starts the brain again when it dies.
//! It decides nothing about a unit, reads no configuration, and knows no names but those in its messages.
#![expect(clippy::disallowed_methods, reason = "it reads its environment; the rest it does by system calls of its own")]

mod brain;
mod codec;
mod exec;
mod hold;
pub mod link;
mod options;
mod reap;
mod serve;
mod spawn;
mod systemd;
mod tree;
pub mod wire;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

pub use options::Options;

/// Runs the launcher in this process, which must have one thread only, until the brain says [`wire::ToLauncher::Exit`].
pub fn run(options: Options) -> ExitCode {
    match serve::Launcher::new(options) {
        Ok(mut launcher) => launcher.serve().into(),
        Err(why) => {
            complain(format_args!("{why}"));
            ExitCode::FAILURE
        }
    }
}

/// Says on stderr what is wrong. The launcher has nobody else to tell, and lives on if nobody listens.
fn complain(what: fmt::Arguments<'_>) {
    let _nobody_listens = writeln!(io::stderr(), "ms-supervisor launcher: {what}");
}

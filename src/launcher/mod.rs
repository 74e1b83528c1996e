//! The error kernel: a small process that holds every unit, one thread of which does all the work.
//!
//! It starts what the brain tells it to start, reaps it, keeps what the next brain has to know, and starts the brain again when it dies.
//! It decides nothing about a unit, reads no configuration, and knows no names but those in its messages.
#![expect(clippy::disallowed_methods, reason = "it reads its environment; the rest it does by system calls of its own")]

mod book;
mod brain;
mod cgroup;
mod clone;
mod codec;
mod confine;
mod confinement;
mod exec;
mod foreign;
mod hold;
pub mod keeper;
mod kept;
mod landlock;
mod limit;
pub mod link;
mod options;
mod order;
mod passed;
mod pause;
mod reap;
mod safe;
mod schedule;
mod serve;
mod spawn;
mod spill;
mod store;
mod succession;
mod survivors;
mod systemd;
mod tree;
mod upgrade;
pub mod wire;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

pub use book::VERSION as BOOK;
pub use options::Options;

/// The exit code of a program that has panicked.
const PANICKED: u8 = 101;

/// How much stack the launcher gets, in bytes.
const STACK: usize = 512 << 10;

/// Runs the launcher in this process, which must have one thread only, until the brain says [`wire::ToLauncher::Exit`].
///
/// It runs as a second thread, while the first one sleeps: the kernel gives orphans to the first thread of their reaper, and children
/// to the one that has started them. So the first thread's list of children holds orphans only, and is read without a walk over all
/// units ([`crate::os::process::Orphans`]).
pub fn run(options: Options) -> ExitCode {
    let options = Arc::new(options);
    // A program that was executed by a descriptor or a link would be called by a number or after the link.
    let _cosmetic = rustix::thread::set_name(c"ms-supervisor");
    let serve = move |signals| match serve::Launcher::new(Arc::clone(&options), signals) {
        Ok(mut launcher) => launcher.serve().into(),
        Err(why) => {
            complain(format_args!("{why}"));
            if options.after.is_some() {
                complain(format_args!("cannot go back: {}", upgrade::abandon(&options, &why)));
            }
            ExitCode::FAILURE
        }
    };
    // Before there is another thread, so that it holds for both.
    let served = serve::take_signals().and_then(|signals| thread::Builder::new().stack_size(STACK).spawn(move || serve(signals)));
    match served.map(thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        // It has said why on its own.
        Ok(Err(_panic)) => ExitCode::from(PANICKED),
        Err(fault) => {
            complain(format_args!("cannot begin: {fault}"));
            ExitCode::FAILURE
        }
    }
}

/// Says on stderr what is wrong. The launcher has nobody else to tell, and lives on if nobody listens.
fn complain(what: fmt::Arguments<'_>) {
    let _nobody_listens = writeln!(io::stderr(), "ms-supervisor launcher: {what}");
}

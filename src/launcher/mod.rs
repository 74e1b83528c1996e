//! The error kernel: a small process that holds every unit, one thread of which does all the work.
//!
//! It starts what the brain tells it to start, reaps it, keeps what the next brain has to know, and starts the brain again when it dies.
//! It decides nothing about a unit, reads no configuration, and knows no names but those in its messages.
#![expect(clippy::disallowed_methods, reason = "it reads its environment; the rest it does by system calls of its own")]
#![expect(unsafe_code, reason = "_exit(2), which does not wait for other threads")]

mod aside;
mod births;
mod book;
mod brain;
mod cgroup;
mod child;
mod clone;
mod closing;
mod codec;
mod confine;
mod confinement;
mod disk;
mod exec;
mod foreign;
mod hold;
pub mod keeper;
mod kept;
mod landlock;
mod limit;
pub mod link;
mod namespaces;
mod options;
mod order;
mod passed;
mod pause;
mod reap;
mod report;
mod safe;
mod schedule;
mod scribe;
mod serve;
mod spawn;
mod spill;
mod store;
mod succession;
mod survivors;
mod systemd;
mod tree;
mod turn;
mod upgrade;
mod voice;
pub mod wire;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

pub use book::VERSION as BOOK;
pub use options::Options;
use voice::complain;

/// The exit code of a program that has panicked.
const PANICKED: u8 = 101;

/// That of one that cannot begin.
const FAILED: u8 = 1;

/// How much stack the launcher gets, in bytes.
const STACK: usize = 512 << 10;

/// Runs the launcher in this process, which must have one thread only, until the brain says [`wire::ToLauncher::Exit`].
///
/// It runs as a second thread, while the first one says on stderr what is wrong ([`voice`]): the kernel gives orphans to the first thread of their reaper, and children
/// to the one that has started them. So the first thread's list of children holds orphans only, and is read without a walk over all
/// units ([`crate::os::process::Orphans`]).
pub fn run(options: Options) -> ExitCode {
    let options = Arc::new(options);
    // For years, and a copy of it is made for each start.
    crate::os::memory::keep_little();
    // A program that was executed by a descriptor or a link would be called by a number or after the link.
    let _cosmetic = rustix::thread::set_name(c"ms-supervisor");
    let serve = move |signals| match serve::Launcher::new(Arc::clone(&options), signals) {
        Ok(mut launcher) => launcher.serve(),
        Err(why) => {
            complain(format_args!("{why}"));
            if options.after.is_some() {
                complain(format_args!("cannot go back: {}", upgrade::abandon(&options, &why)));
            }
            FAILED
        }
    };
    std::panic::set_hook(Box::new(|panic| complain(format_args!("{panic}"))));
    // Before there is another thread, so that it holds for both.
    let served = serve::take_signals().and_then(|signals| {
        voice::begin();
        thread::Builder::new().stack_size(STACK).spawn(move || end(catch_unwind(AssertUnwindSafe(|| serve(signals))).unwrap_or(PANICKED)))
    });
    match served {
        Ok(working) => {
            voice::speak();
            ExitCode::from(working.join().unwrap_or(PANICKED))
        }
        Err(fault) => {
            let _nobody_listens = writeln!(io::stderr(), "ms-supervisor launcher: cannot begin: {fault}");
            ExitCode::from(FAILED)
        }
    }
}

/// The end of the working thread, and of the process: also if the other one waits for somebody to read what it says.
fn end(code: u8) -> u8 {
    if !voice::finish() {
        // SAFETY: takes no pointers, and ends every thread at once: nothing is left to be tidied up.
        unsafe { libc::_exit(code.into()) }
    }
    voice::end();
    code
}

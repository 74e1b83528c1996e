//! A torture bench: a hundred units of every kind keep their own records, while brain, launcher and units are killed, stopped, reloaded and upgraded
//! at random. In the end the records are compared with what the daemon has stored.
//!
//! `cargo test --test chaos -- [--seed N] [--seconds N] [--full-disk] [--keep]`. With `--full-disk` the daemon's state, its logs among it, is on a
//! small disk that is filled and emptied as well; its logs are not collapsed but go through pipes there. The same seed gives the same plan of faults; when each of them hits is up to the
//! machine. Exit code 1: a promise was broken.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test: it touches the machine from outside, and what it cannot do ends it"
)]

mod check;
mod disk;
mod driver;
mod journal;
mod unit;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ms_supervisor::os::clock;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, kind, directory] = &arguments[..]
        && word == "unit"
    {
        unit::run(kind, Path::new(directory));
    }
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|word| word == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(default, |value| value.parse().expect("a number"))
    };
    let seed = number("--seed", clock::wall().0.unsigned_abs());
    let duration = Duration::from_secs(number("--seconds", 60));
    let given = |name: &str| arguments.iter().any(|word| word == name);
    let keep = given("--keep");
    if given("--full-disk") {
        disk::enter(&arguments);
    }

    let temporary = tempfile::Builder::new().prefix("chaos").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let directory = if keep { temporary.keep() } else { temporary.path().to_owned() };
    println!("seed {seed}, {} s, in {}", duration.as_secs(), directory.display());
    let outcome = driver::run(seed, duration, &directory, given("--full-disk"));
    let verdict = check::check(&directory, &outcome);
    println!("{verdict}");
    if verdict.is_clean() {
        return ExitCode::SUCCESS;
    }
    let printed = std::fs::read_to_string(directory.join("daemon.out")).unwrap_or_default();
    println!("what the daemon printed last:");
    printed.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().for_each(|line| println!("    {line}"));
    ExitCode::FAILURE
}

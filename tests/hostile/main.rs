//! A torture bench of the other kind: units that attack whatever they can reach, beside fifty honest ones. It asks whether anybody else notices.
//!
//! `cargo test --test hostile -- [--seed N] [--seconds N] [--keep] [--own-user]`. Hostile units (`world.rs`) have users of their own, the daemon's
//! user without capabilities, or Landlock; each picks attacks by seed (`attacks.py`). Honest units (`honest.rs`) keep records of their own. The bench
//! kills honest ones, asks what operators ask (`driver.rs`), and looks whether somebody has gained what it must not have (`watch.rs`). With
//! `--own-user` units that have the daemon's user also do to its processes what the kernel allows any user to do to his own (signals, nice, limits).
//!
//! Everything is in a mount and a process id namespace and a cgroup of its own, and gone with them. Speeds are printed, not judged. Exit code 1: a
//! promise was broken; 77: the machine lacks something.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test: it touches the machine from outside, and what it cannot do ends it"
)]

mod check;
mod driver;
mod honest;
mod watch;
mod world;

use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ms_supervisor::os::clock;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, kind, base] = &arguments[..]
        && word == "unit"
    {
        honest::run(kind, Path::new(base));
    }
    let given = |name: &str| arguments.iter().any(|word| word == name);
    let value = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
    let number = |name: &str, default: u64| value(name).map_or(default, |value| value.parse().expect("a number"));
    if !given(world::INSIDE) {
        let seed = number("--seed", clock::wall().0.unsigned_abs());
        let seeded = [arguments.clone(), vec!["--seed".into(), seed.to_string()]].concat();
        return world::outside(if given("--seed") { &arguments } else { &seeded }, given("--keep"));
    }

    let (seed, duration) = (number("--seed", 0), Duration::from_secs(number("--seconds", 60)));
    let base = Path::new(value(world::INSIDE).expect("a directory"));
    while !base.join("begin").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (port, _beside) = free_ports();
    println!("seed {seed}, {} s, in {}", duration.as_secs(), base.display());
    world::build(base, seed, port, given("--own-user"));
    std::fs::write(base.join("run/daemon.yaml"), format!("listen: 127.0.0.1:{port}\n")).unwrap();
    let outcome = driver::run(base, port, seed, duration);
    let verdict = check::check(base, &outcome);
    println!("{verdict}");
    if verdict.is_clean() {
        return ExitCode::SUCCESS;
    }
    let printed = std::fs::read(base.join("daemon.out")).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed);
    println!("what the daemon printed last:");
    printed.lines().rev().take(20).collect::<Vec<_>>().into_iter().rev().for_each(|line| println!("    {}", line.escape_debug()));
    ExitCode::FAILURE
}

/// Two ports in a row that nobody listens at: the daemon's, and that of a hostile server.
fn free_ports() -> (u16, u16) {
    for _ in 0..1000 {
        let first = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return (port, port + 1);
        }
    }
    panic!("no two ports in a row are free");
}

//! What systemd passes on when it starts the service (`sd_listen_fds(3)`): sockets it listens on for us, and what it has held for a launcher before.

use std::os::fd::OwnedFd;

use super::complain;
use super::options::inherited;
use super::store::{Name, Stored};

/// The first descriptor (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// The sockets the brain knows what to do with: `FileDescriptorName=` in the socket unit.
const LISTENERS: [&str; 2] = ["control", "metrics"];

/// What was passed on.
#[derive(Default)]
pub(super) struct Passed {
    /// Sockets that somebody listens on for us, by name.
    pub(super) listeners: Vec<(String, OwnedFd)>,
    /// Descriptors of units.
    pub(super) stored: Stored,
}

/// Takes what this process was started with. To be called once, in a program that systemd has started: what one of us goes over to has other things
/// under these numbers.
pub(super) fn take() -> Passed {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    let is_ours = number("LISTEN_PID").is_some_and(|pid| i64::from(pid) == i64::from(std::process::id()));
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = Passed::default();
    for (at, name) in (FIRST..FIRST.saturating_add(count)).zip(names.split(':').map(Some).chain(std::iter::repeat(None))) {
        let fd = match inherited(at) {
            Ok(fd) => fd,
            Err(fault) => {
                complain(format_args!("what systemd passes on: {fault}"));
                break;
            }
        };
        match name {
            Some(name) if LISTENERS.contains(&name) => passed.listeners.push((name.to_owned(), fd)),
            Some(name) => match Name::parse(name) {
                Some(name) => passed.stored.entry(name).or_default().push(fd),
                None => complain(format_args!("systemd passes on a socket called {name:?}; known are {}", LISTENERS.join(" and "))),
            },
            None => complain(format_args!("systemd passes on a descriptor without a name")),
        }
    }
    passed
}

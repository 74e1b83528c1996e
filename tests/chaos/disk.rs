//! A disk of our own, small enough to be filled: the daemon's whole state is on it, the units' records are not.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

/// Says that we are in a mount name space of our own.
const INSIDE: &str = "--inside";

/// What a test says and ends with where the machine lacks what it needs.
const SKIPPED: i32 = 77;

pub(crate) struct Disk {
    state: PathBuf,
}

/// Begins anew in a mount name space of our own, which goes with its last process.
pub(crate) fn enter(arguments: &[String]) {
    if arguments.iter().any(|word| word == INSIDE) {
        return;
    }
    let may = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !may {
        println!("SKIPPED: no mount name space may be made here");
        exit(SKIPPED);
    }
    let own = std::env::current_exe().unwrap();
    let fault = Command::new("unshare").args(["-m", "--propagation", "private"]).arg(own).args(arguments).arg(INSIDE).exec();
    panic!("cannot execute unshare: {fault}");
}

impl Disk {
    /// A disk for the state of the daemon in `directory`.
    pub(crate) fn mount(directory: &Path) -> Self {
        let state = directory.join(".ms-supervisor");
        fs::create_dir_all(&state).unwrap();
        let mut mount = Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", "size=128m,mode=700", "chaos"]).arg(&state).status().unwrap();
        assert!(status.success(), "cannot mount a disk");
        Self { state }
    }

    fn filler(&self) -> PathBuf {
        self.state.join("filler")
    }

    /// Takes all the room there is; or gives it back.
    pub(crate) fn fill_or_empty(&self) -> &'static str {
        if self.empty() {
            return "disk emptied";
        }
        let mut filler = File::create(self.filler()).unwrap();
        for piece in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
        "disk filled"
    }

    /// Gives back the room that was taken; whether there was any.
    pub(crate) fn empty(&self) -> bool {
        fs::remove_file(self.filler()).is_ok()
    }
}

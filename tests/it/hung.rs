//! A file system whose server does not answer, as a dead NFS server leaves it: who asks it for something cannot be woken by any signal.
//!
//! By hand, at an existing directory, until a line is read (it hangs) and until the end of stdin (it is gone):
//! `MS_HUNG_AT=/mnt/hung cargo test --test it hung::by_hand -- --nocapture`

mod fuse;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use fuse::{Server, State};

/// A file that is served: its path below the mount, what is in it, its mode.
pub(crate) type Served<'a> = (&'a str, &'a str, u32);

/// A mount of our own. It answers until [`HungMount::hang`], and never after that.
///
/// It exists in a mount namespace of the calling thread and of what that starts *afterwards*, so make it before the daemon. Nothing of it
/// is left behind, even if the test is killed: the kernel ends all waiting when the last descriptor of the server is closed.
pub(crate) struct HungMount {
    /// Its parent, which others may pass. Removed after the mount is gone.
    place: Option<tempfile::TempDir>,
    at: PathBuf,
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

impl HungMount {
    /// One that serves these files, and the directories above them, as root's; none where the machine does not let us, which is printed.
    pub(crate) fn serving(files: &[Served<'_>]) -> Option<Self> {
        Self::serving_for(0, files)
    }

    /// The same, with files and directories that belong to `user`.
    pub(crate) fn serving_for(user: u32, files: &[Served<'_>]) -> Option<Self> {
        let place = tempfile::Builder::new().prefix("ms-hung").tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let at = place.path().join("mount");
        fs::create_dir(&at).unwrap();
        match own_namespace().and_then(|()| Self::at(&at, user, files)) {
            Ok(mut mount) => {
                mount.place = Some(place);
                Some(mount)
            }
            Err(why) => {
                println!("SKIPPED: a file system of our own cannot be mounted: {why}");
                None
            }
        }
    }

    /// One that has never answered.
    pub(crate) fn hung() -> Option<Self> {
        Self::serving(&[]).inspect(Self::hang)
    }

    fn at(at: &Path, user: u32, files: &[Served<'_>]) -> std::io::Result<Self> {
        let device = File::options().read(true).write(true).custom_flags(libc::O_CLOEXEC).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount(c"ms-hung", at, c"fuse", MountFlags::NODEV, options.as_c_str())?;
        let state = Arc::new(State::default());
        let (begun, has_begun) = mpsc::channel();
        let server = Server::new(device, state.clone(), user, files);
        let server = std::thread::spawn(move || server.serve(&begun));
        // What is asked before the kernel has been answered once can still be interrupted.
        has_begun.recv().unwrap();
        Ok(Self { place: None, at: at.to_owned(), state, server: Some(server) })
    }

    /// The path of something below the mount; of its root for the empty name. Never looked at here: whoever looks may wait for ever.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.at.clone() } else { self.at.join(name) }
    }

    /// From now on nothing is answered.
    pub(crate) fn hang(&self) {
        self.state.hang();
    }

    /// How many requests wait for an answer that will not come.
    pub(crate) fn held(&self) -> usize {
        self.state.held()
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // FORCE ends the connection, and with it all waiting; only then the path can be taken out.
        if let Err(why) = rustix::mount::unmount(&self.at, UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            println!("cannot unmount {}: {why}", self.at.display());
            return;
        }
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server of the mount has failed");
        }
    }
}

/// Gives the calling thread a mount namespace that ends with it and what it starts.
fn own_namespace() -> std::io::Result<()> {
    #[expect(unsafe_code, reason = "unshare of rustix has no safe form that is not deprecated")]
    // SAFETY: descriptors are not unshared, which is all that is unsafe about it.
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)?;
    }
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// No test, but the mount for whoever wants to try something by hand.
#[test]
fn by_hand() {
    let Some(at) = std::env::var_os("MS_HUNG_AT") else { return };
    let mount =
        HungMount::at(Path::new(&at), 0, &[("env", "A=1\n", 0o600), ("directory/program", "#!/bin/sh\nsleep 1000\n", 0o755)]).unwrap();
    println!("served: {0}/env, {0}/directory/program; a line lets it hang", mount.path("").display());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    mount.hang();
    println!("it hangs until the end of stdin");
    let _until_end = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    println!("{} requests were never answered", mount.held());
}

/// What waits there cannot be killed, ends when the mount goes, and a file is read as it is while there is a server.
#[test]
fn who_waits_for_a_dead_server_cannot_be_killed() {
    let Some(mount) = HungMount::serving(&[("a/file", "A=1\n", 0o600)]) else { return };
    let read = |path: &Path| std::process::Command::new("cat").arg(path).stderr(std::process::Stdio::null()).spawn().unwrap();
    let Some(dead) = HungMount::hung() else { return };
    let mut other = read(&dead.path("any"));
    crate::daemon::until("it waits for one that was never there", || (dead.held() > 0).then_some(()));
    assert_eq!(fs::read_to_string(mount.path("a/file")).unwrap(), "A=1\n");
    let names: Vec<_> = fs::read_dir(mount.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["a"]);
    assert_eq!(fs::metadata(mount.path("a/file")).unwrap().permissions().mode() & 0o777, 0o600);
    mount.hang();
    let mut reader = read(&mount.path("a/file"));
    crate::daemon::until("it waits", || (mount.held() == 1).then_some(()));
    reader.kill().unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", reader.id())).unwrap();
    crate::daemon::until("it sleeps so that nothing wakes it", || stat().contains(") D ").then_some(()));
    assert_eq!(reader.try_wait().unwrap(), None);
    let place = mount.at.clone();
    drop((mount, dead));
    reader.wait().unwrap();
    other.wait().unwrap();
    assert!(!place.exists());
}

//! Files in which a daemon writes its process id.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::geteuid;

use super::foreign::file;
use crate::base::time::Wall;

/// More than a number with white space around it.
const LENGTH_MAX: u64 = 64;

/// What a pid file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The process it names. It may be anybody's: check whose it is.
    pub pid: u32,
    /// When that was written.
    pub written: Wall,
    /// The only user whose processes it may name. None: root or the daemon's user has written it, and decides where it lies.
    pub only_of: Option<u32>,
}

/// Reads the process id in a file, whoever has written it: somebody else sees to it whose process that is. Blocks.
///
/// # Errors
/// The file cannot be read, is not a regular one, or holds something else.
pub fn read_any(path: &Path) -> io::Result<u32> {
    number(file::open(path)?.0)
}

fn number(file: File) -> io::Result<u32> {
    let mut text = String::new();
    file.take(LENGTH_MAX).read_to_string(&mut text)?;
    let pid = text.trim().parse().ok().filter(|&pid: &u32| pid > 1);
    pid.ok_or_else(|| io::Error::other("it does not hold a process id"))
}

/// Reads the process id in a file, and who vouches for it. Blocks.
///
/// # Errors
/// The file cannot be read, is not a regular one, or holds something else; or somebody has put a file of root's there.
pub fn read(path: &Path) -> io::Result<Named> {
    let is_ours = |uid: u32| uid == 0 || uid == geteuid().as_raw();
    let (file, found, others) = file::open_whoever(path)?;
    let is_open = others.is_some() || found.mode() & 0o022 != 0;
    let only_of = match found.uid() {
        owner if is_ours(owner) && !is_open => None,
        owner if is_ours(owner) => {
            let why = others.unwrap_or_else(|| format!("others may write it; chmod go-w {}", path.display()));
            return Err(io::Error::other(format!("it belongs to us, but what it names is not believed: {why}")));
        }
        owner => Some(owner),
    };
    let pid = number(file)?;
    let written = Wall(found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000));
    Ok(Named { pid, written, only_of })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn only_a_number_in_a_regular_file_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.pid");
        let told = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).map(|named| named.pid).map_err(|fault| fault.to_string())
        };
        assert_eq!(told("4711\n"), Ok(4711));
        assert_eq!(told(" 4711 "), Ok(4711));
        for bad in ["", "\n", "1", "0", "-5", "x", "12 13", "99999999999"] {
            assert_eq!(told(bad), Err("it does not hold a process id".into()), "{bad:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("No such file"));
        assert_eq!(read(directory.path()).unwrap_err().to_string(), "it is not a regular file");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "it is not a regular file");
    }
    #[test]
    fn a_file_of_others_speaks_for_their_processes_only() {
        use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
        if !rustix::process::geteuid().is_root() {
            return println!("SKIPPED: files of others take root");
        }
        let place = tempfile::tempdir().unwrap();
        let (ours, theirs) = (place.path().join("ours.pid"), place.path().join("app/app.pid"));
        std::fs::write(&ours, "4711").unwrap();
        std::fs::create_dir(place.path().join("app")).unwrap();
        std::fs::write(&theirs, "4712").unwrap();
        chown(&theirs, Some(4321), None).unwrap();
        chown(place.path().join("app"), Some(4321), None).unwrap();
        let named = |path: &std::path::Path| read(path).map(|named| (named.pid, named.only_of)).map_err(|why| why.to_string());
        assert_eq!(named(&ours), Ok((4711, None)));
        assert_eq!(named(&theirs), Ok((4712, Some(4321))));
        // What they could lay there.
        std::fs::remove_file(&theirs).unwrap();
        symlink(&ours, &theirs).unwrap();
        assert!(named(&theirs).unwrap_err().contains("is a link: "));
        std::fs::remove_file(&theirs).unwrap();
        std::fs::hard_link(&ours, &theirs).unwrap();
        assert!(named(&theirs).unwrap_err().contains("what it names is not believed"));
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(named(&ours).unwrap_err().contains("what it names is not believed"));
    }
}

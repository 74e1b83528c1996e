//! Files that are for their owner only: what the daemon remembers holds environments, and what others have written.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The mode of such a file.
pub const FILE: u32 = 0o600;

/// The mode of such a directory.
const DIRECTORY: u32 = 0o700;

/// Writes `bytes` into a file that is the owner's only, whatever it was before.
///
/// # Errors
/// As open(2) and write(2).
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE).open(path)?;
    close(&file)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Has `bytes` take the place of the file `path`, at once and for good: after a loss of power there is the one or the other.
///
/// # Errors
/// As open(2), write(2), fsync(2), rename(2); what was there before still is.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    write(new.as_ref(), bytes)?.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Takes from others what an earlier version, or somebody's umask, has given them.
///
/// # Errors
/// As fchmod(2).
pub fn close(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 { file.set_permissions(Permissions::from_mode(FILE)) } else { Ok(()) }
}

/// The same of the file `path`, if there is one.
///
/// # Errors
/// As open(2) and fchmod(2).
pub fn close_there(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        file => close(&file?),
    }
}

/// Makes a directory that is the owner's only, or makes one so that is there.
///
/// # Errors
/// As mkdir(2) and chmod(2).
pub fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY).create(path)?;
    let mode = std::fs::symlink_metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 { std::fs::set_permissions(path, Permissions::from_mode(DIRECTORY)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_is_for_the_owner() {
        let directory = tempfile::tempdir().unwrap();
        let (file, below) = (directory.path().join("f"), directory.path().join("a/b"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        std::fs::write(&file, "long before").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        write(&file, b"now").unwrap();
        assert_eq!((mode(&file), std::fs::read(&file).unwrap()), (0o600, b"now".to_vec()));
        std::fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        replace(&file, b"then").unwrap();
        assert_eq!((mode(&file), std::fs::read(&file).unwrap()), (0o600, b"then".to_vec()));
        for _ in 0..2 {
            super::directory(&below).unwrap();
            assert_eq!(mode(&below), 0o700);
            std::fs::set_permissions(&below, Permissions::from_mode(0o755)).unwrap();
        }
    }
}

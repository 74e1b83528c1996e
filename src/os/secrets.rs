//! Secrets: read from files that nobody else can read, and handed over in files that only one user can.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::foreign::{file, removal};
use crate::plan::SecretSource;

/// The most bytes a secret has, as with systemd's credentials.
pub const SECRET_MAX: u64 = 1 << 20;

/// The bytes of a secret, which are wiped when they are not needed any more.
pub type Bytes = Zeroizing<Vec<u8>>;

/// The directory in which systemd has put the daemon's own credentials.
#[must_use]
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Reads a secret for a process in `groups`. Blocks.
///
/// # Errors
/// It cannot be read, or others could read it, too: what is wrong, and the cure. Nothing of what is in it.
pub fn read(source: &SecretSource, groups: &[u32]) -> Result<Bytes, String> {
    match source {
        SecretSource::File(path) => {
            let (file, found) = file::open_trusted(path).map_err(|fault| format!("cannot read the secret {}: {fault}", path.display()))?;
            check_access(path, &found, groups)?;
            contents(path, file)
        }
        SecretSource::Credential(name) => {
            let Some(directory) = credentials_directory() else {
                return Err(format!(
                    "there is no credential `{name}`: the daemon was given none; write LoadCredential={name}:FILE into its service, or use `file`"
                ));
            };
            let path = directory.join(name);
            if !path.exists() {
                return Err(format!(
                    "there is no credential `{name}` in {}; write LoadCredential={name}:FILE into the service",
                    directory.display()
                ));
            }
            // Who may read it systemd has seen to.
            let (file, _) = file::open(&path).map_err(|fault| format!("cannot read the secret {}: {fault}", path.display()))?;
            contents(&path, file)
        }
    }
}

fn check_access(path: &Path, found: &Metadata, groups: &[u32]) -> Result<(), String> {
    let shown = path.display();
    let own = rustix::process::geteuid().as_raw();
    let mode = found.permissions().mode();
    if found.uid() != 0 && found.uid() != own {
        return Err(format!("the secret {shown} belongs to user {}, who can change it; chown root {shown}", found.uid()));
    }
    if mode & 0o007 != 0 {
        return Err(format!("the secret {shown} can be read by everybody (mode {:04o}); chmod 0600 {shown}", mode & 0o7777));
    }
    if mode & 0o030 != 0 || mode & 0o040 != 0 && !groups.contains(&found.gid()) {
        let cure = format!("chmod 0600 {shown}, or 0640 with the group of the unit");
        return Err(format!("the secret {shown} is open to group {} (mode {:04o}); {cure}", found.gid(), mode & 0o7777));
    }
    Ok(())
}

fn contents(path: &Path, file: File) -> Result<Bytes, String> {
    let fault = |fault: io::Error| format!("cannot read the secret {}: {fault}", path.display());
    let found = file.metadata().map_err(fault)?;
    // At once as large as it gets: growing would leave copies behind.
    let room = usize::try_from(found.len().min(SECRET_MAX)).unwrap_or(0) + 2;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(SECRET_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(format!("the secret {} is larger than 1 MiB", path.display()));
    }
    Ok(bytes)
}

/// Writes secrets to files in `directory`, which is made: the user `reader` may list it and read them, and nobody else but us; without, that is
/// this user. They stay ours, so that nothing can be added to them or beside them. Those that are there are replaced whole, one by one. Blocks.
///
/// # Errors
/// What cannot be written, and why.
pub fn hand_over(directory: &Path, reader: Option<u32>, secrets: &[(String, Bytes)]) -> Result<(), String> {
    let failed = |fault: io::Error| format!("cannot hand over secrets in {}: {fault}", directory.display());
    let above = directory.parent().and_then(Path::parent).unwrap_or(directory);
    // Passed through by every unit, listed by none.
    for (path, mode) in [(Some(above), 0o711), (directory.parent(), 0o711), (Some(directory), 0o700)] {
        let Some(path) = path else { continue };
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?,
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {}
            Err(fault) => return Err(failed(fault)),
        }
    }
    // Root writes where it may not, and whoever runs already goes on reading meanwhile.
    if reader.is_none() {
        std::fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    for (name, bytes) in secrets {
        write_whole(&directory.join(name), &directory.join(format!(".{name}")), reader, bytes).map_err(failed)?;
    }
    match reader {
        Some(uid) => {
            let directory = File::open(directory).map_err(failed)?;
            let let_in = let_read(&directory, uid, true);
            // Without access control lists anybody may pass, who knows the name; the files are for one user all the same.
            let_in.or_else(|_| directory.set_permissions(Permissions::from_mode(0o711))).map_err(failed)
        }
        None => std::fs::set_permissions(directory, Permissions::from_mode(0o500)).map_err(failed),
    }
}

/// Lets one user read what belongs to us, by an access control list (acl(5)) in the form the kernel takes: a version, and entries of tag,
/// permissions and id, which is none for all but named users.
fn let_read(file: &File, uid: u32, is_directory: bool) -> io::Result<()> {
    const NOBODY: u32 = u32::MAX;
    let may: u16 = if is_directory { 0o5 } else { 0o4 };
    // The owner, a user, the owner's group, the most that named ones may, others.
    let entries: [(u16, u16, u32); 5] = [(0x01, may, NOBODY), (0x02, may, uid), (0x04, 0, NOBODY), (0x10, may, NOBODY), (0x20, 0, NOBODY)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    Ok(rustix::fs::fsetxattr(file, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty())?)
}

fn write_whole(path: &Path, new: &Path, reader: Option<u32>, bytes: &[u8]) -> io::Result<()> {
    // Left by somebody who was killed.
    match std::fs::remove_file(new) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(new)?;
    file.write_all(bytes)?;
    if let Some(uid) = reader {
        // Where there are no such lists it has to be that user's own, and may be written by it.
        let_read(&file, uid, false).or_else(|_| std::os::unix::fs::fchown(&file, Some(uid), None))?;
    }
    std::fs::rename(new, path)
}

/// Removes what was handed over in the directory of a unit to runs up to the one of this number. Blocks.
pub fn remove(directory: &Path, up_to: u64) {
    let runs = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for run in runs.filter(|run| run.file_name().to_str().and_then(|run| run.parse().ok()).is_some_and(|run: u64| run <= up_to)) {
        if let Err(fault) = removal::remove(&run.path()) {
            tracing::warn!("cannot remove what was handed over in {}: {fault}", run.path().display());
        }
    }
}

/// Removes all that was handed over to all units in `directory`, when none of them runs. Blocks.
pub fn remove_all(directory: &Path) {
    for unit in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        remove(&unit.path(), u64::MAX);
        // What is left was complained about.
        drop(std::fs::remove_dir(unit.path()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_else_can_read_is_a_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "canary\n").unwrap();
        let gid = std::fs::metadata(&path).unwrap().gid();
        let look = |groups: &[u32]| read(&SecretSource::File(path.clone()), groups);
        for (mode, groups, complaint) in [
            (0o600, vec![], ""),
            (0o400, vec![], ""),
            (0o640, vec![gid], ""),
            (0o640, vec![gid + 1], "is open to group"),
            (0o660, vec![gid], "is open to group"),
            (0o620, vec![gid], "is open to group"),
            (0o604, vec![gid], "can be read by everybody"),
        ] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            match look(&groups) {
                Ok(bytes) => assert_eq!((bytes.as_slice(), complaint), (b"canary\n".as_slice(), ""), "{mode:o}"),
                Err(why) => assert!(!complaint.is_empty() && why.contains(complaint) && !why.contains("canary"), "{mode:o}: {why}"),
            }
        }
        let of = |path: PathBuf| read(&SecretSource::File(path), &[]).unwrap_err();
        assert!(of(directory.path().into()).contains("not a regular file"));
        assert!(of(directory.path().join("no")).contains("cannot read the secret"));
        let large = directory.path().join("large");
        std::fs::write(&large, vec![0; 1 + (1 << 20)]).unwrap();
        std::fs::set_permissions(&large, Permissions::from_mode(0o600)).unwrap();
        assert!(of(large).contains("larger than 1 MiB"));
    }

    #[test]
    fn who_may_read_what_is_handed_over_can_add_nothing_to_it() {
        use std::os::unix::process::CommandExt as _;
        if !rustix::process::geteuid().is_root() {
            return println!("SKIPPED: other users take root");
        }
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        std::fs::set_permissions(place.path(), Permissions::from_mode(0o711)).unwrap();
        let run = place.path().join("credentials/u/1");
        let secret = vec![("db".to_owned(), Zeroizing::new(b"canary".to_vec()))];
        hand_over(&run, Some(4321), &secret).unwrap();
        let can = |uid: u32, script: &str| {
            let mut shell = std::process::Command::new("sh");
            let shell = shell.args(["-c", script]).current_dir("/").env("RUN", &run).uid(uid).gid(uid);
            shell.stderr(std::process::Stdio::null()).status().unwrap().success()
        };
        assert!(can(4321, "test \"$(cat $RUN/db)\" = canary"));
        assert!(!can(4322, "cat $RUN/db"), "nobody else");
        for script in ["touch $RUN/x", "mkdir $RUN/x", "chmod 0700 $RUN", "chmod 0600 $RUN/db", "echo x >> $RUN/db", "rm -f $RUN/db"] {
            assert!(!can(4321, script), "{script}");
        }
        hand_over(&run, Some(4321), &secret).unwrap();
        assert!(can(4321, "ls $RUN && cat $RUN/db"));
        remove_all(&place.path().join("credentials"));
        assert!(!run.exists());
    }

    #[test]
    fn what_is_handed_over_can_be_replaced_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let unit = directory.path().join("credentials/u");
        let secret = |text: &str| vec![("db".to_owned(), Zeroizing::new(text.as_bytes().to_vec()))];
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        for (run, text) in [("1", "old"), ("2", "new"), ("2", "newer")] {
            hand_over(&unit.join(run), None, &secret(text)).unwrap();
            assert_eq!(std::fs::read_to_string(unit.join(run).join("db")).unwrap(), text);
        }
        assert_eq!((mode(&unit.join("2")), mode(&unit.join("2/db")), mode(&unit)), (0o500, 0o400, 0o711));
        remove(&unit, 1);
        assert!(!unit.join("1").exists() && unit.join("2/db").exists());
        remove_all(&directory.path().join("credentials"));
        assert!(!unit.exists());
        remove(&unit, u64::MAX);
    }
}

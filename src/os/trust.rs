//! Whom a file is believed: only such as nobody but root and the daemon's user could have changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Who else could have changed a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It belongs to this user.
    Owner(u32),
    /// Others may write it; this is its mode, without the kind.
    Mode(u32),
}

/// Who but root and `owner` could have changed what this is said of. A group may write what belongs to a user if the group is the user's own.
#[must_use]
pub fn distrust(found: &Metadata, owner: u32) -> Option<Distrust> {
    if found.uid() != 0 && found.uid() != owner {
        return Some(Distrust::Owner(found.uid()));
    }
    // Of a directory with this bit each takes out only what is its own; a link has no mode.
    let is_sticky = found.is_dir() && found.mode() & 0o1000 != 0;
    let is_own_group = found.uid() != 0 && found.gid() == found.uid();
    let mask = if is_own_group { 0o002 } else { 0o022 };
    let is_loose = found.mode() & mask != 0 && !is_sticky && !found.is_symlink();
    is_loose.then_some(Distrust::Mode(found.mode() & 0o7777))
}

/// The same, as a daemon of `owner` judges declarations: what is mounted read-only nobody changes through here, as a ConfigMap's files.
#[must_use]
pub fn distrust_at(path: &Path, found: &Metadata, owner: u32) -> Option<Distrust> {
    distrust(found, owner).filter(|why| matches!(why, Distrust::Owner(_)) || !is_read_only(path))
}

/// Why root does not read this declaration, if it does not: others could have changed it. Others than root judge for themselves.
#[must_use]
pub fn refusal(path: &Path, found: &Metadata) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    distrust_at(path, found, 0).map(|why| why.text(path))
}

/// Whether root takes what is in this directory for its own, although nobody has named it.
#[must_use]
pub fn is_roots(directory: &Path) -> bool {
    std::fs::metadata(directory).is_ok_and(|found| distrust_at(directory, &found, 0).is_none())
}

impl Distrust {
    /// What is wrong, and what to do.
    #[must_use]
    pub fn text(self, path: &Path) -> String {
        let shown = path.display();
        match self {
            Self::Owner(uid) => {
                format!("it belongs to user {uid}, who could have programs run as root; if what is in it is right: chown root {shown}")
            }
            Self::Mode(mode) => {
                format!("others may change it (mode {mode:o}), and so have programs run as root; chmod go-w {shown}")
            }
        }
    }
}

fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|system| system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_what_nobody_else_can_change_is_believed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        std::fs::write(&file, "").unwrap();
        let own = rustix::process::geteuid().as_raw();
        let check = |path: &Path, mode: u32, expect: Option<Distrust>| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(distrust(&std::fs::metadata(path).unwrap(), own), expect, "{mode:o}");
        };
        for (mode, is_trusted) in [(0o644, true), (0o600, true), (0o646, false), (0o777, false), (0o1666, false)] {
            check(&file, mode, (!is_trusted).then_some(Distrust::Mode(mode)));
        }
        check(directory.path(), 0o1777, None);
        check(directory.path(), 0o777, Some(Distrust::Mode(0o777)));
        check(directory.path(), 0o755, None);
        if own == 0 {
            check(&file, 0o664, Some(Distrust::Mode(0o664)));
            std::os::unix::fs::chown(&file, Some(4321), Some(4321)).unwrap();
            check(&file, 0o600, Some(Distrust::Owner(4321)));
            assert_eq!(distrust(&std::fs::metadata(&file).unwrap(), 4321), None);
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
            assert_eq!(distrust(&std::fs::metadata(&file).unwrap(), 4321), None, "the group is its own");
            assert!(refusal(&file, &std::fs::metadata(&file).unwrap()).unwrap().contains("belongs to user 4321"));
        }
    }
}

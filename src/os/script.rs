//! Scripts an operator has laid down for the daemon to run: only such as nobody else could have changed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use super::foreign::doing;
use super::trust::{Distrust, distrust};

/// Finds `name` below `directory`. The script and every directory from `directory` down to it belong to `owner` or root, and nobody else may
/// write them; symbolic links are not followed. Blocks.
///
/// # Errors
/// What is wrong with it, and what to do.
pub fn find(directory: &Path, name: &str, owner: u32) -> Result<PathBuf, String> {
    let relative = Path::new(name);
    if name.is_empty() || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("`{name}` is not the name of a script in {}", directory.display()));
    }
    let mut path = directory.to_owned();
    trusted(&path, owner, true)?;
    let mut parts = relative.components().filter(|part| matches!(part, Component::Normal(_))).peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        trusted(&path, owner, parts.peek().is_some())?;
    }
    Ok(path)
}

fn trusted(path: &Path, owner: u32, is_directory: bool) -> Result<(), String> {
    let shown = path.display();
    doing(format_args!("looking at {shown}"));
    let found = path.symlink_metadata().map_err(|fault| format!("cannot look at {shown}: {fault}"))?;
    let what = if is_directory { "directory" } else { "file" };
    if found.is_symlink() || found.is_dir() != is_directory || !(found.is_dir() || found.is_file()) {
        return Err(format!("{shown} is no {what}, and links are not followed"));
    }
    match distrust(&found, owner) {
        Some(Distrust::Owner(uid)) => {
            return Err(format!("{shown} belongs to user {uid}, who could change it; it has to belong to root or user {owner}"));
        }
        Some(Distrust::Mode(_)) => return Err(format!("{shown} can be changed by others; chmod go-w {shown}")),
        None => {}
    }
    if !is_directory && found.permissions().mode() & 0o111 == 0 {
        return Err(format!("{shown} cannot be executed; chmod +x {shown}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn only_what_nobody_else_can_change_is_found() {
        let scripts = tempfile::tempdir().unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let (inside, script) = (scripts.path().join("db"), scripts.path().join("db/clear"));
        fs::create_dir(&inside).unwrap();
        fs::write(&script, "#!/bin/sh\n").unwrap();
        let look = || find(scripts.path(), "db/./clear", owner);
        for (path, mode, complaint) in [
            (&script, 0o644, "cannot be executed"),
            (&script, 0o755, ""),
            (&script, 0o775, "changed by others"),
            (&script, 0o700, ""),
            (&inside, 0o777, "changed by others"),
            (&inside, 0o755, ""),
        ] {
            set_mode(path, mode);
            match look() {
                Ok(found) => assert_eq!((found, complaint), (scripts.path().join("db/clear"), "")),
                Err(why) => assert!(!complaint.is_empty() && why.contains(complaint), "{why}"),
            }
        }
        std::os::unix::fs::symlink(&script, scripts.path().join("link")).unwrap();
        for (name, complaint) in [
            ("link", "is no file"),
            ("db", "is no file"),
            ("../x", "is not the name"),
            ("/bin/sh", "is not the name"),
            ("", "is not the name"),
            ("no", "cannot look at"),
        ] {
            let why = find(scripts.path(), name, owner).unwrap_err();
            assert!(why.contains(complaint), "{name}: {why}");
        }
        if owner == 0 {
            std::os::unix::fs::chown(&script, Some(12345), None).unwrap();
            assert!(look().unwrap_err().contains("belongs to user 12345"));
        }
    }
}

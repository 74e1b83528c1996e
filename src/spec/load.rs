//! The one place of `spec` that reads files.
#![expect(clippy::disallowed_methods, reason = "the one place of spec that reads files")]

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::code;
use super::diagnostic::SourceFile;
use super::parse::{Declared, Reader, forced_tier};

/// The largest file that is read, in bytes.
pub const FILE_MAX: u64 = 4 << 20;

/// Says why a file or directory is not believed, if it is not.
pub type Judge<'a> = &'a dyn Fn(&Path, &Metadata) -> Option<String>;

/// Reads the declarations of a configuration directory, whoever may have written them: see [`load_trusted()`].
#[must_use]
pub fn load(directory: &Path, tier: Option<&str>) -> Declared {
    load_trusted(directory, tier, &|_, _| None)
}

/// Reads the declarations of a configuration directory: `supervisors/*.yaml`, `units/*.yaml` (or `.yml`), `daemon.yaml`,
/// `health-checks.yaml`, `monitoring.yaml` and the drop-ins `conf.d/*.yaml`, each directory in the order of its files' names. `tier` stands
/// above what they say of it. `judge` is asked about each directory and each file, once that is open. Faults are collected, never returned.
#[must_use]
pub fn load_trusted(directory: &Path, tier: Option<&str>, judge: Judge<'_>) -> Declared {
    let mut reader = Reader::default();
    if let Err(error) = std::fs::read_dir(directory) {
        reader.unreadable(code::UNREADABLE, directory.display().to_string(), format!("cannot read the directory: {error}"));
        return reader.finish();
    }
    if let Some(why) = std::fs::metadata(directory).ok().and_then(|found| judge(directory, &found)) {
        reader.unreadable(code::UNTRUSTED, directory.display().to_string(), format!("the directory is not believed: {why}"));
        return reader.finish();
    }
    for place in ["supervisors", "units"] {
        read_all(directory, place, &mut reader, judge);
    }
    // Names that end in `.yml` are none of these files', but somebody may think so.
    for name in ["daemon", "health-checks", "monitoring"].iter().flat_map(|name| [format!("{name}.yaml"), format!("{name}.yml")]) {
        if directory.join(&name).symlink_metadata().is_ok() {
            read(directory, name, &mut reader, judge);
        }
    }
    read_all(directory, "conf.d", &mut reader, judge);
    if let Some(tier) = tier {
        reader.read(forced_tier(tier));
    }
    reader.finish()
}

/// Declarations that cannot be read at all, for this reason.
#[must_use]
pub fn unreadable(directory: &Path, why: &str) -> Declared {
    let mut reader = Reader::default();
    reader.unreadable(code::UNREADABLE, directory.display().to_string(), format!("cannot read the declarations: {why}"));
    reader.finish()
}

fn read_all(directory: &Path, place: &str, reader: &mut Reader, judge: Judge<'_>) {
    let path = directory.join(place);
    if let Some(why) = std::fs::metadata(&path).ok().and_then(|found| judge(&path, &found)) {
        reader.unreadable(code::UNTRUSTED, place.into(), format!("the directory is not believed: {why}"));
        return;
    }
    match list(&directory.join(place)) {
        Ok(names) => names.into_iter().for_each(|name| read(directory, format!("{place}/{name}"), reader, judge)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => reader.unreadable(code::UNREADABLE, place.into(), format!("cannot read the directory: {error}")),
    }
}

/// The names of the files with declarations in `directory`, sorted. Hidden files are left out: editors keep theirs so.
fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn read(directory: &Path, path: String, reader: &mut Reader, judge: Judge<'_>) {
    match read_bytes(&directory.join(&path), judge) {
        Ok(Err(why)) => reader.unreadable(code::UNTRUSTED, path, format!("the file is not believed: {why}")),
        Err(error) => reader.unreadable(code::UNREADABLE, path, format!("cannot read the file: {error}")),
        Ok(Ok(bytes)) if bytes.len() as u64 > FILE_MAX => {
            reader.unreadable(code::TOO_LARGE, path, format!("the file is larger than {} MiB", FILE_MAX >> 20));
        }
        Ok(Ok(bytes)) => match String::from_utf8(bytes) {
            Ok(text) => reader.read(SourceFile { path, text }),
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
                reader.unreadable(code::NOT_UTF8, path, format!("the file is not UTF-8: line {line} holds a byte that is no text"));
            }
        },
    }
}

/// What the file holds, one byte more than [`FILE_MAX`] if it is larger; or why that is not believed.
fn read_bytes(path: &Path, judge: Judge<'_>) -> io::Result<Result<Vec<u8>, String>> {
    // A FIFO would be waited for, and so would some files that the kernel makes up, like /proc/kmsg.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if found.len() == 0 && found.dev() == made_up()? {
        return Err(io::Error::other("it is not a regular file, but one that the kernel makes up"));
    }
    // Of what is open: by its name it may be another one by now.
    if let Some(why) = judge(path, &found) {
        return Ok(Err(why));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

/// The device of /proc; of nothing, where there is none.
fn made_up() -> io::Result<u64> {
    match std::fs::metadata("/proc/self") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        found => Ok(found?.dev()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &[u8])], codes: &[&str]) -> Declared {
        let directory = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let declared = load(directory.path(), None);
        assert_eq!(declared.diagnostics.iter().map(|fault| fault.code).collect::<Vec<_>>(), codes);
        declared
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names() {
        let unit = |name: &str| format!("unit: {name}\nexec: x\n").into_bytes();
        let files = [("units/b.yml", unit("b")), ("units/a.yaml", unit("a")), ("units/.c.yaml", unit("c")), ("units/d.txt", unit("d"))];
        let files: Vec<_> = files.iter().map(|(path, bytes)| (*path, bytes.as_slice())).collect();
        let declared = check(&files, &[]);
        let names: Vec<_> = declared.units.iter().map(|unit| unit.unit.as_ref().unwrap().0.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_is_not_believed_is_reported_and_not_read() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["units/a.yaml", "conf.d/b.yaml", "daemon.yaml"] {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "unit: [").unwrap();
            let judge = |judged: &Path, _: &Metadata| (judged == path).then(|| "it is anybody's".to_owned());
            let codes: Vec<_> = load_trusted(directory.path(), None, &judge).diagnostics.iter().map(|fault| fault.code).collect();
            assert_eq!(codes, [code::UNTRUSTED], "{name}");
            std::fs::remove_file(&path).unwrap();
        }
        for part in ["", "units", "conf.d"] {
            let path = directory.path().join(part);
            let judge = |judged: &Path, found: &Metadata| (judged == path && found.is_dir()).then(|| "it is anybody's".to_owned());
            assert_eq!(load_trusted(directory.path(), None, &judge).diagnostics.iter().next().unwrap().code, code::UNTRUSTED);
        }
    }

    #[test]
    fn what_cannot_be_read_is_reported() {
        check(&[("units/a.yaml", b"unit: \xff")], &[code::NOT_UTF8]);
        check(&[("units/a.yaml", &vec![b'#'; usize::try_from(FILE_MAX).unwrap() + 1])], &[code::TOO_LARGE]);
        check(&[("daemon.yml", b"")], &[code::MISPLACED]);
        check(&[("units/a.yaml/b", b""), ("daemon.yaml", b"listen: x")], &[code::UNREADABLE, code::WRONG_TYPE]);
        assert_eq!(load(Path::new("/nonexistent/x"), None).diagnostics.len(), 1);
        assert_eq!(unreadable(Path::new("/x"), "it hangs").diagnostics.len(), 1);
    }

    #[test]
    fn what_never_ends_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("units")).unwrap();
        std::os::unix::fs::symlink("/proc/kmsg", directory.path().join("units/a.yaml")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.path().join("units/b.yaml")).unwrap();
        let fifo = directory.path().join("units/c.yaml");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(load(directory.path(), None).diagnostics.len(), 3);
    }
}

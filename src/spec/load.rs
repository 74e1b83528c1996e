//! The one place of `spec` that reads files.
#![expect(clippy::disallowed_methods, reason = "the one place of spec that reads files")]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::code;
use super::diagnostic::SourceFile;
use super::parse::{Declared, Reader, forced_tier};

/// The largest file that is read, in bytes.
pub const FILE_MAX: u64 = 4 << 20;

/// Reads the declarations of a configuration directory: `supervisors/*.yaml`, `units/*.yaml` (or `.yml`), `daemon.yaml`,
/// `health-checks.yaml`, `monitoring.yaml` and the drop-ins `conf.d/*.yaml`, each directory in the order of its files' names. `tier` stands
/// above what they say of it. Faults are collected, never returned.
#[must_use]
pub fn load(directory: &Path, tier: Option<&str>) -> Declared {
    let mut reader = Reader::default();
    if let Err(error) = std::fs::read_dir(directory) {
        reader.unreadable(code::UNREADABLE, directory.display().to_string(), format!("cannot read the directory: {error}"));
        return reader.finish();
    }
    for place in ["supervisors", "units"] {
        read_all(directory, place, &mut reader);
    }
    // Names that end in `.yml` are none of these files', but somebody may think so.
    for name in ["daemon", "health-checks", "monitoring"].iter().flat_map(|name| [format!("{name}.yaml"), format!("{name}.yml")]) {
        if directory.join(&name).symlink_metadata().is_ok() {
            read(directory, name, &mut reader);
        }
    }
    read_all(directory, "conf.d", &mut reader);
    if let Some(tier) = tier {
        reader.read(forced_tier(tier));
    }
    reader.finish()
}

fn read_all(directory: &Path, place: &str, reader: &mut Reader) {
    match list(&directory.join(place)) {
        Ok(names) => names.into_iter().for_each(|name| read(directory, format!("{place}/{name}"), reader)),
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

fn read(directory: &Path, path: String, reader: &mut Reader) {
    match read_bytes(&directory.join(&path)) {
        Err(error) => reader.unreadable(code::UNREADABLE, path, format!("cannot read the file: {error}")),
        Ok(bytes) if bytes.len() as u64 > FILE_MAX => {
            reader.unreadable(code::TOO_LARGE, path, format!("the file is larger than {} MiB", FILE_MAX >> 20));
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => reader.read(SourceFile { path, text }),
            Err(error) => {
                let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
                reader.unreadable(code::NOT_UTF8, path, format!("the file is not UTF-8: line {line} holds a byte that is no text"));
            }
        },
    }
}

/// What the file holds; one byte more than [`FILE_MAX`] if it is larger.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
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
    fn what_cannot_be_read_is_reported() {
        check(&[("units/a.yaml", b"unit: \xff")], &[code::NOT_UTF8]);
        check(&[("units/a.yaml", &vec![b'#'; usize::try_from(FILE_MAX).unwrap() + 1])], &[code::TOO_LARGE]);
        check(&[("daemon.yml", b"")], &[code::MISPLACED]);
        check(&[("units/a.yaml/b", b""), ("daemon.yaml", b"listen: x")], &[code::UNREADABLE, code::WRONG_TYPE]);
        assert_eq!(load(Path::new("/nonexistent/x"), None).diagnostics.len(), 1);
    }
}

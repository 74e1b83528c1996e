//! Files in which a daemon writes its process id.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// More than a number with white space around it.
const LENGTH_MAX: u64 = 64;

/// The process id in a file. It may be anybody's: check whose it is.
///
/// # Errors
/// The file cannot be read, is not a regular one, or holds something else.
pub fn read(path: &Path) -> io::Result<u32> {
    // Without waiting: it may be a named pipe that nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    file.take(LENGTH_MAX).read_to_string(&mut text)?;
    let pid = text.trim().parse().ok().filter(|&pid: &u32| pid > 1);
    pid.ok_or_else(|| io::Error::other("it does not hold a process id"))
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
            read(&path).map_err(|fault| fault.to_string())
        };
        assert_eq!(told("4711\n"), Ok(4711));
        assert_eq!(told(" 4711 "), Ok(4711));
        for bad in ["", "\n", "1", "0", "-5", "x", "12 13", "99999999999"] {
            assert_eq!(told(bad), Err("it does not hold a process id".into()), "{bad:?}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("No such file"));
        assert_eq!(read(directory.path()).unwrap_err().to_string(), "not a regular file");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "not a regular file");
    }
}

//! Memory of this process.
#![expect(unsafe_code, reason = "madvise(2), mallopt(3) and malloc_trim(3) have no safe wrappers")]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Lets go of the pages of this program's code and constants that are in memory; what is needed again comes back from the page cache, piece by
/// piece. A long-lived process that has done much to begin, and does little since, becomes smaller by that.
///
/// # Errors
/// /proc cannot be read, or as madvise(2).
pub fn forget_code() -> io::Result<()> {
    let program = fs::metadata("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    for range in unwritten(&maps, program.ino()) {
        // SAFETY: the range is a private mapping of a file that was never writable, so that its pages are those of the file, and the same come back.
        unsafe { rustix::mm::madvise(range.start as *mut _, range.len(), rustix::mm::Advice::LinuxDontNeed)? };
    }
    Ok(())
}

/// How many arenas the allocator may have. It would make eight for each processor, each of which keeps what its threads have used at most.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// From how many bytes on a piece of memory goes back to the kernel when it is freed. Without a word the allocator raises this to whatever
/// was freed last, up to 32 MiB, and a long answer that was given once is kept for ever.
#[cfg(target_env = "gnu")]
const RETURNED: libc::c_int = 128 << 10;

/// Has the allocator keep little of what is freed. To be called before there are threads.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in [(libc::M_ARENA_MAX, ARENAS), (libc::M_MMAP_THRESHOLD, RETURNED), (libc::M_TRIM_THRESHOLD, RETURNED)] {
        // SAFETY: mallopt takes two numbers; one it does not like changes nothing.
        let _liked = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives whole pages of what is free back to the kernel, wherever they lie. Takes some milliseconds for each 100 MiB.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time by any thread.
    let _was_something = unsafe { libc::malloc_trim(0) };
}

/// The mappings of the program's file up to its code: what comes after it was written to when the program was loaded, even if it may not be now.
fn unwritten(maps: &str, inode: u64) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(mode), Some(number)) = (words.next(), words.next(), words.nth(2)) else { continue };
        if number.parse() != Ok(inode) || !matches!(mode, "r--p" | "r-xp") {
            continue;
        }
        let mut ends = range.split('-').filter_map(|end| usize::from_str_radix(end, 16).ok());
        let (Some(start), Some(end)) = (ends.next(), ends.next()) else { continue };
        found.push(start..end);
        if mode == "r-xp" {
            return found;
        }
    }
    // There is no code among it: this is not laid out as expected.
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_written_to_is_forgotten() {
        let maps = "1000-2000 r--p 00000000 fe:00 77 /bin/x\n2000-5000 r-xp 00001000 fe:00 77 /bin/x (deleted)\n5000-6000 r--p 00004000 fe:00 77 /bin/x\n\
                    6000-7000 rw-p 00005000 fe:00 77 /bin/x\n8000-9000 r-xp 00000000 fe:00 78 /lib/y\n";
        assert_eq!(unwritten(maps, 77), [0x1000..0x2000, 0x2000..0x5000]);
        assert_eq!(unwritten(maps, 78).first(), Some(&(0x8000..0x9000)));
        assert!(unwritten("1000-2000 r--p 00000000 fe:00 77 /bin/x\n", 77).is_empty());
        assert!(unwritten("nonsense", 77).is_empty());
    }

    #[test]
    fn a_program_without_its_code_goes_on() {
        let constant = std::hint::black_box("a constant");
        forget_code().unwrap();
        assert_eq!(constant.len(), std::hint::black_box(10));
    }
}

//! Block devices by number.

use std::io;

use rustix::fs::{FileType, major, minor, stat};

/// The number of a block device (`8:0`), by that or by a path: of a partition, or of a file on a file system, it is the disk it is on.
///
/// # Errors
/// A sentence that says why there is none.
pub fn number(name: &str) -> Result<String, String> {
    if !name.starts_with('/') {
        return Ok(name.to_owned());
    }
    let found = stat(name).map_err(|fault| format!("cannot find the device {name}: {}", io::Error::from(fault)))?;
    let is_block = FileType::from_raw_mode(found.st_mode) == FileType::BlockDevice;
    let device = if is_block { found.st_rdev } else { found.st_dev };
    let number = format!("{}:{}", major(device), minor(device));
    let of_disk = disk_of(&number);
    if of_disk.is_none() && !is_block {
        return Err(format!("{name} is on no block device"));
    }
    Ok(of_disk.unwrap_or(number))
}

/// The kernel limits whole disks: a partition is found below its disk in sysfs.
fn disk_of(number: &str) -> Option<String> {
    let place = std::fs::canonicalize(format!("/sys/dev/block/{number}")).ok()?;
    if !place.join("partition").exists() {
        return Some(number.to_owned());
    }
    let disk = std::fs::read_to_string(place.parent()?.join("dev")).ok()?;
    Some(disk.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_what_is_no_device_is_an_error() {
        assert_eq!(number("8:16"), Ok("8:16".into()));
        assert!(number("/nowhere/at/all").is_err_and(|why| why.contains("cannot find the device")));
        assert!(number("/proc").is_err_and(|why| why.contains("on no block device")));
    }
}

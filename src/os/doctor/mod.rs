//! Looks at the machine for `doctor` and `verify-install`. Nothing is changed, and nothing is judged: that is for those who ask.

pub mod files;
pub mod install;
pub mod kernel;
pub mod limits;
pub mod service;

use std::path::Path;

/// What a file of the kernel says in a line; none if it is not there or may not be read.
fn line(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

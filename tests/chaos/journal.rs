//! Follows the daemon's event journal, so that nothing of it is missed when it begins a new generation.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) struct Journal {
    directory: PathBuf,
    file: Option<(u64, File)>,
    rest: Vec<u8>,
    pub(crate) events: Vec<Value>,
}

impl Journal {
    pub(crate) fn new(state: &Path) -> Self {
        Self { directory: state.to_owned(), file: None, rest: Vec::new(), events: Vec::new() }
    }

    /// Reads what is new.
    pub(crate) fn read(&mut self) {
        self.drain();
        let path = self.directory.join("events.jsonl");
        let Ok(found) = std::fs::metadata(&path) else { return };
        if self.file.as_ref().is_none_or(|(inode, _)| *inode != found.ino())
            && let Ok(mut file) = File::open(&path)
        {
            let inode = file.metadata().map_or(0, |found| found.ino());
            drop(file.seek(SeekFrom::Start(0)));
            self.file = Some((inode, file));
            self.drain();
        }
    }

    fn drain(&mut self) {
        let Some((_, file)) = &mut self.file else { return };
        drop(file.read_to_end(&mut self.rest));
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.events.extend(serde_json::from_slice::<Value>(&line).ok());
        }
    }
}

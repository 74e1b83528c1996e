//! The thread that compresses rotated logs: one at a time, with little memory, at the lowest priority, and never more than a part of the time.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::logfile::{clear_unfinished, compress};
use crate::base::id::UnitId;

/// The pause after each block of 256 KiB. Compressing one takes about a millisecond.
const PAUSE: Duration = Duration::from_millis(2);

/// The niceness of the thread; its input and output follow.
const NICE: i32 = 19;

/// How many rounds may wait; those beyond are asked for again.
const ROUNDS: usize = 1;

/// Held by the thread that works.
static ALONE: Mutex<()> = Mutex::new(());

/// The running archiver. When it is dropped the thread ends after the round it is at.
#[derive(Debug)]
pub struct Archiver {
    rounds: mpsc::SyncSender<Vec<UnitId>>,
}

impl Archiver {
    /// Starts the thread, for the logs in `dir`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(dir: PathBuf) -> io::Result<Self> {
        let (rounds, orders) = mpsc::sync_channel::<Vec<UnitId>>(ROUNDS);
        let work = move || {
            // On Linux a thread has a niceness of its own. Without it the pauses are all there is.
            let _own = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
            // One that was dropped may be at its last round: two would write the same file.
            let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = clear_unfinished(&dir) {
                tracing::debug!("{error}");
            }
            for units in orders {
                for unit in units {
                    if let Err(error) = compress(&dir, unit.as_str(), || std::thread::sleep(PAUSE)) {
                        // The archive stays as it is, and is tried again.
                        tracing::debug!("cannot compress the log of {unit}: {error}");
                    }
                }
            }
        };
        std::thread::Builder::new().name("log-archiver".into()).spawn(work)?;
        Ok(Self { rounds })
    }

    /// Has the archives of these units compressed. When it is busy nothing happens.
    pub fn compress(&self, units: Vec<UnitId>) {
        let _busy = self.rounds.try_send(units);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Instant;

    use super::*;
    use crate::os::logfile::{LogReader, live_path, rotate_pipe, survey};
    use crate::plan::LogsPlan;

    #[test]
    fn archives_are_compressed_beside_everything_else() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..4 {
            let mut live = std::fs::File::options().create(true).append(true).open(live_path(dir.path(), "a")).unwrap();
            live.write_all(format!("line {number}\n").repeat(50_000).as_bytes()).unwrap();
            rotate_pipe(dir.path(), "a", &LogsPlan::default()).unwrap();
        }
        let before = LogReader::open(dir.path(), "a").range().unwrap();
        // One after the other: the second waits for the first.
        Archiver::start(dir.path().to_owned()).unwrap().compress(vec!["a".into()]);
        let archiver = Archiver::start(dir.path().to_owned()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let plain = || survey(dir.path()).unwrap().units["a"].iter().filter(|archive| archive.plain).count();
        while plain() > 0 {
            assert!(Instant::now() < deadline, "waited in vain");
            archiver.compress(vec!["a".into()]);
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(survey(dir.path()).unwrap().used("a") < 500_000);
        let mut reader = LogReader::open(dir.path(), "a");
        assert_eq!(reader.range().unwrap(), before);
        let mut at = before.start;
        while at < before.end {
            let chunk = reader.read_at(at, 1 << 20).unwrap();
            assert!(chunk.offset == at && !chunk.bytes.is_empty());
            at += chunk.bytes.len() as u64;
        }
    }
}

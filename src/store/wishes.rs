//! What operators wish: kept for good before it is acknowledged, by a thread of its own.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::database::{self, Opened, StoreError};
use crate::base::time::Wall;

/// So many wishes may wait for the disk; more are refused.
const QUEUE: usize = 256;

/// So many wishes share one commit.
const BATCH: usize = 64;

/// How soon a store that failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// How long changes wait for a copy of the file to be made.
const COPY_AFTER: Duration = Duration::from_secs(60);

/// A wish for something the plan does not have is forgotten after this long.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// That somebody keeps a unit or supervisor stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The unit or supervisor.
    pub target: String,
    /// Who has stopped it.
    pub uid: u32,
    /// When.
    pub at: Wall,
}

/// How the store stands, as it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It cannot be written; wishes are kept in memory until it can.
    Failed(String),
    /// It can be written again, and everything is in it.
    Resumed,
}

/// What the thread is told.
enum Job {
    Wish(Wish),
    /// The file is to be closed in order.
    Close(oneshot::Sender<()>),
}

/// A wish and who waits for it to be kept.
struct Wish {
    target: String,
    /// `None`: it may run again.
    stopped: Option<Stopped>,
    done: oneshot::Sender<Result<(), String>>,
}

/// The way to the thread that writes. The thread ends with it.
#[derive(Debug)]
pub struct Wishes {
    jobs: SyncSender<Job>,
}

impl Wishes {
    /// Opens the store in `directory`: what is wished there, and what had to be done for it. Blocks.
    ///
    /// `report` is called by the thread that writes.
    ///
    /// # Errors
    /// There is no store to be had. [`Wishes::without`] goes on without one.
    pub fn open(directory: &Path, report: impl FnMut(Report) + Send + 'static) -> Result<(Self, Vec<Stopped>, Opened), StoreError> {
        let (connection, opened) = database::open(directory)?;
        let stopped = read(&connection)?;
        let wishes = Self::start(Writer::new(directory, Some(connection), &stopped), report);
        Ok((wishes, stopped, opened))
    }

    /// Without a store that can be used: every wish fails, until there is one.
    #[must_use]
    pub fn without(directory: &Path, report: impl FnMut(Report) + Send + 'static) -> Self {
        Self::start(Writer::new(directory, None, &[]), report)
    }

    fn start(writer: Writer, report: impl FnMut(Report) + Send + 'static) -> Self {
        let (jobs, queue) = sync_channel(QUEUE);
        // Without a thread the queue is closed, and every wish fails.
        let _no_thread = thread::Builder::new().name("store".into()).spawn(move || writer.run(&queue, report));
        Self { jobs }
    }

    /// Keeps that somebody has stopped something. When this returns without an error, it survives everything.
    ///
    /// # Errors
    /// A sentence that says why it is not kept, or not yet: it is tried again.
    pub async fn stop(&self, target: &str, uid: u32, at: Wall) -> Result<(), String> {
        self.wish(target, Some(Stopped { target: target.to_owned(), uid, at })).await
    }

    /// Keeps that something may run again.
    ///
    /// # Errors
    /// As [`Wishes::stop`].
    pub async fn lift(&self, target: &str) -> Result<(), String> {
        self.wish(target, None).await
    }

    /// Writes a copy if there is something new, and closes the file. Wishes fail from then on. Without it nothing is lost either.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.jobs.try_send(Job::Close(closed)).is_ok() {
            let _the_thread_is_gone = done.await;
        }
    }

    async fn wish(&self, target: &str, stopped: Option<Stopped>) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let job = Job::Wish(Wish { target: target.to_owned(), stopped, done });
        self.jobs.try_send(job).map_err(|_| "the store does not keep up".to_owned())?;
        answer.await.map_err(|_| "the store is gone".to_owned())?
    }
}

fn read(connection: &Connection) -> Result<Vec<Stopped>, StoreError> {
    let mut rows = connection.prepare("SELECT target, uid, at FROM wishes WHERE wish = 'stopped' ORDER BY target")?;
    let rows = rows.query_map([], |row| Ok(Stopped { target: row.get(0)?, uid: row.get(1)?, at: Wall(row.get(2)?) }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The thread's own.
struct Writer {
    directory: PathBuf,
    connection: Option<Connection>,
    /// The file that was opened: another one, or none, may have taken its place.
    inode: u64,
    /// Every wish there is.
    known: BTreeMap<String, Stopped>,
    /// What could not be written yet, the latest wish for each target.
    pending: BTreeMap<String, Option<Stopped>>,
}

impl Writer {
    fn new(directory: &Path, connection: Option<Connection>, stopped: &[Stopped]) -> Self {
        let known = stopped.iter().map(|wish| (wish.target.clone(), wish.clone())).collect();
        Self { inode: inode(directory), directory: directory.to_owned(), connection, known, pending: BTreeMap::new() }
    }

    fn run(mut self, queue: &Receiver<Job>, mut report: impl FnMut(Report)) {
        let mut failing = false;
        let mut is_changed = false;
        loop {
            let wait = if failing { AGAIN } else { COPY_AFTER };
            let (mut waiting, mut closing) = (Vec::new(), None);
            match queue.recv_timeout(wait) {
                Ok(job) => {
                    let more = queue.try_iter().take(BATCH - 1);
                    for job in std::iter::once(job).chain(more) {
                        match job {
                            Job::Wish(wish) => {
                                self.pending.insert(wish.target, wish.stopped);
                                waiting.push(wish.done);
                            }
                            Job::Close(closed) => closing = Some(closed),
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if std::mem::take(&mut is_changed) => {
                    // A failure shows with the next wish; the last copy is still there.
                    let _next_time = self.connection.as_ref().map(|connection| database::copy(connection, &self.directory));
                    continue;
                }
                Err(RecvTimeoutError::Timeout) if !failing => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let written = self.write().map_err(|error| error.to_string());
            match &written {
                Ok(()) => is_changed |= !waiting.is_empty() || failing,
                Err(why) if !failing => report(Report::Failed(why.clone())),
                Err(_) => {}
            }
            if failing && written.is_ok() {
                report(Report::Resumed);
            }
            failing = written.is_err();
            for done in waiting {
                // Who asked may have gone.
                let _nobody = done.send(written.clone());
            }
            if let Some(closed) = closing {
                let connection = self.connection.take();
                if is_changed {
                    let _as_good_as_it_gets = connection.as_ref().map(|connection| database::copy(connection, &self.directory));
                }
                drop(connection);
                let _nobody = closed.send(());
                return;
            }
        }
    }

    /// Writes everything that is pending, in one commit.
    fn write(&mut self) -> Result<(), StoreError> {
        // SQLite would go on writing to a file that nobody will find again.
        self.connection.take_if(|_| inode(&self.directory) != self.inode);
        let mut changes = self.pending.clone();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let (connection, _) = database::open(&self.directory)?;
                self.inode = inode(&self.directory);
                // What is in there may be old, or nothing at all.
                let known = self.known.iter().filter(|(target, _)| !self.pending.contains_key(*target));
                changes.extend(known.map(|(target, wish)| (target.clone(), Some(wish.clone()))));
                none.insert(connection)
            }
        };
        let result = commit(connection, &changes);
        if result.is_err() {
            self.connection = None;
            return result;
        }
        for (target, stopped) in std::mem::take(&mut self.pending) {
            match stopped {
                Some(wish) => drop(self.known.insert(target, wish)),
                None => drop(self.known.remove(&target)),
            }
        }
        result
    }
}

/// Which file it is; 0 if there is none.
fn inode(directory: &Path) -> u64 {
    std::fs::metadata(database::path(directory)).map_or(0, |file| file.ino())
}

fn commit(connection: &mut Connection, pending: &BTreeMap<String, Option<Stopped>>) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for (target, stopped) in pending {
        match stopped {
            Some(Stopped { uid, at, .. }) => {
                let sql = "INSERT OR REPLACE INTO wishes (target, wish, uid, at) VALUES (?1, 'stopped', ?2, ?3)";
                transaction.execute(sql, params![target, uid, at.0])?;
            }
            None => drop(transaction.execute("DELETE FROM wishes WHERE target = ?1", params![target])?),
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Which of the wishes are for targets that exist, or may come back; the others are too old.
#[must_use]
pub fn still_meant(stopped: Vec<Stopped>, exists: impl Fn(&str) -> bool, now: Wall) -> (Vec<Stopped>, Vec<String>) {
    let kept = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
    let (meant, old): (Vec<_>, Vec<_>) = stopped.into_iter().partition(|wish| exists(&wish.target) || now.0 - wish.at.0 < kept);
    (meant, old.into_iter().map(|wish| wish.target).collect())
}

#[cfg(test)]
mod tests;

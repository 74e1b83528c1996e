//! The database file: opened, checked, copied, and replaced by its newest good copy when it is broken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The version of the schema (`PRAGMA user_version`).
pub const SCHEMA: i64 = 1;

/// So many copies are kept; 1 is the newest.
pub const GENERATIONS: u32 = 3;

/// So many broken files are kept for a look.
const BROKEN_MAX: u32 = 3;

/// How long a lock is waited for: nobody but a curious person has one.
const BUSY: Duration = Duration::from_secs(2);

const CREATE: &str = "CREATE TABLE IF NOT EXISTS wishes (
    target TEXT PRIMARY KEY,
    wish TEXT NOT NULL,
    uid INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT";

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is a newer ms-supervisor's.
    #[error("{} was written by a newer ms-supervisor (schema {found}, mine is {SCHEMA}); it is left alone", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// `SQLite` says why.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// A file cannot be moved or copied.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What had to be done to have a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing.
    Good,
    /// It was broken, and this copy took its place.
    Restored(u32),
    /// It was broken, and so was every copy: it begins anew.
    Lost,
}

/// Opens the database in `directory`.
///
/// # Errors
/// It belongs to a newer version, or cannot be opened for another reason than that it is broken.
pub(super) fn open(directory: &Path) -> Result<(Connection, Opened), StoreError> {
    let path = path(directory);
    let broken = match try_open(&path) {
        Ok(connection) => return Ok((connection, Opened::Good)),
        Err(error) if is_broken(&error) => error,
        Err(error) => return Err(error),
    };
    set_aside(&path)?;
    for generation in 1..=GENERATIONS {
        let copy = copy_path(directory, generation);
        // A copy is looked at where it is first: what is no good must not take the place.
        if copy.exists() && try_open(&copy).is_ok() {
            fs::copy(&copy, &path)?;
            return Ok((try_open(&path)?, Opened::Restored(generation)));
        }
    }
    drop(broken);
    Ok((try_open(&path)?, Opened::Lost))
}

fn try_open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA {
        return Err(StoreError::Newer { path: path.to_owned(), found });
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(verdict)).into());
    }
    let _mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    // A commit is on the disk when it returns (https://www.sqlite.org/pragma.html#pragma_synchronous).
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    if found < SCHEMA {
        connection.execute_batch(&format!("BEGIN; {CREATE}; PRAGMA user_version = {SCHEMA}; COMMIT"))?;
    }
    // A table that is not there belongs to no file of ours.
    connection.query_row("SELECT count(*) FROM wishes", [], |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

fn is_broken(error: &StoreError) -> bool {
    match error {
        StoreError::Database(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
            // The file is sound, but not what it should be.
            Some(ErrorCode::Unknown) => error.to_string().contains("no such"),
            _ => false,
        },
        StoreError::Newer { .. } | StoreError::Io(_) => false,
    }
}

/// Moves a broken file out of the way, with what belongs to it.
fn set_aside(path: &Path) -> io::Result<()> {
    let aside = |number: u32| path.with_extension(format!("broken.{number}"));
    for number in (1..BROKEN_MAX).rev() {
        rename(&aside(number), &aside(number + 1))?;
    }
    rename(path, &aside(1))?;
    for suffix in ["-wal", "-shm"] {
        remove(&with_suffix(path, suffix))?;
    }
    Ok(())
}

/// Copies the database, while it is in use, as generation 1; the others move up.
pub(super) fn copy(connection: &Connection, directory: &Path) -> Result<(), StoreError> {
    let new = directory.join("store.db.new");
    remove(&new)?;
    {
        let mut copy = Connection::open(&new)?;
        let backup = rusqlite::backup::Backup::new(connection, &mut copy)?;
        backup.run_to_completion(256, Duration::ZERO, None)?;
    }
    fs::File::open(&new)?.sync_all()?;
    for generation in (1..GENERATIONS).rev() {
        rename(&copy_path(directory, generation), &copy_path(directory, generation + 1))?;
    }
    rename(&new, &copy_path(directory, 1))?;
    fs::File::open(directory)?.sync_all()?;
    Ok(())
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("store.db")
}

fn copy_path(directory: &Path, generation: u32) -> PathBuf {
    directory.join(format!("store.db.{generation}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames what is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    missing_is_fine(fs::rename(from, to))
}

fn remove(path: &Path) -> io::Result<()> {
    missing_is_fine(fs::remove_file(path))
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

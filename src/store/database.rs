//! One SQLite database of wishes: its schema, its checks, its transactions.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use crate::base::time::Wall;
use crate::event::{Desired, Wish};

/// The version of the schema (`PRAGMA user_version`). A database of a newer one is left alone.
const SCHEMA_VERSION: i64 = 1;

/// How long to wait for somebody else's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
    CREATE TABLE wish (
        target  TEXT    NOT NULL PRIMARY KEY,
        number  INTEGER NOT NULL,
        desired TEXT    NOT NULL CHECK (desired IN ('started', 'stopped')),
        uid     INTEGER NOT NULL,
        at      INTEGER NOT NULL,
        why     TEXT,
        -- Since when the plan does not know the target.
        absent  INTEGER,
        -- SQLite checks its own structures; this is for what is inside them.
        sum     INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// A wish and what the store knows besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) wish: Wish,
    /// Since when the plan does not know the target.
    pub(super) absent: Option<Wall>,
}

/// Wishes by target.
pub(super) type Rows = BTreeMap<String, Row>;

/// Why a database cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It holds nothing, not even a table.
    #[error("it is empty")]
    Empty,
    /// What is in it cannot be trusted.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A later version of this program made it.
    #[error("it has version {0}, this program knows versions up to {SCHEMA_VERSION}: a later ms-supervisor wrote it")]
    Newer(i64),
    /// It may be good, and cannot be read or written now.
    #[error("{0}")]
    Failed(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else { return Self::Damaged(error.to_string()) };
        Self::Failed(match code {
            ErrorCode::DiskFull => "the disk is full".into(),
            ErrorCode::ReadOnly => "it is read-only".into(),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another process keeps it locked".into(),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => format!("it cannot be opened: {error}"),
            ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::FileLockingProtocolFailed => error.to_string(),
            _ => return Self::Damaged(error.to_string()),
        })
    }
}

/// An open database. While it is open nobody else can use it.
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
    /// Which file was opened, in case another one takes its name.
    identity: (u64, u64),
}

impl Database {
    /// Opens the database at `path`, checks it and reads it. What is not there or empty is [`Trouble::Empty`].
    pub(super) fn open(path: &Path) -> Result<(Self, Rows), Trouble> {
        if std::fs::metadata(path).map_or(true, |file| file.len() == 0) && !has_log(path) {
            return Err(Trouble::Empty);
        }
        let database = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let rows = database.check()?;
        database.write_ahead()?;
        Ok((database, rows))
    }

    /// Makes a new one at `path`.
    pub(super) fn create(path: &Path) -> Result<Self, Trouble> {
        let database = Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        database.write_ahead()?;
        database.connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT;"))?;
        sync_directory(path).map_err(|error| Trouble::Failed(error.to_string()))?;
        Ok(database)
    }

    fn connect(path: &Path, flags: OpenFlags) -> Result<Self, Trouble> {
        let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(LOCK_PATIENCE)?;
        // Alone with the file there is no need for shared memory beside it, which a full disk could take away.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF;")?;
        let identity = identity(path).map_err(|error| Trouble::Failed(error.to_string()))?;
        Ok(Self { connection, path: path.to_owned(), identity })
    }

    fn write_ahead(&self) -> Result<(), Trouble> {
        Ok(self.connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?)
    }

    /// Whether a backup at `path` is good.
    pub(super) fn check_backup(path: &Path) -> Result<(), Trouble> {
        if !path.exists() {
            return Err(Trouble::Empty);
        }
        Self::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?.check().map(drop)
    }

    /// Looks at all of it, and returns it. Writes nothing, so that a full disk does not hinder it.
    fn check(&self) -> Result<Rows, Trouble> {
        let version: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(Trouble::Newer(version));
        }
        if version == 0 {
            let tables: i64 = self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            return Err(if tables == 0 { Trouble::Empty } else { Trouble::Damaged("it has tables and no version".into()) });
        }
        let verdict: String = self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(Trouble::Damaged(verdict));
        }
        self.rows()
    }

    fn rows(&self) -> Result<Rows, Trouble> {
        let mut query = self.connection.prepare("SELECT target, number, desired, uid, at, why, absent, sum FROM wish")?;
        let mut found = query.query([])?;
        let mut rows = Rows::new();
        while let Some(row) = found.next()? {
            let target: String = row.get(0)?;
            let desired = if row.get::<_, String>(2)? == "stopped" { Desired::Stopped } else { Desired::Started };
            let wish = Wish {
                number: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                desired,
                uid: u32::try_from(row.get::<_, i64>(3)?).unwrap_or(u32::MAX),
                at: Wall(row.get(4)?),
                why: row.get(5)?,
            };
            let read = Row { wish, absent: row.get::<_, Option<i64>>(6)?.map(Wall) };
            if sum(&target, &read) != row.get::<_, i64>(7)? {
                return Err(Trouble::Damaged(format!("the wish for {} is not as it was written", target.escape_debug())));
            }
            rows.insert(target, read);
        }
        Ok(rows)
    }

    /// Makes what is on disk `rows`, given that it is `disk` now. On return it is safe from a loss of power.
    pub(super) fn write(&mut self, disk: &Rows, rows: &Rows) -> Result<(), Trouble> {
        self.in_place()?;
        let transaction = self.connection.transaction()?;
        let mut insert = transaction.prepare("INSERT OR REPLACE INTO wish VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
        for (target, row) in rows.iter().filter(|(target, row)| disk.get(*target) != Some(row)) {
            let Row { wish, absent } = row;
            let desired = if wish.is_stop() { "stopped" } else { "started" };
            insert.execute(params![
                target,
                i64::try_from(wish.number).unwrap_or(i64::MAX),
                desired,
                wish.uid,
                wish.at.0,
                wish.why,
                absent.map(|absent| absent.0),
                sum(target, row)
            ])?;
        }
        drop(insert);
        for target in disk.keys().filter(|target| !rows.contains_key(*target)) {
            transaction.execute("DELETE FROM wish WHERE target = ?1", [target])?;
        }
        transaction.commit()?;
        // Written to a file that lost its name meanwhile, it would be lost.
        self.in_place()
    }

    /// Empties the log into the database: what is in one checked file is better than what is in two. That it fails costs nothing.
    pub(super) fn tidy(&self) {
        drop(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    }

    /// Whether the file that is open still has its name.
    pub(super) fn in_place(&self) -> Result<(), Trouble> {
        match identity(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            Ok(_) => Err(Trouble::Failed("another file has taken its place".into())),
            Err(error) => Err(Trouble::Failed(format!("its file is gone: {error}"))),
        }
    }

    /// Copies it to `path`, whole, checked and synced, while it stays in use.
    pub(super) fn back_up(&self, path: &Path) -> Result<(), Trouble> {
        let failed = |error: io::Error| Trouble::Failed(error.to_string());
        let mut copy = Connection::open(path)?;
        let step = Backup::new(&self.connection, &mut copy)?.step(-1)?;
        if step != StepResult::Done {
            return Err(Trouble::Failed("the database is in use".into()));
        }
        // A backup is a single file.
        copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        copy.close().map_err(|(_, error)| error)?;
        Self::check_backup(path)?;
        std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(failed)
    }
}

/// Makes new names in the directory of `path` safe from a loss of power.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    std::fs::File::open(directory)?.sync_all()
}

/// The path of SQLite's log beside a database.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn has_log(path: &Path) -> bool {
    path.exists() && std::fs::metadata(log_of(path)).is_ok_and(|file| file.len() > 0)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

fn sum(target: &str, Row { wish, absent }: &Row) -> i64 {
    // As JSON, so that no two rows give the same. Plain values always encode.
    let text = serde_json::to_vec(&(target, wish.number, wish.desired, wish.uid, wish.at, &wish.why, absent)).unwrap_or_default();
    i64::from(crc32fast::hash(&text))
}

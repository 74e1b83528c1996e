//! The files of the store: the database, its backups, and what was set aside because it was damaged.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::database::{Database, Rows, Trouble, log_of, sync_directory};
use crate::base::time::Wall;
use crate::event::StoreRestored;

/// So many backups are kept; the oldest goes.
pub(super) const GENERATIONS: u32 = 3;

/// So many damaged databases are kept for a look; the oldest goes.
pub(super) const DAMAGED_MAX: u32 = 2;

/// A directory with the files.
#[derive(Clone, Debug)]
pub(super) struct Files(PathBuf);

impl Files {
    /// In `directory`, which is made when it is needed.
    pub(super) const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn database(&self) -> PathBuf {
        self.0.join("store.db")
    }

    fn backup(&self, generation: u32) -> PathBuf {
        self.0.join(format!("backup.{generation}.db"))
    }

    fn damaged(&self, number: u32) -> PathBuf {
        self.0.join(format!("damaged.{number}.db"))
    }

    /// Opens the database. One that is damaged is set aside, and the newest good backup takes its place; without any it begins anew.
    pub(super) fn open(&self) -> Result<(Database, Rows, Option<StoreRestored>), Trouble> {
        self.make_directory().map_err(|error| Trouble::Failed(format!("cannot make {}: {error}", self.0.display())))?;
        let path = self.database();
        let why = match Database::open(&path) {
            Ok((database, rows)) => return Ok((database, rows, None)),
            Err(why @ (Trouble::Newer(_) | Trouble::Failed(_))) => return Err(why),
            Err(why) => why,
        };
        let failed = |error: io::Error| Trouble::Failed(format!("cannot recover {}: {error}", path.display()));
        if matches!(why, Trouble::Damaged(_)) {
            self.set_aside().map_err(failed)?;
        }
        for generation in 1..=GENERATIONS {
            let Some(of) = self.good_backup(generation) else { continue };
            self.take(generation).map_err(failed)?;
            let (database, rows) = Database::open(&path)?;
            return Ok((database, rows, Some(StoreRestored { why: why.to_string(), generation: Some(generation), of: Some(of) })));
        }
        let restored = matches!(why, Trouble::Damaged(_)).then(|| StoreRestored { why: why.to_string(), generation: None, of: None });
        Ok((Database::create(&path)?, Rows::new(), restored))
    }

    /// Root's files are nobody else's business, nor are another user's.
    fn make_directory(&self) -> io::Result<()> {
        if self.0.is_dir() {
            return Ok(());
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        sync_directory(&self.0)
    }

    /// When a backup was made, if it is good.
    fn good_backup(&self, generation: u32) -> Option<Wall> {
        let made = self.made(generation)?;
        Database::check_backup(&self.backup(generation)).ok().map(|()| made)
    }

    /// Keeps what is damaged for a look.
    fn set_aside(&self) -> io::Result<()> {
        for number in (1..DAMAGED_MAX).rev() {
            rename(&self.damaged(number), &self.damaged(number + 1))?;
            rename(&log_of(&self.damaged(number)), &log_of(&self.damaged(number + 1)))?;
        }
        // The log first: without it the database would be older, with a foreign one it would be wrong.
        rename(&log_of(&self.database()), &log_of(&self.damaged(1)))?;
        rename(&self.database(), &self.damaged(1))?;
        sync_directory(&self.database())
    }

    /// Has a copy of a backup take the database's place.
    fn take(&self, generation: u32) -> io::Result<()> {
        let new = self.0.join("store.new");
        std::fs::copy(self.backup(generation), &new)?;
        std::fs::File::open(&new)?.sync_all()?;
        remove(&log_of(&self.database()))?;
        std::fs::rename(&new, self.database())?;
        sync_directory(&new)
    }

    /// When a backup was made.
    pub(super) fn made(&self, generation: u32) -> Option<Wall> {
        made(&self.backup(generation))
    }

    /// Makes the newest backup. With `rotate` the one before is kept and the oldest goes; killed in between, that leaves a gap in the
    /// row of backups, and loses none but the oldest.
    pub(super) fn back_up(&self, database: &Database, rotate: bool) -> Result<(), Trouble> {
        let failed = |error: io::Error| Trouble::Failed(format!("cannot make a backup: {error}"));
        let new = self.0.join("backup.new");
        let made = remove(&new).map_err(failed).and_then(|()| database.back_up(&new));
        if let Err(why) = made {
            drop(remove(&new));
            return Err(why);
        }
        let shift = || {
            for generation in (1..GENERATIONS).rev().filter(|_| rotate) {
                rename(&self.backup(generation), &self.backup(generation + 1))?;
            }
            std::fs::rename(&new, self.backup(1))?;
            sync_directory(&new)
        };
        shift().map_err(failed)
    }
}

fn made(path: &Path) -> Option<Wall> {
    let file = std::fs::metadata(path).ok()?;
    Some(Wall(file.mtime().saturating_mul(1000)))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    absent_is_fine(std::fs::rename(from, to))
}

fn remove(path: &Path) -> io::Result<()> {
    absent_is_fine(std::fs::remove_file(path))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

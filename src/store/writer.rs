//! The store's one writer: it knows how the wishes should be, and makes the disk agree, now or when the disk works again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::database::{Database, Row, Rows, Trouble};
use super::generations::Files;
use super::wishes::{Clocks, Report};
use crate::base::time::{Mono, Wall};
use crate::event::{StoreFailure, StoreRestored, StoreStatus, Wish};

/// The newest backup follows each change, but not sooner than this after the change before.
pub(super) const BACKUP_EVERY: Duration = Duration::from_secs(1);

/// The newest backup becomes an older generation, instead of being overwritten, when the second newest is so old.
pub(super) const GENERATION_EVERY: Duration = Duration::from_secs(600);

/// So long a wish for something the plan does not know is kept.
pub(super) const ABSENT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// So many wishes for what the plan does not know are kept; those for what left it first go.
pub(super) const ABSENT_MAX: usize = 256;

/// How soon a store that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// How often an idle store looks whether its file is still there.
pub(super) const CHECK: Duration = Duration::from_secs(60);

pub(super) struct Writer {
    files: Files,
    clocks: Clocks,
    database: Option<Database>,
    /// What was on disk has been read.
    loaded: bool,
    /// How the wishes should be.
    rows: Rows,
    /// How they are on disk, when the database is open.
    disk: Rows,
    failing: Option<StoreFailure>,
    restored: Option<StoreRestored>,
    /// When the next backup is to be made, if something has changed since the last one.
    backup_due: Option<Mono>,
    /// When the last one was made.
    backed_up: Option<Mono>,
    commits: u64,
    failures: u64,
    backups: u64,
    reports: Vec<Report>,
}

impl Writer {
    pub(super) fn new(files: Files, clocks: Clocks) -> Self {
        Self {
            files,
            clocks,
            database: None,
            loaded: false,
            rows: Rows::new(),
            disk: Rows::new(),
            failing: None,
            restored: None,
            backup_due: None,
            backed_up: None,
            commits: 0,
            failures: 0,
            backups: 0,
            reports: Vec::new(),
        }
    }

    /// The wishes, by target.
    pub(super) fn wishes(&self) -> BTreeMap<String, Wish> {
        self.rows.iter().map(|(target, row)| (target.clone(), row.wish.clone())).collect()
    }

    /// Takes a wish in; [`Writer::write`] makes it durable.
    pub(super) fn wish(&mut self, target: String, wish: Wish) {
        // Wishes come in their order; only what is read from disk later may be older.
        self.rows.insert(target, Row { wish, absent: None });
    }

    /// Notes which targets the plan knows; forgets what it has not known for long.
    pub(super) fn plan(&mut self, known: &BTreeSet<String>) {
        let now = (self.clocks.wall)();
        for (target, row) in &mut self.rows {
            row.absent = if known.contains(target) { None } else { row.absent.or(Some(now)) };
        }
        let mut absent: Vec<_> = self.rows.iter().filter_map(|(target, row)| Some((row.absent?, target.clone()))).collect();
        absent.sort();
        let too_many = absent.len().saturating_sub(ABSENT_MAX);
        for (index, (since, target)) in absent.into_iter().enumerate() {
            let old = age(now, since) > ABSENT_FOR;
            let why =
                if old { "the plan has not known it for 30 days" } else { "there are too many wishes for what the plan does not know" };
            if (old || index < too_many)
                && let Some(row) = self.rows.remove(&target)
            {
                self.reports.push(Report::Forgotten { target, wish: row.wish, why: why.into() });
            }
        }
    }

    /// Makes the disk agree, in one transaction.
    pub(super) fn write(&mut self) -> Result<(), String> {
        match self.try_write() {
            Ok(changes) => {
                if self.failing.take().is_some() {
                    self.reports.push(Report::Recovered { written: changes });
                }
                Ok(())
            }
            Err(trouble) => {
                // Whatever is wrong with it, it is looked at anew before it is trusted again.
                self.database = None;
                self.failures += 1;
                let why = trouble.to_string();
                if self.failing.as_ref().is_none_or(|failing| failing.why != why) {
                    let since = self.failing.as_ref().map_or_else(|| (self.clocks.wall)(), |failing| failing.since);
                    self.failing = Some(StoreFailure { why: why.clone(), since });
                    self.reports.push(Report::Failed { why: why.clone() });
                }
                Err(why)
            }
        }
    }

    fn try_write(&mut self) -> Result<usize, Trouble> {
        if self.database.is_none() {
            self.open()?;
        }
        let Some(database) = &mut self.database else { return Ok(0) };
        let changes = pending(&self.disk, &self.rows);
        if changes == 0 {
            return database.in_place().map(|()| 0);
        }
        database.write(&self.disk, &self.rows)?;
        self.disk.clone_from(&self.rows);
        self.commits += 1;
        self.backup_due = self.backup_due.or_else(|| Some(self.next_backup()));
        Ok(changes)
    }

    fn open(&mut self) -> Result<(), Trouble> {
        let (database, disk, restored) = self.files.open()?;
        if let Some(restored) = restored {
            self.reports.push(Report::Restored(restored.clone()));
            self.restored = Some(restored);
        }
        if !std::mem::replace(&mut self.loaded, true) {
            // Only the first time the disk knows what is not known here: later on what is here is newer, and complete.
            for (target, row) in &disk {
                if self.rows.get(target).is_none_or(|known| known.wish.number < row.wish.number) {
                    self.rows.insert(target.clone(), row.clone());
                }
            }
        }
        self.disk = disk;
        self.database = Some(database);
        Ok(())
    }

    fn next_backup(&self) -> Mono {
        self.backed_up.map_or_else(|| (self.clocks.mono)(), |last| last + BACKUP_EVERY)
    }

    /// What can wait until nobody does.
    pub(super) fn tidy(&mut self) {
        let now = (self.clocks.mono)();
        let Some(database) = &self.database else { return };
        database.tidy();
        if self.backup_due.is_some_and(|due| due <= now) {
            let wall = (self.clocks.wall)();
            let rotate = self.files.made(2).is_none_or(|made| age(wall, made) >= GENERATION_EVERY);
            self.backed_up = Some(now);
            match self.files.back_up(database, rotate) {
                Ok(()) => {
                    self.backups += 1;
                    self.backup_due = None;
                }
                Err(why) => {
                    self.failures += 1;
                    self.reports.push(Report::BackupFailed { why: why.to_string() });
                    self.backup_due = Some(now + GENERATION_EVERY);
                }
            }
        }
    }

    /// How long there is nothing to do, unless somebody asks.
    pub(super) fn patience(&self) -> Duration {
        let usual = if self.failing.is_some() { RETRY } else { CHECK };
        let backup = self.backup_due.map_or(CHECK, |due| due - (self.clocks.mono)());
        usual.min(if self.database.is_some() { backup } else { usual })
    }

    pub(super) fn status(&self) -> StoreStatus {
        StoreStatus {
            failing: self.failing.clone(),
            restored: self.restored.clone(),
            wishes: self.rows.len(),
            pending: pending(&self.disk, &self.rows),
            commits: self.commits,
            failures: self.failures,
            backups: self.backups,
        }
    }

    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }
}

/// How many rows differ.
fn pending(disk: &Rows, rows: &Rows) -> usize {
    let changed = rows.iter().filter(|(target, row)| disk.get(*target) != Some(*row)).count();
    changed + disk.keys().filter(|target| !rows.contains_key(*target)).count()
}

/// A clock that was set back makes nothing old.
fn age(now: Wall, then: Wall) -> Duration {
    Duration::from_millis(u64::try_from(now.0.saturating_sub(then.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests;

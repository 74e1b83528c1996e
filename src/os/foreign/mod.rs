//! What others own: files, mounts, user databases, processes. Whoever asks them may wait for ever, so nobody asks but from here.
//!
//! [`look`] runs in a thread that is given up if it does not come back, and counted; [`mod@file`] opens what is no trap: without waiting, regular
//! files only, as many bytes as are wanted, and on behalf of a unit's user only what that user may read.

pub mod file;
mod look;
pub mod reach;
pub mod removal;

pub use look::{Hangs, Purpose, Table, doing, hanging, look};

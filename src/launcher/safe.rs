//! Safe mode: the brain keeps dying. Units are kept, the brain is tried seldom, and everybody who looks is told.

use super::complain;
use super::serve::Launcher;
use super::wire::BrainEnd;
use crate::base::time::{Mono, format_duration};
use crate::os::memory;
use crate::os::paths::SAFE_MODE;

impl Launcher {
    /// After a death: says what it means if it is one of many.
    pub(super) fn enter_safe_mode(&mut self, end: &BrainEnd) {
        let Some(wait) = self.brain.safe_mode() else { return };
        let running = self.slots.values().filter(|slot| slot.main.is_some()).count();
        let text = format!(
            "safe mode: the brain has died {} times in a row, the last time with {}; {running} units run on; next try in {}",
            end.in_a_row,
            end.cause,
            format_duration(wait)
        );
        complain(format_args!("{text}"));
        self.systemd.tell(&format!("STATUS={text}"));
        // Commands that find no brain to ask read it there; it is on stderr as well.
        let path = self.options.run_directory.join(SAFE_MODE);
        let _unwritable = self.book.disk.call(move || std::fs::write(path, text + "\n"));
    }

    /// The brain has said that it is alive; the first time that ends safe mode.
    pub(super) fn hear_alive(&mut self, now: Mono) {
        if !self.brain.is_alive() && self.brain.safe_mode().is_some() {
            complain(format_args!("the brain is back"));
            self.leave_safe_mode();
        }
        self.pass_trial();
        if self.brain.has_settled() {
            // Most of it was needed to begin. That it could not be given back harms nobody.
            let _stays = memory::forget_code();
        }
        self.brain.hear_alive(now);
    }

    /// There is nothing to tell any more.
    pub(super) fn leave_safe_mode(&mut self) {
        let path = self.options.run_directory.join(SAFE_MODE);
        self.book.disk.remove(path);
    }
}

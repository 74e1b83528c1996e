//! Events as entries of systemd's journal, with fields to search by (`systemd.journal-fields(7)`).
//!
//! ```text
//! MESSAGE            what happened, in words: `web@2: exited: SIGKILL after 3 s`
//! PRIORITY           how serious it is
//! SYSLOG_IDENTIFIER  ms-supervisor
//! MS_EVENT           its type in the catalogue: `UnitExited`
//! MS_SEQUENCE        its number in the node's history
//! MS_UNIT            the unit, or MS_SUPERVISOR the supervisor, it is about
//! MS_EVENT_DATA      all that is known of it, as JSON
//! ```
//!
//! Each event is handed over at least once and in order: what was handed over last is written down in the state directory, and another brain goes
//! on from there. A journal that takes nothing keeps nobody waiting but this.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::actor::recorder::History;
use crate::event::{Envelope, event_text, severity};
use crate::os::journald::{Entry, Journal};
use crate::os::private;

/// How many events are handed over before that is written down.
const BATCH: usize = 256;

/// How soon a journal that takes no more, or is not there, is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// The file in the state directory that says which event was handed over last.
const CURSOR: &str = "journald.cursor";

/// Hands events over.
#[derive(Debug)]
pub struct Journald {
    history: Arc<History>,
    journal: PathBuf,
    cursor: PathBuf,
}

impl Journald {
    /// Hands over to who listens at `journal` what `history` has that was not handed over yet, as `state` tells; without such a file, what happens
    /// from now on.
    #[must_use]
    pub fn new(history: Arc<History>, journal: PathBuf, state: &Path) -> Self {
        Self { history, journal, cursor: state.join(CURSOR) }
    }

    /// Hands over until `shutdown` completes, and then what there still is.
    pub async fn run(self: Arc<Self>, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let mut live = self.history.follow();
        let from = self.clone();
        let Ok(mut next) = tokio::task::spawn_blocking(move || from.begin()).await else { return };
        let (mut is_last, mut complained) = (false, false);
        loop {
            let this = self.clone();
            let handed = tokio::task::spawn_blocking(move || this.hand_over(next)).await;
            let waits = match handed {
                Ok(Ok(after)) if after > next => {
                    (next, complained) = (after, false);
                    continue;
                }
                Ok(Err(errno)) => {
                    if !std::mem::replace(&mut complained, true) {
                        tracing::warn!("cannot hand events to the journal at {}: {errno}; trying on", self.journal.display());
                    }
                    true
                }
                _ => false,
            };
            if is_last {
                return;
            }
            tokio::select! {
                () = &mut shutdown => is_last = true,
                () = tokio::time::sleep(AGAIN), if waits => {}
                // Whatever it is, and if some were missed: history has it.
                _ = live.recv(), if !waits => {}
            }
        }
    }

    /// The number of the first event to hand over.
    #[expect(clippy::disallowed_methods, reason = "on a thread that may block")]
    fn begin(&self) -> u64 {
        let handed = std::fs::read_to_string(&self.cursor).ok().and_then(|text| text.trim().parse::<u64>().ok());
        handed.map_or_else(|| self.history.first_recent(), |handed| handed + 1)
    }

    /// Hands over some events from `next` on; returns the number of the first that was not. Blocks.
    fn hand_over(&self, next: u64) -> Result<u64, Errno> {
        let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let events = match self.history.recent(next, BATCH) {
            Some(events) => events,
            None => self.history.read_older(next).map_err(io)?.take(BATCH).collect(),
        };
        if events.is_empty() {
            // Older ones are gone.
            return Ok(next.max(self.history.first_recent()));
        }
        let journal = Journal::open(&self.journal).map_err(io)?;
        let mut fault = None;
        let handed = events.iter().take_while(|event| journal.send(&entry(event)).map_err(|errno| fault = Some(errno)).is_ok()).last();
        match (handed.map(|event| event.sequence), fault) {
            (None, Some(errno)) => Err(errno),
            (handed, _) => {
                let handed = handed.unwrap_or(next);
                self.note(handed);
                Ok(handed + 1)
            }
        }
    }

    /// Without it some events are handed over twice: that harms nobody.
    #[expect(clippy::disallowed_methods, reason = "on a thread that may block")]
    fn note(&self, handed: u64) {
        let new = self.cursor.with_extension("new");
        let _twice = private::write(&new, handed.to_string().as_bytes()).and_then(|_file| std::fs::rename(&new, &self.cursor));
    }
}

fn entry(envelope: &Envelope) -> Entry {
    let event = &envelope.event;
    let text = event_text(event);
    // The type and the data, under the names the API has for them.
    let value = serde_json::to_value(event).unwrap_or_default();
    let subject = event.subject().filter(|subject| !subject.is_empty());
    let message = subject.map_or_else(|| text.clone(), |subject| format!("{subject}: {text}"));
    let mut entry = Entry::default()
        .with("PRIORITY", (severity(event) as u8).to_string())
        .with("SYSLOG_FACILITY", "3")
        .with("SYSLOG_IDENTIFIER", "ms-supervisor")
        .with("MS_EVENT", value["type"].as_str().unwrap_or_default())
        .with("MS_SEQUENCE", envelope.sequence.to_string());
    if let Some(subject) = subject {
        let is_supervisor = value["data"].get("supervisor").and_then(serde_json::Value::as_str) == Some(subject);
        entry = entry.with(if is_supervisor { "MS_SUPERVISOR" } else { "MS_UNIT" }, subject);
    }
    entry.with("MS_EVENT_DATA", value["data"].to_string()).message(message.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;
    use crate::base::time::Wall;
    use crate::event::Event;

    fn next(socket: &UnixDatagram) -> String {
        let mut buffer = vec![0; 1 << 16];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[tokio::test]
    async fn events_arrive_with_fields_and_another_brain_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let history = Arc::new(History::open(directory.path()).unwrap());
        let sink = || Arc::new(Journald::new(history.clone(), path.clone(), directory.path()));
        history.record(Wall(0), Event::UnitReady { unit: "web".into() });
        history.record(Wall(0), Event::SupervisorUp { supervisor: "root".into() });
        sink().run(std::future::ready(())).await;
        let (first, second) = (next(&socket), next(&socket));
        for field in
            ["PRIORITY=6\n", "MS_EVENT=UnitReady\n", "MS_SEQUENCE=1\n", "MS_UNIT=web\n", "MS_EVENT_DATA={\"unit\":\"web\"}\n", "web: "]
        {
            assert!(first.contains(field), "{field}: {first}");
        }
        assert!(second.contains("MS_SUPERVISOR=root\n"), "{second}");
        history.record(Wall(0), Event::EventsDropped { count: 3 });
        sink().run(std::future::ready(())).await;
        let third = next(&socket);
        assert!(third.contains("PRIORITY=4\n") && third.contains("MS_SEQUENCE=3\n") && !third.contains("MS_UNIT"), "{third}");
    }
}

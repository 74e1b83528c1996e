//! What supervisors tell of themselves.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{broadcast, oneshot, watch};

use super::handle::Home;
use crate::actor::guard::{Foreign, complain, guarded};
use crate::actor::supervisor::Observer;
use crate::base::exit::ExitReason;
use crate::policy::supervisor::Report;

/// How many reports are kept for a subscriber that does not keep up.
const KEPT: usize = 1024;

/// What a supervisor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorReport {
    /// The supervisor's path: its root's name and the ids below it, `root/messaging`.
    pub supervisor: Arc<str>,
    /// What happened.
    pub event: SupervisorEvent,
}

/// What happens to a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisorEvent {
    /// All its children are up.
    Up,
    /// Something happened to a child.
    Child(Report),
    /// It has ended, and nothing of it is left.
    Ended(ExitReason),
}

/// Who is told of everything at once.
pub(super) type Watcher = Foreign<Arc<dyn Fn(&SupervisorReport) + Send + Sync>>;

/// The reports of a tree, in order.
#[derive(Debug)]
pub struct Reports(broadcast::Receiver<SupervisorReport>);

/// A subscriber was too slow: this many reports are lost to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} reports came too fast and are lost")]
pub struct Missed(pub u64);

impl Reports {
    /// The next report; `None` when the tree is gone, whoever still has a handle on it. The tree never waits for a subscriber: of one that does not keep up the
    /// oldest reports are dropped, beyond 1,024.
    ///
    /// # Errors
    /// How many were dropped; the next call goes on with the oldest that is left.
    pub async fn next(&mut self) -> Option<Result<SupervisorReport, Missed>> {
        match self.0.recv().await {
            Ok(report) => Some(Ok(report)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Err(Missed(count))),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Where the supervisors of a tree tell what happens.
#[derive(Clone, Default)]
pub(super) struct Reporter {
    channel: Arc<RwLock<Channel>>,
    watcher: Option<Watcher>,
}

/// What subscribers hear through.
#[derive(Debug, Default)]
enum Channel {
    /// Nobody has subscribed.
    #[default]
    Unused,
    Open(broadcast::Sender<SupervisorReport>),
    /// The tree is gone: there will be nothing more to hear.
    Closed,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Reporter {
    pub(super) fn new(watcher: Option<Watcher>) -> Self {
        Self { channel: Arc::default(), watcher }
    }

    pub(super) fn subscribe(&self) -> Reports {
        let mut channel = self.channel.write().unwrap_or_else(PoisonError::into_inner);
        Reports(match &*channel {
            Channel::Unused => {
                let (sender, receiver) = broadcast::channel(KEPT);
                *channel = Channel::Open(sender);
                receiver
            }
            Channel::Open(sender) => sender.subscribe(),
            Channel::Closed => broadcast::Sender::new(1).subscribe(),
        })
    }

    fn close(&self) {
        *self.channel.write().unwrap_or_else(PoisonError::into_inner) = Channel::Closed;
    }

    fn tell(&self, supervisor: &Arc<str>, event: SupervisorEvent) {
        let channel = self.channel.read().unwrap_or_else(PoisonError::into_inner);
        if matches!(*channel, Channel::Unused | Channel::Closed) && self.watcher.is_none() {
            return;
        }
        let report = SupervisorReport { supervisor: supervisor.clone(), event };
        if let Channel::Open(channel) = &*channel {
            // An error: nobody listens any more.
            drop(channel.send(report.clone()));
        }
        // A watcher may subscribe.
        drop(channel);
        if let Some(watcher) = &self.watcher
            && let Err(reason) = guarded(|| watcher(&report))
        {
            complain("what observes the tree", &reason);
        }
    }
}

/// Tells whoever wants to know what a supervisor of the library does.
pub(super) struct LibraryObserver {
    path: Arc<str>,
    reporter: Reporter,
    up: Option<oneshot::Sender<()>>,
    end: watch::Sender<Option<ExitReason>>,
    /// Not below another supervisor: its end is that of the tree.
    is_root: bool,
}

impl LibraryObserver {
    pub(super) fn new(path: Arc<str>, reporter: Reporter, up: Option<oneshot::Sender<()>>) -> (Self, Arc<Home>) {
        let (sender, end) = watch::channel(None);
        let home = Arc::new(Home { path: path.clone(), reporter: reporter.clone(), end });
        let is_root = up.is_some();
        (Self { path, reporter, up, end: sender, is_root }, home)
    }
}

impl Observer for LibraryObserver {
    fn report(&mut self, report: Report) {
        // Whoever listens to the log is not ours, and the next one is to hear of it all the same.
        drop(guarded(|| trace(&self.path, &report)));
        self.reporter.tell(&self.path, SupervisorEvent::Child(report));
    }

    fn up(&mut self) {
        self.reporter.tell(&self.path, SupervisorEvent::Up);
        if let Some(up) = self.up.take() {
            // Whoever started it may have stopped waiting.
            let _ = up.send(());
        }
    }

    fn terminated(&mut self, reason: &ExitReason) {
        self.up = None;
        self.reporter.tell(&self.path, SupervisorEvent::Ended(reason.clone()));
        self.end.send_replace(Some(reason.clone()));
    }

    fn span(&self) -> tracing::Span {
        tracing::info_span!(parent: None, "supervisor", path = %self.path)
    }
}

impl Drop for LibraryObserver {
    fn drop(&mut self) {
        if self.is_root {
            self.reporter.close();
        }
    }
}

fn trace(supervisor: &Arc<str>, report: &Report) {
    match report {
        Report::ChildStarted { child, incarnation } => tracing::debug!(%supervisor, %child, incarnation, "child started"),
        Report::ChildTerminated { child, reason, restart } => tracing::warn!(%supervisor, %child, %reason, restart, "child terminated"),
        Report::StartError { child, reason } => tracing::warn!(%supervisor, %child, %reason, "start failed"),
        Report::ShutdownError { child, reason } => tracing::warn!(%supervisor, %child, %reason, "child did not end as asked"),
        Report::ChildStuck { child } => tracing::error!(%supervisor, %child, "child was killed and does not end"),
        Report::ReachedMaxRestartIntensity { child, reason } => {
            tracing::error!(%supervisor, %child, %reason, "reached the restart intensity");
        }
    }
}

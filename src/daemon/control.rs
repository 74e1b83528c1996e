//! Carries out what operators and signals ask of the daemon as a whole.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::sync::{Mutex, Notify, mpsc, oneshot};

use super::declarations::{self, Loaded};
use super::overrides::Held;
use super::standing::{self, Phase, Tally};
use super::{Settings, brain, program};
use crate::actor::SupervisorRef;
use crate::actor::context::Context;
use crate::actor::recorder::History;
use crate::actor::tree::{Standing, Tree};
use crate::base::exit::{ExitReason, Signal};
use crate::base::time::format_duration;
use crate::event::Event;
use crate::launcher::wire::{ToBrain, ToLauncher, Upgrade};
use crate::os::systemd::{self, Job};
use crate::os::{clock, inherited};
use crate::plan::{Diff, OnLauncherDeath, UnitChange, diff};
use crate::spec::Diagnostics;

/// The daemon as a whole.
pub(super) struct Control {
    pub(super) settings: Settings,
    pub(super) context: Arc<Context>,
    pub(super) tree: Arc<Tree>,
    pub(super) history: Arc<History>,
    /// The program was gone over to, or back to.
    pub(super) upgraded: Option<Upgrade>,
    /// Who waits to hear that the launcher cannot go over to another program.
    upgrading: std::sync::Mutex<Option<oneshot::Sender<String>>>,
    /// One reload at a time.
    pub(super) loaded: Mutex<Loaded>,
    /// Something was set that will be over.
    pub(super) wake: Notify,
    /// How many faults the declarations had that were to be applied last.
    faults: AtomicUsize,
    /// A brain before this one has told systemd that the service is up.
    announced: bool,
    /// The daemon ends and units run on: the next one finds them.
    leaving: AtomicBool,
}

impl Control {
    pub(super) fn new(
        settings: Settings,
        context: Arc<Context>,
        tree: Arc<Tree>,
        history: Arc<History>,
        loaded: Loaded,
        (upgraded, announced): (Option<Upgrade>, bool),
    ) -> Arc<Self> {
        let (upgrading, loaded) = (std::sync::Mutex::default(), Mutex::new(loaded));
        Arc::new(Self {
            settings,
            context,
            tree,
            history,
            upgraded,
            upgrading,
            loaded,
            wake: Notify::new(),
            faults: AtomicUsize::new(0),
            announced,
            leaving: AtomicBool::new(false),
        })
    }

    /// Goes over to another program. Returns only if it cannot be gone over to: otherwise this process ends.
    pub(super) async fn upgrade(&self, program: PathBuf) -> String {
        if let Err(why) = program::check(&program).await {
            return why;
        }
        let (sender, refused) = oneshot::channel();
        *self.upgrading.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.context.launcher.send(ToLauncher::Upgrade { program });
        refused.await.unwrap_or_else(|_| "another upgrade was asked for".into())
    }

    /// The launcher cannot.
    fn upgrade_refused(&self, why: String) {
        if let Some(waiting) = self.upgrading.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked may have gone.
            drop(waiting.send(why));
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    fn is_upgrading(&self) -> bool {
        self.upgrading.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads the declarations anew and applies what changed; a faulty file changes nothing.
    pub(super) async fn reload(&self) -> Result<Diff, Box<Diagnostics>> {
        let mut loaded = self.loaded.lock().await;
        let mut new = match self.read(loaded.overrides.clone()).await {
            Ok(new) => new,
            Err(diagnostics) => {
                let errors = diagnostics.iter().len();
                self.faults.store(errors, Ordering::Relaxed);
                self.context.bus.tell(Event::ReloadRefused { errors });
                return Err(diagnostics);
            }
        };
        self.faults.store(0, Ordering::Relaxed);
        self.forget_strangers(&mut new).await;
        Ok(self.apply(&mut loaded, new).await)
    }

    /// Lets `new` take the place of what was applied last.
    pub(super) async fn apply(&self, loaded: &mut Loaded, new: Loaded) -> Diff {
        let mut diff = diff(&loaded.plan, &new.plan);
        self.tree.renew_secrets(&mut diff, true).await;
        if let Err(error) = self.tree.reload(new.plan.clone(), &diff).await {
            tracing::error!("cannot start the actor of a new unit: {error}");
        }
        let (remembered, directories) = (new.clone(), self.settings.directories.clone());
        let written = tokio::task::spawn_blocking(move || declarations::remember(&remembered, &directories)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!("cannot remember the plan: {error}");
        }
        *loaded = new;
        self.context.bus.tell(applied(&diff));
        diff
    }

    /// Reloads for nobody who waits: the answer is in the events, in the log and in the status line.
    pub(super) fn reload_later(self: &Arc<Self>) {
        let control = self.clone();
        tokio::spawn(async move {
            control.context.launcher.send(ToLauncher::Notify { state: standing::reloading(clock::mono()) });
            control.reload_quietly().await;
            // Of a tree that is not up yet `READY=1` would say that it is; there it ends the reload as well, once it comes.
            let ready = if control.phase() == Phase::Starting { "" } else { "READY=1\n" };
            control.context.launcher.send(ToLauncher::Notify { state: format!("{ready}STATUS={}", control.status_line()) });
        });
    }

    /// Reloads, and logs what is wrong.
    pub(super) async fn reload_quietly(&self) {
        if let Err(diagnostics) = self.reload().await {
            tracing::error!("the declarations are faulty, the old plan runs on:\n{}", diagnostics.render(false));
        }
    }

    /// What a reload would change.
    pub(super) async fn changes(&self) -> Result<Diff, Box<Diagnostics>> {
        let loaded = self.loaded.lock().await;
        let mut diff = diff(&loaded.plan, &self.read(loaded.overrides.clone()).await?.plan);
        self.tree.renew_secrets(&mut diff, false).await;
        Ok(diff)
    }

    async fn read(&self, overrides: Vec<Held>) -> Result<Loaded, Box<Diagnostics>> {
        let directories = self.settings.directories.clone();
        declarations::in_time(&self.settings.directories, move || declarations::load(&directories, overrides)).await
    }

    /// Why the root has given something up, if it has.
    fn degraded(&self) -> Option<String> {
        let root = self.tree.plan().root.clone();
        let root = self.context.view.supervisors().into_iter().find(|status| status.supervisor == root)?;
        root.reason.filter(|_| root.state == "degraded")
    }

    /// Where the tree is on its way.
    pub(super) fn phase(&self) -> Phase {
        if self.context.stopping.load(Ordering::Relaxed) {
            Phase::Stopping
        } else if !self.announced && *self.tree.standing().borrow() == Standing::Starting {
            Phase::Starting
        } else {
            Phase::Up
        }
    }

    /// How things stand, in a line.
    pub(super) fn status_line(&self) -> String {
        let degraded = self.degraded().map(|why| format!("degraded: {why}"));
        let refused = match self.faults.load(Ordering::Relaxed) {
            0 => None,
            1 => Some("the declarations have a fault and were not applied".to_owned()),
            faults => Some(format!("the declarations have {faults} faults and were not applied")),
        };
        let faults: Vec<String> = degraded.into_iter().chain(refused).collect();
        Tally::of(&self.context.view).line(self.phase(), &faults)
    }
}

fn applied(diff: &Diff) -> Event {
    let count = |wanted: fn(&UnitChange) -> bool| diff.units.values().filter(|change| wanted(change)).count();
    Event::PlanApplied {
        started: count(|change| *change == UnitChange::Start),
        stopped: count(|change| *change == UnitChange::Stop),
        restarted: count(|change| matches!(change, UnitChange::Restart { .. })),
        changed: count(|change| matches!(change, UnitChange::Live { .. })),
        unchanged: count(|change| *change == UnitChange::Leave),
    }
}

/// Signals to the daemon, and what becomes of the tree.
pub(super) struct Orders {
    control: Arc<Control>,
    ordered: mpsc::Receiver<ToBrain>,
    /// How often somebody asked it to end.
    asked: u32,
    started: crate::base::time::Mono,
}

impl Orders {
    pub(super) fn new(control: Arc<Control>, ordered: mpsc::Receiver<ToBrain>) -> Self {
        Self { control, ordered, asked: 0, started: clock::mono() }
    }

    /// Obeys until the tree has ended, or goes on without us.
    pub(super) async fn obey(mut self, root: &SupervisorRef) -> Result<Outcome, String> {
        let mut standing = self.control.tree.standing();
        // The tree may have been quicker than this.
        standing.mark_changed();
        let mut up = false;
        loop {
            tokio::select! {
                why = brain::broken(root) => return Err(why),
                order = self.ordered.recv() => match order {
                    Some(ToBrain::Signalled { signal }) if self.signalled(signal).await => return Ok(Outcome::Left),
                    Some(ToBrain::Signalled { .. }) => {}
                    Some(ToBrain::UpgradeRefused { why }) => self.control.upgrade_refused(why),
                    // Another program has taken the launcher's place, and brings its own brain.
                    _ if self.control.is_upgrading() => return Ok(Outcome::Replaced),
                    _ => return Err("the launcher is gone".into()),
                },
                changed = standing.changed() => {
                    changed.map_err(|_| "the tree is gone".to_owned())?;
                    match standing.borrow_and_update().clone() {
                        Standing::Starting => {}
                        Standing::Up if up => {}
                        Standing::Up => {
                            up = true;
                            self.ready();
                        }
                        Standing::Ended(_) if self.asked > 0 => return Ok(Outcome::Ended(0)),
                        Standing::Ended(reason) => return Ok(Outcome::Ended(self.ended(&reason))),
                    }
                }
            }
        }
    }

    fn ready(&self) {
        let after = clock::mono() - self.started;
        self.control.context.bus.tell(Event::DaemonReady { after });
        let state = format!("READY=1\nSTATUS={}", self.control.status_line());
        self.control.context.launcher.send(ToLauncher::Notify { state });
        tracing::debug!("up after {}", format_duration(after));
    }

    /// The root has given up and `on_root_failure` is `exit`.
    fn ended(&self, reason: &ExitReason) -> u8 {
        tracing::error!("the root supervisor gave up: {reason}");
        1
    }

    /// Whether the daemon is to end and units are to run on.
    async fn signalled(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::HUP => self.control.reload_later(),
            _ => {
                self.asked += 1;
                let tree = &self.control.tree;
                if self.asked == 1 {
                    self.control.context.launcher.send(ToLauncher::Notify { state: "STOPPING=1".into() });
                    if signal == Signal::TERM && self.restarts().await {
                        self.control.leaving.store(true, Ordering::Relaxed);
                        self.control.context.bus.tell(Event::DaemonStopping { by: "a restart of the service; units run on".into() });
                        return true;
                    }
                    self.control.context.bus.tell(Event::DaemonStopping { by: signal.to_string() });
                    tree.stop();
                } else {
                    tree.hasten();
                }
            }
        }
        false
    }

    /// Whether it is only the service that is started again: units that are not in its cgroup may run on.
    async fn restarts(&self) -> bool {
        if !inherited::has_units_elsewhere() || self.control.tree.plan().daemon.on_launcher_death == OnLauncherDeath::Stop {
            return false;
        }
        match systemd::job_of(std::os::unix::process::parent_id()).await {
            Ok(job) => job == Job::Restart,
            Err(why) => {
                tracing::warn!("{why}; stopping the units, too");
                false
            }
        }
    }
}

/// How it ends.
pub(super) enum Outcome {
    /// The tree is down; the exit code of the daemon.
    Ended(u8),
    /// Another program goes on.
    Replaced,
    /// Units run on, for the next launcher to find.
    Left,
}

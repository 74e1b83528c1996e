//! A unit whose main process becomes another one: it says so (`MAINPID=` of `sd_notify(3)`), or the program that was started ends and its pid file
//! names the daemon it has left. The launcher accepts only processes of the unit.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::{Missed, Msg, Unit};
use crate::base::exit::ExitCause;
use crate::base::time::format_duration;
use crate::event::Event;
use crate::launcher::wire::{Exit, Process, ToLauncher};
use crate::os::foreign::{self, Purpose, Table};
use crate::os::notify::NotifySocket;
use crate::os::pid_file;
use crate::plan::ReadinessKind;
use crate::policy::lifecycle::{Input, State as Life};

/// How soon, and how seldom at most, the pid file is read again.
const READ_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// How long a unit whose main process has ended may go on talking, before that counts.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// How soon it is looked whether everything was heard.
const HEAR_AGAIN: Duration = Duration::from_millis(5);

/// So many processes that are not taken are told of in a run.
const REFUSALS_MAX: usize = 10;

/// What goes on about the main process of a run.
#[derive(Default)]
pub(super) struct Succession {
    /// It is not the one that was started.
    pub(super) done: bool,
    /// The launcher was asked to take this process for it.
    asked: Option<u32>,
    /// It was named while the launcher was still asked about another one. The last one counts.
    later: Option<u32>,
    /// Who has heard the name waits for the answer.
    named: Option<oneshot::Sender<()>>,
    /// How many were not taken.
    refused: usize,
    /// It has ended, which is the end of the run if no other takes its place.
    end: Option<Missed>,
    /// Looks for that other one.
    search: Option<AbortHandle>,
    /// Why there was none when it was looked last.
    why: Option<String>,
}

impl Succession {
    /// A run whose main process may be another than the one that was started.
    pub(super) fn begun(done: bool) -> Self {
        Self { done, ..Self::default() }
    }

    /// It does not matter any more.
    pub(super) fn end(&mut self) {
        self.stop_search();
        *self = Self::begun(self.done);
    }

    fn stop_search(&mut self) {
        if let Some(search) = self.search.take() {
            search.abort();
        }
    }
}

impl Unit {
    /// Whether this end of the main process is but that of the program which starts the daemon.
    pub(super) fn awaits_daemon(&self, exit: &Exit, leftovers: bool) -> bool {
        leftovers && !self.succession.done && self.plan.pid_file.is_some() && exit.cause == ExitCause::Code(0)
    }

    /// The main process has ended. Another may take its place; until that is known the run goes on.
    pub(super) fn main_ended(&mut self, myself: &ActorRef<Msg>, missed: Missed) {
        let Missed { exit, leftovers, .. } = missed;
        match self.driver.machine.state() {
            Life::Activating | Life::Active if leftovers => {}
            Life::Cleaning => {
                // It had taken the place of one whose end was already acted on.
                self.tell(super::exit_event(self.id(), self.run, &exit, true));
                if !leftovers {
                    self.step(myself, Input::Gone);
                }
                return;
            }
            _ => return self.exited(myself, missed),
        }
        if self.succession.asked.is_none() {
            if self.awaits_daemon(&exit, leftovers) {
                self.search(myself);
            } else if let Some(socket) = self.notify.clone() {
                self.hear_out(myself, socket);
            } else {
                return self.exited(myself, missed);
            }
        }
        self.succession.end = Some(missed);
    }

    /// The end of the main process counts: nobody takes its place, or nobody wants it any more.
    pub(super) fn accept_end(&mut self, myself: &ActorRef<Msg>) {
        self.succession.stop_search();
        if let Some(missed) = self.succession.end.take() {
            self.exited(myself, missed);
        }
    }

    /// Somebody has decided about the unit while it was not known whether the run goes on.
    pub(super) fn settle_succession(&mut self, myself: &ActorRef<Msg>) {
        if self.succession.end.is_some() && !matches!(self.driver.machine.state(), Life::Activating | Life::Active) {
            // The machine's patience may end a moment before the search does.
            if self.driver.machine.is_late()
                && let Some(why) = self.succession.why.take()
            {
                self.tell(Event::UnitMainRefused { unit: self.id().clone(), why });
            }
            self.accept_end(myself);
        }
    }

    /// Nothing of the run is left.
    pub(super) fn gone(&mut self, myself: &ActorRef<Msg>) {
        match &mut self.succession.end {
            Some(end) => {
                end.leftovers = false;
                self.accept_end(myself);
            }
            None => self.step(myself, Input::Gone),
        }
    }

    /// The unit says that `pid` is its main process. Whoever has heard it, hears nothing more until the launcher has answered.
    pub(super) fn named_main(&mut self, pid: u32, done: oneshot::Sender<()>) {
        self.propose_main(pid);
        self.succession.named = self.succession.asked.is_some().then_some(done);
    }

    /// Asks the launcher to take `pid` for the main process. One question is out at a time.
    pub(super) fn propose_main(&mut self, pid: u32) {
        if self.succession.asked.is_some() {
            self.succession.later = Some(pid);
            return;
        }
        if self.process.is_some_and(|process| process.pid == pid) && self.succession.end.is_none() {
            return;
        }
        self.succession.asked = Some(pid);
        self.context.launcher.send(ToLauncher::SetMain { unit: self.id().clone(), run: self.run, pid });
    }

    pub(super) fn main_changed(&mut self, myself: &ActorRef<Msg>, process: Process) {
        self.answered(process.pid);
        self.succession.stop_search();
        (self.succession.end, self.succession.done) = (None, true);
        let before = self.process.replace(process).map(|process| process.pid);
        self.listen_to_whom();
        if before != Some(process.pid) {
            self.tell(Event::UnitMainChanged { unit: self.id().clone(), pid: process.pid });
            let is_active = self.driver.machine.state() == Life::Active;
            self.begin_probes(myself, is_active);
        }
        self.publish();
        if self.plan.readiness.kind == ReadinessKind::PidFile {
            self.told_ready(myself);
        }
        self.propose_later();
    }

    /// The launcher has answered about `pid`.
    fn answered(&mut self, pid: u32) {
        if self.succession.asked.take_if(|asked| *asked == pid).is_some() {
            self.succession.named = None;
        }
    }

    /// Whether the launcher is asked about one that was named meanwhile.
    fn propose_later(&mut self) -> bool {
        if let Some(pid) = self.succession.later.take() {
            self.propose_main(pid);
        }
        self.succession.asked.is_some()
    }

    /// Not more often than so in one run: a unit may name whom it likes, as often as it likes.
    fn tell_refused(&mut self, why: String) {
        self.succession.refused += 1;
        if self.succession.refused <= REFUSALS_MAX {
            self.tell(Event::UnitMainRefused { unit: self.id().clone(), why });
        }
    }

    pub(super) fn main_refused(&mut self, myself: &ActorRef<Msg>, pid: u32, why: &str) {
        self.answered(pid);
        let why = format!("process {pid} cannot be its main process: {why}");
        if self.succession.search.is_some() {
            // The file may be an earlier run's, and be written again.
            self.succession.why = Some(why);
            return;
        }
        self.tell_refused(why);
        if !self.propose_later() {
            self.accept_end(myself);
        }
    }

    /// What was found in the pid file.
    pub(super) fn pid_file_says(&mut self, found: Result<u32, String>) {
        match found {
            Ok(pid) if self.succession.search.is_some() && self.succession.asked.is_none() => self.propose_main(pid),
            Ok(_) => {}
            Err(why) => self.succession.why = Some(why),
        }
    }

    /// Nobody has taken the place of the main process in time.
    pub(super) fn no_main(&mut self, myself: &ActorRef<Msg>) {
        if let Some(why) = self.succession.why.take() {
            self.tell(Event::UnitMainRefused { unit: self.id().clone(), why });
        }
        let is_late = self.succession.search.take().is_some() && self.driver.machine.state() == Life::Activating;
        // Who is late to become ready is dealt with by the machine.
        if self.succession.asked.is_none() && !is_late {
            self.accept_end(myself);
        }
    }

    /// Reads the pid file until it names a process of the unit.
    fn search(&mut self, myself: &ActorRef<Msg>) {
        let Some(path) = self.plan.pid_file.clone() else { return };
        let (actor, run, within) = (myself.clone(), self.run, self.plan.readiness.timeout);
        let whose = format!("pid file of {}", self.plan.id);
        self.succession.why = Some(format!("no pid file {} within {}", path.display(), format_duration(within)));
        let search = tokio::spawn(async move {
            let read = async {
                let mut pause = READ_AGAIN.0;
                loop {
                    let file = path.clone();
                    // Whose process it names is the launcher's to see.
                    let look = foreign::look((Purpose::Start, Table::Own), &whose, within, move || pid_file::read_any(&file));
                    let fails = |why: &dyn std::fmt::Display| format!("cannot read the pid file {}: {why}", path.display());
                    let found = look.await.map_err(|hangs| fails(&hangs)).and_then(|found| found.map_err(|fault| fails(&fault)));
                    drop(actor.cast(Msg::PidFile(run, found)));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(READ_AGAIN.1);
                }
            };
            let never: Result<std::convert::Infallible, _> = tokio::time::timeout(within, read).await;
            drop(never);
            drop(actor.cast(Msg::NoMain(run)));
        });
        self.succession.search = Some(search.abort_handle());
    }

    /// Waits until everything the unit has said is in the mailbox: the listener takes a notice away once it has passed it on.
    fn hear_out(&mut self, myself: &ActorRef<Msg>, socket: Arc<NotifySocket>) {
        let (actor, run) = (myself.clone(), self.run);
        tokio::spawn(async move {
            let silence = async {
                while !socket.is_empty() {
                    tokio::time::sleep(HEAR_AGAIN).await;
                }
            };
            let _in_time = tokio::time::timeout(HEARD_WITHIN, silence).await;
            drop(actor.cast(Msg::NoMain(run)));
        });
    }
}

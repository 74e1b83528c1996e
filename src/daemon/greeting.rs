//! What the launcher says first: who it is and what it holds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::actor::tree::{Held, HeldUnits};
use crate::launcher::link::Receiver;
use crate::launcher::wire::{self, BrainEnd, HeldState, ToBrain, Upgrade};
use crate::os::controllers::Controllers;

/// Sockets by name.
pub(super) type Listeners = BTreeMap<String, OwnedFd>;

/// What the launcher said first.
pub(super) struct Greeting {
    pub(super) launcher: u32,
    pub(super) generation: u32,
    /// The launcher has taken over what one that died had left.
    pub(super) inherited: bool,
    /// How the brain before this one ended.
    pub(super) last: Option<BrainEnd>,
    /// The launcher has gone over to this program, or back to it.
    pub(super) upgrade: Option<Upgrade>,
    /// Where units' cgroups are.
    pub(super) cgroup: Option<PathBuf>,
    /// systemd was told that the service is up.
    pub(super) announced: bool,
    /// Sockets that systemd listens on for us, by name.
    pub(super) listeners: Listeners,
    /// Which controllers work there.
    pub(super) controllers: Controllers,
    pub(super) held: HeldUnits,
}

impl Greeting {
    /// A launcher that died has left what is held: there was no orderly going over from one program to another.
    pub(super) fn found_survivors(&self) -> bool {
        self.inherited && self.upgrade.is_none()
    }

    /// Whoever ended the launcher may have ended all its units with it, as a service manager does: then nobody has failed, and everything begins
    /// anew. If some still run, the others have ended by themselves, as far as anybody knows.
    pub(super) fn forgive(&mut self) {
        if self.found_survivors() && self.generation == 0 && self.running() == 0 {
            self.held.values_mut().for_each(Held::begin_anew);
        }
    }

    /// How many units run.
    pub(super) fn running(&self) -> usize {
        self.held.values().filter(|held| matches!(held.state, HeldState::Running(_))).count()
    }
}

/// Hears the launcher out.
pub(super) async fn hear(receiver: &mut Receiver) -> Result<Greeting, String> {
    let mut greeting = None;
    let mut held = HeldUnits::new();
    let mut listeners = Listeners::new();
    loop {
        let message = receiver.recv().await.map_err(|error| format!("cannot hear the launcher: {error}"))?;
        let Some((message, fds)) = message else { return Err("the launcher hung up".into()) };
        match message {
            ToBrain::Hello { version, .. } if version != wire::VERSION => {
                return Err(format!("the launcher speaks version {version}, I speak version {}: restart the daemon", wire::VERSION));
            }
            ToBrain::Hello { pid, generation, inherited, last, upgrade, cgroup, controllers, announced, .. } => {
                greeting = Some((pid, generation, inherited, last, upgrade, (cgroup, controllers, announced)));
            }
            ToBrain::Listener { name } => listeners.extend(fds.listener.map(|socket| (name, socket))),
            ToBrain::Held { unit, run, state, earlier, has_successor, cgroup, note, .. } => {
                let known =
                    Held::new(run, state, earlier, has_successor, &note, (cgroup, fds)).map_err(|error| format!("{unit}: {error}"))?;
                held.insert(unit, known);
            }
            ToBrain::HeldEnd => {
                let (launcher, generation, inherited, last, upgrade, (cgroup, controllers, announced)) =
                    greeting.ok_or("the launcher did not greet")?;
                return Ok(Greeting { launcher, generation, inherited, last, upgrade, cgroup, controllers, announced, listeners, held });
            }
            _ => return Err("the launcher spoke out of turn".into()),
        }
    }
}

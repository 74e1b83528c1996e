//! What the launcher says first: who it is and what it holds.

use crate::actor::tree::{Held, HeldUnits};
use crate::launcher::link::Receiver;
use crate::launcher::wire::{self, BrainEnd, HeldState, ToBrain};

/// What the launcher said first.
pub(super) struct Greeting {
    pub(super) launcher: u32,
    pub(super) generation: u32,
    /// The launcher has taken over what one that died had left.
    pub(super) inherited: bool,
    /// How the brain before this one ended.
    pub(super) last: Option<BrainEnd>,
    pub(super) held: HeldUnits,
}

impl Greeting {
    /// How many units run.
    pub(super) fn running(&self) -> usize {
        self.held.values().filter(|held| matches!(held.state, HeldState::Running(_))).count()
    }
}

/// Hears the launcher out.
pub(super) async fn hear(receiver: &mut Receiver) -> Result<Greeting, String> {
    let mut greeting = None;
    let mut held = HeldUnits::new();
    loop {
        let message = receiver.recv().await.map_err(|error| format!("cannot hear the launcher: {error}"))?;
        let Some((message, fds)) = message else { return Err("the launcher hung up".into()) };
        match message {
            ToBrain::Hello { version, .. } if version != wire::VERSION => {
                return Err(format!("the launcher speaks version {version}, I speak version {}: restart the daemon", wire::VERSION));
            }
            ToBrain::Hello { pid, generation, inherited, last, .. } => greeting = Some((pid, generation, inherited, last)),
            ToBrain::Held { unit, run, state, note, .. } => {
                let known = Held::new(run, state, &note, fds).map_err(|error| format!("{unit}: {error}"))?;
                held.insert(unit, known);
            }
            ToBrain::HeldEnd => {
                let (launcher, generation, inherited, last) = greeting.ok_or("the launcher did not greet")?;
                return Ok(Greeting { launcher, generation, inherited, last, held });
            }
            _ => return Err("the launcher spoke out of turn".into()),
        }
    }
}

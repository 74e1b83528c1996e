//! What a unit is told and nobody else: read, handed over, renewed, taken back.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::prepare::Places;
use super::{Msg, Unit};
use crate::actor::confinement::Account;
use crate::base::exit::Signal;
use crate::base::secret::Secret;
use crate::event::{Event, SecretsRenewed};
use crate::launcher::wire::{Target, ToLauncher};
use crate::os::foreign::{self, Purpose, Table};
use crate::os::secrets::{self, Bytes};
use crate::plan::{SecretHandover, SecretSource, UnitPlan, ValuePart, value_parts};

/// How long secrets of a unit that runs may take to be read. A reload waits for it.
const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What is known of secrets that were handed over, by name: sums under a key that nobody has but this process, so that they tell nothing.
pub(super) type Sums = BTreeMap<String, u64>;

/// What a unit's process is told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Variables, as `NAME=value`.
    pub(super) variables: Vec<Secret>,
    pub(super) sums: Sums,
    pub(super) handed_over: Option<HandedOver>,
}

/// What was handed over to a run as files. Dropped, it is taken back: nobody waits for that start any more.
#[derive(Debug)]
pub(super) struct HandedOver {
    directory: PathBuf,
    run: u64,
}

impl HandedOver {
    /// The run begins: what is there belongs to it.
    pub(super) fn keep(mut self) {
        self.run = 0;
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        if self.run == 0 {
            return;
        }
        let (directory, run) = (std::mem::take(&mut self.directory), self.run);
        let remove = move || secrets::remove(&directory, run);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// What an operator who reloads is told of the secrets of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// They are the same.
    Same,
    /// It needs a new process.
    Restart,
    /// It has the new ones, or would get them.
    Live,
}

/// What has become of the secrets of a run.
pub(crate) struct Renewed {
    run: u64,
    found: Result<Changed, String>,
    /// Who has asked.
    reply: Option<oneshot::Sender<Renewal>>,
}

struct Changed {
    sums: Sums,
    /// The names of those that are others now.
    names: Vec<String>,
    /// What is sent; `None`: a new process is needed.
    signals: Option<Vec<Signal>>,
}

/// Where the secrets of a run are handed over.
pub(super) fn directory(places: &Places, run: u64) -> PathBuf {
    places.secrets.join(run.to_string())
}

/// Reads what the unit is to be told and hands it over. Reads and writes files: not for the runtime's threads.
///
/// # Errors
/// A sentence that says what cannot be had, and nothing of what is in it.
pub(super) fn tell(plan: &UnitPlan, places: &Places, reader: Option<u32>, groups: &[u32], run: u64) -> Result<Told, String> {
    let mut told = Told::default();
    let mut files = Vec::new();
    for (name, secret) in &plan.secrets {
        let bytes = secrets::read(&secret.source, groups)?;
        told.sums.insert(name.clone(), places.key.hash_one(bytes.as_slice()));
        match secret.handover {
            SecretHandover::File => files.push((name.clone(), bytes)),
            SecretHandover::Environment => told.variables.push(variable(name, &text(name, &bytes)?)),
        }
    }
    for (name, value) in plan.environment.iter().filter(|(name, _)| !plan.open_environment().any(|(open, _)| open == *name)) {
        let value = expand(name, value, groups)?;
        told.sums.insert(format!("${name}"), places.key.hash_one(value.as_str()));
        told.variables.push(variable(name, &value));
    }
    if !files.is_empty() {
        told.handed_over = Some(HandedOver { directory: places.secrets.clone(), run });
        secrets::hand_over(&directory(places, run), reader, &files)?;
    }
    Ok(told)
}

/// The value of a variable, with what is in the files it refers to.
fn expand(name: &str, value: &str, groups: &[u32]) -> Result<Zeroizing<String>, String> {
    let mut parts = Vec::new();
    for part in value_parts(value) {
        parts.push(match part {
            ValuePart::Text(text) => Zeroizing::new(text.to_owned()),
            ValuePart::File(path) => text(name, &secrets::read(&SecretSource::File(path), groups)?)?,
        });
    }
    // As large as it gets, so that no copies are left behind.
    let mut whole = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    parts.iter().for_each(|part| whole.push_str(part));
    Ok(whole)
}

/// A secret as the value of a variable, without a newline at its end.
fn text(name: &str, bytes: &Bytes) -> Result<Zeroizing<String>, String> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(format!("the secret for the variable {name} is no text; write `as: file`")),
    }
}

fn variable(name: &str, value: &str) -> Secret {
    let mut whole = Zeroizing::new(String::with_capacity(name.len() + 1 + value.len()));
    whole.push_str(name);
    whole.push('=');
    whole.push_str(value);
    Secret::new(whole)
}

/// Looks what has changed since, and if `apply` hands over what can be. Reads and writes files.
fn look(plan: &UnitPlan, places: &Places, account: &Account, run: u64, wanted: (Option<&Sums>, bool)) -> Result<Changed, String> {
    let (groups, (known, apply)) = (account.groups(), wanted);
    let mut changed = Changed { sums: Sums::new(), names: Vec::new(), signals: Some(Vec::new()) };
    let mut files = Vec::new();
    for (name, secret) in &plan.secrets {
        let bytes = secrets::read(&secret.source, groups)?;
        let sum = places.key.hash_one(bytes.as_slice());
        if known.is_some_and(|known| known.get(name) != Some(&sum)) {
            changed.names.push(name.clone());
            match (secret.signal, &mut changed.signals) {
                (Some(signal), Some(signals)) if signals.contains(&signal) => {}
                (Some(signal), Some(signals)) => signals.push(signal),
                _ => changed.signals = None,
            }
            files.push((name.clone(), bytes));
        }
        changed.sums.insert(name.clone(), sum);
    }
    for (name, value) in plan.environment.iter().filter(|(name, _)| !plan.open_environment().any(|(open, _)| open == *name)) {
        let sum = places.key.hash_one(expand(name, value, groups)?.as_str());
        if known.is_some_and(|known| known.get(&format!("${name}")) != Some(&sum)) {
            changed.names.push(name.clone());
            changed.signals = None;
        }
        changed.sums.insert(format!("${name}"), sum);
    }
    if apply && changed.signals.is_some() && !files.is_empty() {
        let reader = account.credentials.as_ref().map(|user| user.uid);
        secrets::hand_over(&directory(places, run), reader, &files)?;
    }
    Ok(changed)
}

impl Unit {
    /// A process of an earlier brain runs: what there is now counts as what it was told.
    pub(super) fn recall_secrets(&self, myself: &ActorRef<Msg>) {
        if self.process.is_some() {
            self.look_at_secrets(myself, None, false);
        }
    }

    /// Somebody reloads: whether the unit was told something that is not so any more. If `apply`, it is told anew.
    pub(super) fn renew_secrets(&self, myself: &ActorRef<Msg>, apply: bool, reply: oneshot::Sender<Renewal>) {
        // One that is down reads them when it is started. Who does not get an answer knows that, too.
        if self.process.is_some() && self.plan.has_secrets() {
            self.look_at_secrets(myself, Some(reply), apply);
        }
    }

    fn look_at_secrets(&self, myself: &ActorRef<Msg>, reply: Option<oneshot::Sender<Renewal>>, apply: bool) {
        if !self.plan.has_secrets() {
            return;
        }
        let (plan, places, known, run) = (self.plan.clone(), self.places(), self.isolated.sums.clone(), self.run);
        let actor = myself.clone();
        tokio::spawn(async move {
            let found = async {
                let whose = format!("secrets of {}", plan.id);
                let account = Account::of(&plan, Vec::new(), (Purpose::Other, &whose, LOOK_WITHIN)).await?;
                let work = move || look(&plan, &places, &account, run, (known.as_ref(), apply));
                let looked = foreign::look((Purpose::Other, Table::Own), &whose, LOOK_WITHIN, work);
                looked.await.map_err(|hangs| hangs.to_string())?
            };
            let found = found.await;
            drop(actor.cast(Msg::SecretsLooked(Box::new(Renewed { run, found, reply }), apply)));
        });
    }

    /// What was found of its secrets.
    pub(super) fn secrets_looked(&mut self, renewed: Renewed, apply: bool) {
        let Renewed { run, found, reply } = renewed;
        if run != self.run || self.process.is_none() {
            return;
        }
        let unit = self.id().clone();
        let renewal = match found {
            Err(why) => {
                self.tell(Event::SecretsRenewed(SecretsRenewed { unit, secrets: Vec::new(), signals: Vec::new(), failed: Some(why) }));
                Renewal::Same
            }
            Ok(Changed { sums, names, .. }) if names.is_empty() => {
                self.isolated.sums = Some(sums);
                Renewal::Same
            }
            Ok(Changed { sums, names, signals }) => {
                let renewal = if signals.is_some() { Renewal::Live } else { Renewal::Restart };
                if apply {
                    let signals = signals.unwrap_or_default();
                    for signal in &signals {
                        let (unit, signal) = (unit.clone(), *signal);
                        self.context.launcher.send(ToLauncher::Signal { unit, run, signal, target: Target::Main });
                    }
                    if renewal == Renewal::Live {
                        self.isolated.sums = Some(sums);
                    }
                    self.tell(Event::SecretsRenewed(SecretsRenewed { unit, secrets: names, signals, failed: None }));
                }
                renewal
            }
        };
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _gone = reply.send(renewal);
        }
    }

    /// Nothing of its runs is left: what was handed over to them goes.
    pub(super) fn forget_secrets(&self) {
        if has_files(&self.plan) {
            let (directory, run) = (self.places().secrets, self.run);
            drop(tokio::task::spawn_blocking(move || secrets::remove(&directory, run)));
        }
    }
}

/// Whether anything is handed over as a file.
pub(super) fn has_files(plan: &UnitPlan) -> bool {
    plan.secrets.values().any(|secret| secret.handover == SecretHandover::File)
}

/// The key of the sums.
pub(super) type Key = RandomState;

/// Where the unit finds them.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

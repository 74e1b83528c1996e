//! Takes the steps of remediations: one ladder for each unit and each probe that has one and is, or was, in trouble.
//!
//! Units say how they and their probes are (`Symptom`), the ladder's machine says which step is due, and [`remedy`] takes it, in a task of its own.

mod document;
mod past;
mod remedy;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::context::Context;
use super::recorder::History;
use super::tree::Tree;
use super::{BoxError, TaskContext};
use crate::base::choice::RemediationMode;
use crate::base::id::UnitId;
use crate::base::time::{Mono, approx_duration};
use crate::event::{Remediation, RemediationStage};
use crate::os::clock::RuntimeClock;
use crate::plan::{RemediationPlan, StepPlan, UnitPlan};
use crate::policy::Machine as _;
use crate::policy::remediation::{Effect, Input, Ladder};

use remedy::{Remedies, Remedy};

/// How many symptoms may wait to be looked at. One that comes beyond is lost; what ails the unit will show again.
pub const SYMPTOMS_MAX: usize = 8192;

/// How a unit or one of its probes is.
#[derive(Clone, Debug)]
pub struct Symptom {
    /// The unit.
    pub unit: UnitId,
    /// The probe; none: the unit itself.
    pub probe: Option<String>,
    /// How it is.
    pub condition: Condition,
}

/// How something is that may need a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has failed: this way.
    Failed(String),
    /// It is well.
    Well,
    /// Nobody wants the unit up any more; that is meant of its probes, too.
    Unwanted,
}

/// Where symptoms come in.
pub type Symptoms = Arc<Mutex<mpsc::Receiver<Symptom>>>;

/// Whose ladder it is: a unit's, or one of its probes'.
type Patient = (UnitId, Option<String>);

/// Takes remedies until the daemon ends.
///
/// # Errors
/// The journal cannot be read.
pub async fn run(
    task: TaskContext,
    context: Arc<Context>,
    tree: Arc<Tree>,
    history: Arc<History>,
    symptoms: Symptoms,
) -> Result<(), BoxError> {
    let mut symptoms = symptoms.lock().await;
    let mut remediator = Remediator::new(context, tree);
    remediator.recall(history).await?;
    loop {
        let (due, clock) = (remediator.deadline(), remediator.clock);
        tokio::select! {
            Some(symptom) = symptoms.recv() => remediator.hear(symptom),
            Some(ended) = remediator.acting.join_next() => remediator.ended(ended?),
            () = clock.sleep_until(due) => remediator.wake(),
            () = task.shutdown_requested() => return Ok(()),
        }
    }
}

/// A ladder, and what is known of whom it is for.
struct Entry {
    plan: Arc<RemediationPlan>,
    ladder: Ladder,
    /// What ailed it last.
    why: String,
}

struct Remediator {
    tree: Arc<Tree>,
    clock: RuntimeClock,
    entries: BTreeMap<Patient, Entry>,
    remedies: Arc<Remedies>,
    acting: JoinSet<Patient>,
}

impl Remediator {
    fn new(context: Arc<Context>, tree: Arc<Tree>) -> Self {
        let remedies = Arc::new(Remedies::new(context, tree.clone()));
        Self { tree, clock: RuntimeClock::new(), entries: BTreeMap::new(), remedies, acting: JoinSet::new() }
    }

    /// What earlier brains, or an earlier one of these, have done about whom.
    async fn recall(&mut self, history: Arc<History>) -> Result<(), BoxError> {
        let plan = self.tree.plan();
        let has_any =
            plan.units.values().any(|unit| unit.remediation.is_some() || unit.probes.iter().any(|probe| probe.remediation.is_some()));
        if !has_any {
            return Ok(());
        }
        let now = self.clock.now();
        for (patient, events) in tokio::task::spawn_blocking(move || past::of(&history)).await?? {
            if let Some(entry) = self.entry(&patient) {
                events.into_iter().for_each(|(ago, past)| entry.ladder.recall(Mono(now.0.saturating_sub(ago)), past));
            }
        }
        Ok(())
    }

    /// The ladder of a patient, as it is declared now. What was done under another declaration is forgotten.
    fn entry(&mut self, patient: &Patient) -> Option<&mut Entry> {
        let plan = self.tree.plan();
        let declared = plan.units.get(&patient.0).and_then(|unit| ladder_of(unit, patient.1.as_deref()));
        let Some(declared) = declared else {
            self.entries.remove(patient);
            return None;
        };
        if self.entries.get(patient).is_none_or(|entry| *entry.plan != *declared) {
            let plan = Arc::new(declared.clone());
            let entry = Entry { ladder: Ladder::new(plan.clone()), plan, why: String::new() };
            self.entries.insert(patient.clone(), entry);
        }
        self.entries.get_mut(patient)
    }

    fn hear(&mut self, Symptom { unit, probe, condition }: Symptom) {
        match condition {
            Condition::Unwanted => {
                let of: Vec<_> = self.entries.keys().filter(|(patient, _)| *patient == unit).cloned().collect();
                of.iter().for_each(|patient| self.step(patient, Input::Unwanted));
            }
            Condition::Well => {
                let patient = (unit, probe);
                // Who was never in trouble needs no ladder.
                if self.entries.contains_key(&patient) {
                    self.step(&patient, Input::Well);
                }
            }
            Condition::Failed(why) => {
                let patient = (unit, probe);
                if let Some(entry) = self.entry(&patient) {
                    entry.why = why;
                    self.step(&patient, Input::Trouble);
                }
            }
        }
    }

    /// A step was taken.
    fn ended(&mut self, patient: Patient) {
        self.step(&patient, Input::Done);
    }

    fn step(&mut self, patient: &Patient, input: Input) {
        let (now, mut effects) = (self.clock.now(), Vec::new());
        if let Some(entry) = self.entry(patient) {
            entry.ladder.step(now, input, &mut effects);
        }
        self.carry_out(patient, effects);
    }

    fn deadline(&self) -> Option<Mono> {
        self.entries.values().filter_map(|entry| entry.ladder.deadline()).min()
    }

    fn wake(&mut self) {
        let now = self.clock.now();
        let is_due = |entry: &Entry| entry.ladder.deadline().is_some_and(|due| due <= now);
        let due: Vec<_> = self.entries.iter().filter(|(_, entry)| is_due(entry)).map(|(patient, _)| patient.clone()).collect();
        for patient in due {
            let mut effects = Vec::new();
            if let Some(entry) = self.entry(&patient) {
                entry.ladder.wake(now, &mut effects);
            }
            self.carry_out(&patient, effects);
        }
    }

    fn carry_out(&mut self, patient: &Patient, effects: Vec<Effect>) {
        for effect in effects {
            let Some(Entry { plan, why, .. }) = self.entries.get(patient) else { return };
            let (plan, why) = (plan.clone(), why.clone());
            match effect {
                Effect::Take(at) => self.take(patient, &plan, at, why),
                Effect::PassOver(at, time) => {
                    let why = format!("its budget is used up for {}", approx_duration(time));
                    let about = about(patient, &plan, at, RemediationStage::PassedOver);
                    self.remedies.tell(Remediation { why, ..about });
                }
                Effect::Exhausted => self.remedies.tell(Remediation { why, ..only(patient, RemediationStage::Exhausted) }),
                Effect::Over => self.remedies.tell(only(patient, RemediationStage::Over)),
            }
        }
    }

    /// Takes a step, or says that it would be.
    fn take(&mut self, patient: &Patient, plan: &RemediationPlan, at: usize, why: String) {
        let declared = self.tree.plan();
        let Some((unit, step)) = declared.units.get(&patient.0).zip(plan.steps.get(at)) else { return };
        if !self.tree.is_wanted(&patient.0) {
            // An operator keeps it down, or those above it: all begins anew.
            self.step(patient, Input::Unwanted);
            return self.step(patient, Input::Done);
        }
        let StepPlan { mode, .. } = step;
        if *mode == RemediationMode::Observe {
            let about = about(patient, plan, at, RemediationStage::Withheld);
            self.remedies.tell(Remediation { why: format!("{why} (mode: observe)"), ..about });
            return self.step(patient, Input::Done);
        }
        let about = about(patient, plan, at, RemediationStage::Started);
        let remedy = Remedy { unit: unit.clone(), step: step.clone(), about: Remediation { why, ..about } };
        let (remedies, patient) = (self.remedies.clone(), patient.clone());
        self.acting.spawn(async move {
            remedies.apply(remedy).await;
            patient
        });
    }
}

/// The ladder of a unit, or of its probe.
fn ladder_of<'a>(unit: &'a UnitPlan, probe: Option<&str>) -> Option<&'a RemediationPlan> {
    match probe {
        None => unit.remediation.as_ref(),
        Some(name) => unit.probes.iter().find(|probe| probe.name == name)?.remediation.as_ref(),
    }
}

/// What is told of a patient as such.
fn only(patient: &Patient, stage: RemediationStage) -> Remediation {
    Remediation {
        unit: patient.0.clone(),
        probe: patient.1.clone(),
        stage,
        step: None,
        action: None,
        mode: None,
        why: String::new(),
        success: None,
        file: None,
        after: None,
    }
}

/// What is told of a step.
fn about(patient: &Patient, plan: &RemediationPlan, at: usize, stage: RemediationStage) -> Remediation {
    let step = plan.steps.get(at);
    let (action, mode) = (step.map(|step| step.action.to_string()), step.map(|step| step.mode));
    Remediation { step: Some(at + 1), action, mode, ..only(patient, stage) }
}

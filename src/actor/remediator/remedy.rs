//! Takes one step: evidence first, then the deed, then what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::document::{context, variables};
use crate::actor::BreakerError;
use crate::actor::CircuitBreaker;
use crate::actor::context::Context;
use crate::actor::guard::guard;
use crate::actor::program::{Program, REMEDY, Run, Who};
use crate::actor::resignation::Resignation;
use crate::actor::tree::Tree;
use crate::base::breaker::BreakerPlan;
use crate::base::choice::RemediationMode;
use crate::base::exit::ExitCause;
use crate::base::time::format_duration;
use crate::event::{Event, Remediation, RemediationStage, RemedyContext};
use crate::launcher::wire::Credentials;
use crate::os::foreign::{self, Purpose, Table};
use crate::os::{clock, evidence, script, users, webhook};
use crate::plan::{Action, StepPlan, UnitPlan};

/// How many steps are taken at once; others wait.
const AT_ONCE: usize = 16;

/// How long it may take to write down what is to be known before something is done.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(2);

/// How long a script may take to be found, and its user.
const SCRIPT_WITHIN: Duration = Duration::from_secs(10);

/// How long a script that has not ended in time may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// After so many messages in a row that did not arrive a URL is left alone for a while.
const UNDELIVERED_MAX: u32 = 3;

/// Whom a script runs as instead of root, unless root is named.
const NOBODY: &str = "nobody";

/// A step that is to be taken.
pub(super) struct Remedy {
    pub(super) unit: Arc<UnitPlan>,
    pub(super) step: StepPlan,
    /// What is told of it when it begins.
    pub(super) about: Remediation,
}

/// Takes steps.
pub(super) struct Remedies {
    context: Arc<Context>,
    tree: Arc<Tree>,
    turns: Semaphore,
    /// One for each URL, of which the plan has no more than steps.
    webhooks: Mutex<BTreeMap<String, CircuitBreaker>>,
}

impl Remedies {
    pub(super) fn new(context: Arc<Context>, tree: Arc<Tree>) -> Self {
        Self { context, tree, turns: Semaphore::new(AT_ONCE), webhooks: Mutex::default() }
    }

    /// Tells the world, and whoever looks at the unit.
    pub(super) fn tell(&self, remediation: Remediation) {
        let over = remediation.stage == RemediationStage::Over;
        self.context.view.change_unit(remediation.unit.as_str(), |status| {
            *status.counters.remedies.entry(remediation.stage).or_default() += 1;
            status.remedy = (!over).then(|| remediation.text());
        });
        self.context.bus.tell(Event::Remediation(remediation));
    }

    /// Takes the step, or looks whether it could be taken; tells of it.
    pub(super) async fn apply(&self, remedy: Remedy) {
        // Nobody closes them.
        let _turn = self.turns.acquire().await;
        if remedy.step.mode == RemediationMode::DryRun {
            let found = timeout(remedy.step.timeout, self.look(&remedy)).await;
            let found =
                found.unwrap_or_else(|_| Err(format!("that could not be found out within {}", format_duration(remedy.step.timeout))));
            let could = found.map_or_else(|why| format!("could not: {why}"), |how| format!("could: {how}"));
            let why = format!("{} (mode: dry_run; {could})", remedy.about.why);
            return self.tell(Remediation { stage: RemediationStage::Withheld, why, ..remedy.about });
        }
        let begun = clock::mono();
        let (context, file) = self.note_down(&remedy).await;
        self.tell(Remediation { file: file.clone(), ..remedy.about.clone() });
        let done = guard(Box::pin(self.act(&remedy, context, file))).await;
        let Done { success, why, file } = done.unwrap_or_else(|_| Done::failed("a fault of ms-supervisor itself: it has panicked"));
        let after = Some(clock::mono() - begun);
        self.tell(Remediation { stage: RemediationStage::Ended, success: Some(success), why, file, after, ..remedy.about });
    }

    /// Before anything is done: what there is to know of the unit, and where that is.
    async fn note_down(&self, remedy: &Remedy) -> (RemedyContext, Option<PathBuf>) {
        let (about, status) = (remedy.about.clone(), self.context.view.unit(remedy.about.unit.as_str()));
        let (directory, now) = (self.context.directories.incidents(), clock::wall());
        let action = remedy.step.action.clone();
        let without = context(&about, &action, status.clone(), None, now);
        let write = move || {
            let pid = status.as_ref().and_then(|status| status.pid);
            // What cannot be looked at is missing; that is no reason to help less.
            let looked = pid.and_then(|pid| evidence::write(&directory, &about.unit, pid, &about.why, now).ok());
            let context = context(&about, &action, status, looked, now);
            let name = format!("{}-remedy-{}.json", about.unit, now.0);
            let file = serde_json::to_vec_pretty(&context).ok().and_then(|text| evidence::keep(&directory, &name, &text).ok());
            (context, file)
        };
        let whose = format!("evidence of {}", remedy.about.unit);
        foreign::look((Purpose::Other, Table::Own), &whose, EVIDENCE_WITHIN, write).await.unwrap_or((without, None))
    }

    async fn act(&self, remedy: &Remedy, context: RemedyContext, file: Option<PathBuf>) -> Done {
        let StepPlan { action, timeout: within, .. } = &remedy.step;
        let in_time = |done: Result<Result<(), String>, tokio::time::error::Elapsed>| match done {
            Ok(Ok(())) => Done::success(),
            Ok(Err(why)) => Done::failed(why),
            Err(_) => Done::failed(format!("not done within {}", format_duration(*within))),
        };
        match action {
            Action::Restart(scope) => in_time(timeout(*within, self.tree.remedy(&remedy.unit.id, *scope)).await),
            Action::Run { words, user } => self.run(remedy, words, user.as_deref(), &context, file).await,
            Action::Notify(url) => in_time(timeout(*within, self.notify(url, &context)).await),
            Action::GiveUp => {
                let why = format!("remediation: {}", context.why);
                let resignation = Resignation { unit: remedy.unit.id.clone(), why };
                match self.context.resigned.try_send(resignation) {
                    Ok(()) => Done::success(),
                    Err(_) => Done::failed("too many units are being stopped at once"),
                }
            }
        }
    }

    async fn notify(&self, url: &str, context: &RemedyContext) -> Result<(), String> {
        let body = serde_json::to_vec(context).map_err(|fault| fault.to_string())?;
        let breaker = {
            let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || {
                let plan = BreakerPlan { consecutive: Some(UNDELIVERED_MAX), open_for: Duration::from_secs(30), ..BreakerPlan::default() };
                CircuitBreaker::new(plan, self.context.seed)
            };
            webhooks.entry(url.to_owned()).or_insert_with(new).clone()
        };
        breaker.call(webhook::post(url, body)).await.map_err(|error| match error {
            BreakerError::Refused(_) => format!("{url} is left alone for a while: what was sent before has not arrived"),
            BreakerError::Failed(why) => why,
        })
    }

    async fn run(&self, remedy: &Remedy, words: &[String], user: Option<&str>, context: &RemedyContext, file: Option<PathBuf>) -> Done {
        let found = self.script(&remedy.unit, words, user).await;
        let (path, credentials) = match found {
            Ok(found) => found,
            Err(why) => return Done::failed(why),
        };
        let mut environment = self.context.environment.clone();
        let added =
            remedy.unit.open_environment().map(|(name, value)| (name.clone(), value.clone())).chain(variables(context, file.as_ref()));
        for (name, value) in added {
            environment.retain(|(known, _)| *known != name);
            environment.push((name, value));
        }
        let program = Program {
            purpose: REMEDY,
            words: std::iter::once(path.display().to_string()).chain(words.iter().skip(1).cloned()).collect(),
            environment,
            directory: remedy.unit.working_directory.clone(),
            who: Who::User(credentials),
            input: file,
            keeps_stderr: true,
            within: remedy.step.timeout,
            grace: Some(GRACE),
        };
        let run = match self.context.programs.run(program).await {
            Ok(run) => run,
            Err(why) => return Done::failed(why),
        };
        let why = match run.end {
            Some(ExitCause::Code(0)) => None,
            Some(cause) => Some(cause.to_string()),
            None => Some(format!("it did not end within {}", format_duration(remedy.step.timeout))),
        };
        let file = self.keep_output(remedy, run).await;
        Done { success: why.is_none(), why: why.unwrap_or_default(), file }
    }

    async fn keep_output(&self, remedy: &Remedy, run: Run) -> Option<PathBuf> {
        if run.output.is_empty() {
            return None;
        }
        let name = format!("{}-remedy-{}.output.txt", remedy.unit.id, clock::wall().0);
        let directory = self.context.directories.incidents();
        let keep = move || evidence::keep(&directory, &name, run.output.as_bytes());
        tokio::task::spawn_blocking(keep).await.ok()?.ok()
    }

    /// Where a script is, and whom it runs as.
    async fn script(&self, unit: &UnitPlan, words: &[String], user: Option<&str>) -> Result<(PathBuf, Option<Credentials>), String> {
        let name = words.first().cloned().unwrap_or_default();
        let directory = self.tree.plan().daemon.scripts.clone();
        let (own, user) = (rustix::process::geteuid().as_raw(), user.map(str::to_owned));
        let (unit_user, unit_group) = (unit.user.clone(), unit.group.clone());
        let look = move || {
            let path = script::find(&directory, &name, own)?;
            let account = |user: &str, group: Option<&str>| {
                let account = users::lookup(Some(user), group).map_err(|error| error.to_string())?;
                Ok::<_, String>(Credentials { uid: account.uid, gid: account.gid, groups: account.groups })
            };
            let credentials = match (user, unit_user) {
                (Some(user), _) => return Ok((path, Some(account(&user, None)?))),
                (None, Some(user)) => Some(account(&user, unit_group.as_deref())?),
                (None, None) => None,
            };
            let is_root = credentials.as_ref().map_or(own, |credentials| credentials.uid) == 0;
            Ok((path, if is_root { Some(account(NOBODY, None)?) } else { credentials }))
        };
        let whose = format!("script of {}", unit.id);
        // The user database is asked, too.
        foreign::look((Purpose::Other, Table::Shared), &whose, SCRIPT_WITHIN, look).await.map_err(|hangs| hangs.to_string())?
    }

    /// Whether the step could be taken, and how; or why not. Changes nothing.
    async fn look(&self, remedy: &Remedy) -> Result<String, String> {
        match &remedy.step.action {
            Action::Restart(scope) => self.tree.can_restart(&remedy.unit.id, *scope).map(|()| "it is there".into()),
            Action::Run { words, user } => {
                let (path, credentials) = self.script(&remedy.unit, words, user.as_deref()).await?;
                let as_whom = credentials.map(|user| format!(" as user {}", user.uid)).unwrap_or_default();
                Ok(format!("{}{as_whom}", path.display()))
            }
            Action::Notify(url) => webhook::can_reach(url).await.map(|()| "it can be reached".into()),
            Action::GiveUp => Ok("it is there".into()),
        }
    }
}

/// What came of a step.
struct Done {
    success: bool,
    why: String,
    file: Option<PathBuf>,
}

impl Done {
    fn success() -> Self {
        Self { success: true, why: String::new(), file: None }
    }

    fn failed(why: impl Into<String>) -> Self {
        Self { success: false, why: why.into(), file: None }
    }
}

//! What the test processes and the supervisors write into the trace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use ms_supervisor::{ExitReason, Report, SupervisorEvent, SupervisorRef, SupervisorReport};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::scenario::{Node, Outcome, Reason};

/// Shared by everything that runs in one scenario.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: Vec<Value>,
    /// Start attempts of each path.
    attempts: BTreeMap<String, u64>,
    /// What lives: the number of its attempt, and how a worker is told to end.
    live: BTreeMap<String, Vec<Live>>,
    /// Grows with every line.
    version: u64,
    /// Workers that were asked to end and take their time.
    late: usize,
    /// Templates' ids by supervisor path: OTP's reports name the template.
    templates: BTreeMap<String, String>,
    /// Requests to be made while a start fails, by the child's path.
    armed: BTreeMap<String, Value>,
    fire: Option<Arc<Fire>>,
    /// The present supervisors of children whose starts fail.
    supervisors: BTreeMap<String, SupervisorRef>,
}

/// Makes a request of a supervisor.
type Fire = dyn Fn(Value, SupervisorRef) + Send + Sync;

struct Live {
    number: u64,
    worker: Option<UnboundedSender<Reason>>,
}

impl World {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn line(&self, line: Value) {
        self.with(|state| {
            state.version += 1;
            state.lines.push(line);
        });
    }

    /// What was written since the last time.
    pub(crate) fn take(&self) -> Vec<Value> {
        self.with(|state| std::mem::take(&mut state.lines))
    }

    /// Changes whenever something happens.
    pub(crate) fn version(&self) -> u64 {
        self.with(|state| state.version)
    }

    /// Whether a worker takes its time to end.
    pub(crate) fn anybody_late(&self) -> bool {
        self.with(|state| state.late > 0)
    }

    /// Begins a start attempt; one that fails writes its line here.
    pub(crate) fn attempt(&self, path: &str, node: &Node) -> (u64, Outcome) {
        let number = self.with(|state| {
            let attempts = state.attempts.entry(path.to_owned()).or_default();
            *attempts += 1;
            *attempts
        });
        let at = usize::try_from(number).unwrap_or(usize::MAX).min(node.start.len());
        let outcome = node.start.get(at.saturating_sub(1)).copied().unwrap_or(Outcome::Ok);
        match outcome {
            Outcome::Ok => {}
            Outcome::Ignore => self.started(path, number, "ignore"),
            Outcome::Error | Outcome::Crash => {
                self.started(path, number, "error");
                let supervisor = self.with(|state| state.supervisors.get(path).cloned());
                let (armed, fire) = self.with(|state| (state.armed.remove(path), state.fire.clone()));
                if let (Some(request), Some(fire), Some(supervisor)) = (armed, fire, supervisor) {
                    fire(request, supervisor);
                }
            }
        }
        (number, outcome)
    }

    /// The supervisor at `path` has a specification that makes no sense.
    pub(crate) fn refused(&self, path: &str) {
        self.started(path, self.with(|state| state.attempts.get(path).copied().unwrap_or(1)), "error");
    }

    fn started(&self, path: &str, number: u64, result: &str) {
        self.line(json!({"ev": "start", "path": path, "n": number, "result": result}));
    }

    /// A worker is up.
    pub(crate) fn worker_up(&self, path: &str, number: u64, worker: UnboundedSender<Reason>) -> Death {
        self.started(path, number, "ok");
        self.live(path, Live { number, worker: Some(worker) });
        Death { world: self.clone(), path: path.to_owned(), number, reason: ExitReason::Killed, late: false }
    }

    fn live(&self, path: &str, live: Live) {
        self.with(|state| state.live.entry(path.to_owned()).or_default().push(live));
    }

    fn died(&self, path: &str, number: u64, reason: &ExitReason) {
        self.with(|state| {
            if let Some(lives) = state.live.get_mut(path) {
                lives.retain(|live| live.number != number);
            }
            state.live.retain(|_, lives| !lives.is_empty());
        });
        self.line(json!({"ev": "exit", "path": path, "n": number, "reason": class(reason)}));
    }

    /// Takes note of what a supervisor tells.
    pub(crate) fn hear(&self, report: &SupervisorReport) {
        let path = &*report.supervisor;
        match &report.event {
            SupervisorEvent::Up => {
                let number = self.with(|state| {
                    let attempts = state.attempts.entry(path.to_owned()).or_default();
                    // Of a dynamic supervisor nobody has counted the attempt; the root's is counted always.
                    *attempts += u64::from(path != "root" && state.templates.contains_key(path));
                    *attempts
                });
                self.live(path, Live { number, worker: None });
                self.started(path, number, "ok");
            }
            SupervisorEvent::Ended(reason) => match self.newest(path) {
                Some(number) => self.died(path, number, reason),
                // It never came up.
                None => self.refused(path),
            },
            SupervisorEvent::Child(report) => self.report(path, report),
        }
    }

    fn report(&self, path: &str, report: &Report) {
        let (context, child, reason) = match report {
            Report::ChildTerminated { child, reason, .. } => ("child_terminated", child, class(reason)),
            Report::StartError { child, reason } => ("start_error", child, class(reason)),
            Report::ShutdownError { child, reason } => ("shutdown_error", child, class(reason)),
            Report::ReachedMaxRestartIntensity { child, .. } => ("shutdown", child, "reached_max_restart_intensity"),
            Report::ChildStarted { .. } | Report::ChildStuck { .. } => return,
        };
        let template = self.with(|state| state.templates.get(path).cloned());
        let child = template.unwrap_or_else(|| child.to_string());
        self.line(json!({"ev": "report", "sup": path, "context": context, "child": child, "reason": reason}));
    }

    /// The number of the newest that lives at `path`.
    pub(crate) fn newest(&self, path: &str) -> Option<u64> {
        self.with(|state| state.live.get(path)?.last().map(|live| live.number))
    }

    /// Tells the worker at `path` to end; false if there is none.
    pub(crate) fn order(&self, path: &str, reason: Reason) -> bool {
        self.with(|state| {
            let worker = state.live.get(path).and_then(|lives| lives.last()?.worker.clone());
            worker.is_some_and(|worker| worker.send(reason).is_ok())
        })
    }

    /// The paths of what lives: the supervisors, or everything.
    pub(crate) fn alive(&self, supervisors_only: bool) -> Vec<String> {
        let wanted = |lives: &Vec<Live>| !supervisors_only || lives.iter().any(|live| live.worker.is_none());
        self.with(|state| state.live.iter().filter(|(_, lives)| wanted(lives)).map(|(path, _)| path.clone()).collect())
    }

    /// The children of the dynamic supervisor at `path` are made from the template called `id`.
    pub(crate) fn template(&self, path: &str, id: &str) {
        self.with(|state| state.templates.insert(path.to_owned(), id.to_owned()));
    }

    /// Makes the request when the next start attempt of the child at `path` fails, before it returns.
    pub(crate) fn arm(&self, path: &str, request: Value) {
        self.with(|state| state.armed.insert(path.to_owned(), request));
    }

    /// The supervisor that starts the child at `path`.
    pub(crate) fn supervised_by(&self, path: &str, supervisor: &SupervisorRef) {
        self.with(|state| state.supervisors.insert(path.to_owned(), supervisor.clone()));
    }

    /// How armed requests are made.
    pub(crate) fn fire_with(&self, fire: impl Fn(Value, SupervisorRef) + Send + Sync + 'static) {
        self.with(|state| state.fire = Some(Arc::new(fire)));
    }
}

/// Writes a worker's end into the trace when it is dropped, with the last thing that a process drops.
pub(crate) struct Death {
    world: World,
    path: String,
    number: u64,
    /// Killed, unless the worker knows better.
    reason: ExitReason,
    late: bool,
}

impl Death {
    /// The worker ends for this reason.
    pub(crate) fn of(&mut self, reason: ExitReason) {
        self.reason = reason;
    }

    /// The worker was asked to end and takes its time.
    pub(crate) fn late(&mut self) {
        self.late = true;
        self.world.with(|state| state.late += 1);
    }
}

impl Drop for Death {
    fn drop(&mut self) {
        if self.late {
            self.world.with(|state| state.late -= 1);
        }
        self.world.died(&self.path, self.number, &self.reason);
    }
}

impl Reason {
    /// The same in the library's terms.
    pub(crate) fn exit_reason(self) -> ExitReason {
        match self {
            Self::Normal => ExitReason::Normal,
            Self::Shutdown => ExitReason::Shutdown,
            Self::ShutdownTerm => ExitReason::ShutdownWith("because".into()),
            Self::Error => ExitReason::error("boom"),
        }
    }
}

fn class(reason: &ExitReason) -> &'static str {
    match reason {
        ExitReason::Normal => Reason::Normal.as_str(),
        ExitReason::Shutdown => Reason::Shutdown.as_str(),
        ExitReason::ShutdownWith(_) => Reason::ShutdownTerm.as_str(),
        ExitReason::Killed => "killed",
        ExitReason::Error(_) => Reason::Error.as_str(),
    }
}

//! The library's face: specifications of children and supervisors, and a handle on a running tree.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorRef};
use tokio::sync::{oneshot, watch};

use super::child::{BoxError, TaskContext, TaskHost, run_actor, run_future};
use super::process::{ProcessSpec, run_process};
use super::supervisor::{Arguments, Ask, Host, Msg, Observer, Port, SupervisorActor};
use crate::base::exit::ExitReason;
use crate::plan::{RestartType, ShutdownTimeout, Strategy};
use crate::policy::supervisor::{
    AtLimit, ChildSpec as Spec, Discipline, FirstStart, Flags, Input, Reply, Report, RequestError, Standing, StartCause,
};

/// How to start a child, and what to do when it ends.
///
/// Defaults are OTP's: `permanent`; a worker has 5 seconds to end when asked, a supervisor as long as it takes.
#[derive(Clone)]
pub struct ChildSpec {
    spec: Spec,
    host: Arc<dyn Fn() -> Box<dyn Host> + Send + Sync>,
    fault: Option<SpecError>,
}

impl ChildSpec {
    /// A future. `run` is called for each incarnation; `Ok` is a normal end, `Err` and a panic are failures.
    ///
    /// A future that is to end in order listens to [`TaskContext::shutdown_requested`]; one that does not is dropped
    /// when its shutdown time is over.
    pub fn task<F, Fut>(id: &str, run: F) -> Self
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let run = Arc::new(run);
        Self::worker(id, move || {
            let run = run.clone();
            Box::new(TaskHost::new(move |incarnation, port, orders| {
                let run = run.clone();
                Box::pin(run_future(incarnation, port, orders, move |context| run(context)))
            }))
        })
    }

    /// A ractor actor. `make` is called for each incarnation; it counts as started when its `pre_start` has returned.
    ///
    /// The actor is not linked to the supervisor in ractor's sense: ractor's links kill a subtree at once and in no order.
    pub fn actor<A, F>(id: &str, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        Self::worker(id, move || {
            let make = make.clone();
            Box::new(TaskHost::new(move |_, port, orders| {
                let make = make.clone();
                Box::pin(async move {
                    let (actor, arguments) = make();
                    run_actor(port, orders, None, actor, arguments).await;
                })
            }))
        })
    }

    /// An OS process.
    #[must_use]
    pub fn process(id: &str, process: ProcessSpec) -> Self {
        Self::worker(id, move || {
            let process = process.clone();
            Box::new(TaskHost::new(move |_, port, orders| Box::pin(run_process(process.clone(), port, orders))))
        })
    }

    /// Another supervisor.
    #[must_use]
    pub fn supervisor(id: &str, supervisor: SupervisorSpec) -> Self {
        let fault = supervisor.check().err();
        let host = move || Box::new(SupervisorHost { spec: supervisor.clone(), actor: None }) as Box<dyn Host>;
        let spec =
            Spec { id: id.into(), restart: RestartType::Permanent, shutdown: ShutdownTimeout::Infinity, supervisor: true, held: false };
        Self { spec, host: Arc::new(host), fault }
    }

    fn worker(id: &str, host: impl Fn() -> Box<dyn Host> + Send + Sync + 'static) -> Self {
        let spec = Spec {
            id: id.into(),
            restart: RestartType::Permanent,
            shutdown: ShutdownTimeout::After(Duration::from_secs(5)),
            supervisor: false,
            held: false,
        };
        Self { spec, host: Arc::new(host), fault: None }
    }

    /// When it is started again. Default: permanent.
    #[must_use]
    pub const fn restart(mut self, restart: RestartType) -> Self {
        self.spec.restart = restart;
        self
    }

    /// How long it may take to end when asked.
    #[must_use]
    pub const fn shutdown(mut self, shutdown: ShutdownTimeout) -> Self {
        self.spec.shutdown = shutdown;
        self
    }
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

/// A supervisor to be started. Defaults are OTP's: one restart within 5 seconds is tolerated.
#[derive(Clone, Debug)]
pub struct SupervisorSpec {
    strategy: Strategy,
    intensity: u32,
    period: Duration,
    children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// A supervisor without children.
    #[must_use]
    pub const fn new(strategy: Strategy) -> Self {
        Self { strategy, intensity: 1, period: Duration::from_secs(5), children: Vec::new() }
    }

    /// Tolerates `restarts` restarts within `period`; one more, and the supervisor stops its children and ends.
    #[must_use]
    pub const fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.intensity = restarts;
        self.period = period;
        self
    }

    /// Appends a child. Children start in this order and stop in its reverse.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Whether it could be started, without starting anything.
    ///
    /// # Errors
    /// The first fault found.
    pub fn check(&self) -> Result<(), SpecError> {
        let mut ids = BTreeSet::new();
        if self.period.is_zero() {
            return Err(SpecError::Period);
        }
        for child in &self.children {
            if let Some(fault) = &child.fault {
                return Err(fault.clone());
            }
            if !ids.insert(&child.spec.id) {
                return Err(SpecError::DuplicateId(child.spec.id.to_string()));
            }
        }
        Ok(())
    }

    /// Starts the tree. Returns when every child is up.
    ///
    /// Dropping the handle does not stop the tree: [`SupervisorRef::stop`] does.
    ///
    /// # Errors
    /// The specification is faulty, or a child's start failed; those started before it have been stopped again, in reverse order.
    pub async fn start(self) -> Result<SupervisorRef, StartError> {
        self.check()?;
        let (ended, end) = watch::channel(None);
        let (up, is_up) = oneshot::channel();
        let observer = Box::new(Root { up: Some(up), ended });
        let (actor, _) = Actor::spawn(None, SupervisorActor, self.arguments(None, observer))
            .await
            .map_err(|error| StartError::Child(error.to_string()))?;
        let root = SupervisorRef { actor, end };
        match is_up.await {
            Ok(()) => Ok(root),
            Err(_) => Err(StartError::Child(root.wait().await.to_string())),
        }
    }

    fn arguments(&self, parent: Option<Port>, observer: Box<dyn Observer>) -> Arguments {
        let flags = Flags {
            strategy: self.strategy,
            intensity: self.intensity,
            period: self.period,
            discipline: Discipline::Sequential,
            first_start: FirstStart::RollBack,
            at_limit: AtLimit::Terminate,
        };
        let children = self.children.iter().map(|child| (child.spec.clone(), (child.host)())).collect();
        Arguments { flags, children, parent, observer }
    }
}

/// Why a specification is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two children of one supervisor have the same id.
    #[error("two children are called `{0}`; ids must be unique within a supervisor")]
    DuplicateId(String),
    /// The period of the restart intensity is zero.
    #[error("the period of the restart intensity must be longer than zero")]
    Period,
}

/// Why a tree did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The specification is faulty.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A child did not start.
    #[error("{0}")]
    Child(String),
}

/// A child as its supervisor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInfo {
    /// Its id.
    pub id: String,
    /// Whether it is up.
    pub running: bool,
    /// Whether it is waiting for its next try at a restart.
    pub restarting: bool,
    /// Whether it is a supervisor.
    pub supervisor: bool,
}

/// A handle on a running supervisor.
#[derive(Clone, Debug)]
pub struct SupervisorRef {
    actor: ActorRef<Msg>,
    end: watch::Receiver<Option<ExitReason>>,
}

impl SupervisorRef {
    /// The children in start order.
    ///
    /// # Errors
    /// [`RequestError::Terminating`] if the supervisor is gone.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, RequestError> {
        let Reply::Children(children) = self.ask(Msg::WhichChildren).await? else { return Err(RequestError::Terminating) };
        let info = |child: crate::policy::supervisor::ChildView| ChildInfo {
            id: child.spec.id.to_string(),
            running: child.standing == Standing::Up,
            restarting: child.standing == Standing::Restarting,
            supervisor: child.spec.supervisor,
        };
        Ok(children.into_iter().map(info).collect())
    }

    /// Stops a child; its specification stays. Returns when it has ended.
    ///
    /// # Errors
    /// There is no such child, or the supervisor is going down.
    pub async fn terminate_child(&self, id: &str) -> Result<(), RequestError> {
        self.ask(|reply| Msg::Ask(id.into(), Ask::Stop { hold: false }, reply)).await.map(drop)
    }

    /// Starts a child that does not run. Returns when it is up.
    ///
    /// # Errors
    /// There is no such child, it runs, its start failed, or the supervisor is going down.
    pub async fn restart_child(&self, id: &str) -> Result<(), RequestError> {
        self.ask(|reply| Msg::Ask(id.into(), Ask::Start, reply)).await.map(drop)
    }

    /// Stops the tree in reverse start order and returns when nothing of it is left.
    pub async fn stop(&self) -> ExitReason {
        // If it is gone already, waiting is enough.
        drop(self.actor.cast(Msg::Input(Input::Shutdown(ExitReason::Shutdown))));
        self.wait().await
    }

    /// Waits until the supervisor has ended.
    pub async fn wait(&self) -> ExitReason {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(ExitReason::Killed),
            Err(_) => ExitReason::Killed,
        }
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<Reply>) -> Msg) -> Result<Reply, RequestError> {
        let (sender, reply) = oneshot::channel();
        self.actor.cast(message(sender)).map_err(|_| RequestError::Terminating)?;
        match reply.await {
            Ok(Reply::Error(error)) => Err(error),
            Ok(reply) => Ok(reply),
            Err(_) => Err(RequestError::Terminating),
        }
    }
}

/// Tells the caller of [`SupervisorSpec::start`] what becomes of the root.
struct Root {
    up: Option<oneshot::Sender<()>>,
    ended: watch::Sender<Option<ExitReason>>,
}

impl Observer for Root {
    fn report(&mut self, report: Report) {
        trace(&report);
    }

    fn up(&mut self) {
        if let Some(up) = self.up.take() {
            // Whoever started it may have stopped waiting.
            let _ = up.send(());
        }
    }

    fn terminated(&mut self, reason: &ExitReason) {
        self.up = None;
        self.ended.send_replace(Some(reason.clone()));
    }
}

/// A nested supervisor's observer.
struct Nested;

impl Observer for Nested {
    fn report(&mut self, report: Report) {
        trace(&report);
    }

    fn up(&mut self) {}

    fn terminated(&mut self, _reason: &ExitReason) {}
}

fn trace(report: &Report) {
    match report {
        Report::ChildTerminated { child, reason, restart } => tracing::warn!(%child, %reason, restart, "child terminated"),
        Report::StartError { child, reason } => tracing::warn!(%child, %reason, "start failed"),
        Report::ReachedMaxRestartIntensity { child, reason } => tracing::error!(%child, %reason, "reached the restart intensity"),
    }
}

/// Starts a supervisor as a child of another.
struct SupervisorHost {
    spec: SupervisorSpec,
    actor: Option<ActorRef<Msg>>,
}

impl SupervisorHost {
    fn tell(&self, input: Input) {
        if let Some(actor) = &self.actor {
            // One that is gone has said so.
            drop(actor.cast(Msg::Input(input)));
        }
    }
}

impl Host for SupervisorHost {
    fn start(&mut self, _cause: StartCause, port: Port) {
        self.actor = spawn_nested(self.spec.arguments(Some(port.clone()), Box::new(Nested)), port);
    }

    fn stop(&mut self) {
        self.tell(Input::Shutdown(ExitReason::Shutdown));
    }

    fn kill(&mut self) {
        self.tell(Input::Kill);
    }
}

/// Starts a supervisor below the one behind `port`, and tells that one if it dies of a panic.
pub(crate) fn spawn_nested(arguments: Arguments, port: Port) -> Option<ActorRef<Msg>> {
    match ractor::ActorRuntime::spawn_instant(None, SupervisorActor, arguments) {
        Ok((actor, start)) => {
            tokio::spawn(async move {
                match start.await {
                    Ok(Ok(handle)) => {
                        drop(handle.await);
                        // After an orderly end the supervisor has told its reason already; this then belongs to nobody.
                        port.exited(ExitReason::error("the supervisor itself failed"));
                    }
                    Ok(Err(error)) => port.start_failed(ExitReason::error(error)),
                    Err(error) => port.start_failed(ExitReason::error(error)),
                }
            });
            Some(actor)
        }
        Err(error) => {
            port.start_failed(ExitReason::error(error));
            None
        }
    }
}

//! Specifications of children.

use std::future::Future;
use std::sync::Arc;

use ractor::Actor;

use super::BoxError;
use super::actor::start_actor;
use super::dynamic::DynamicSupervisor;
use super::handle::Home;
use super::incarnation::{Incarnation, OwnedHost, Place, Start};
use super::name::Name;
use super::nested::{Nested, SupervisorHost};
use super::partition::Partitions;
use super::probe::{Probe, probed};
use super::process::{ProcessSpec, start_process};
use super::spec::SupervisorSpec;
use super::task::{TaskContext, start_prepared, start_task};
use super::thread::{ThreadContext, start_thread};
use crate::actor::guard::Foreign;
use crate::actor::supervisor::{Begun, Host, NewChild};
use crate::base::choice::RestartType;
use crate::base::shutdown::ShutdownTimeout;
use crate::policy::supervisor::{ChildSpec as Spec, SpecError};

/// How a child is started, and what its end means.
///
/// # Rules
///
/// * A child is started by its supervisor, again and again; so every constructor takes something that can be called again.
/// * A *permanent* child (the default) is started again whenever it ends, a *transient* one when it ends abnormally, a *temporary*
///   one never. Normal, shutdown and shutdown with a remark are clean ends; an error, a panic and being killed are not: see
///   [`ExitReason`](crate::ExitReason).
/// * A child that is to stop is asked to, has its shutdown time to do so, and is then killed. Workers have 5 seconds unless
///   [`ChildSpec::shutdown`] says otherwise, supervisors as long as it takes. The next child is not touched before it is gone.
/// * A start that fails is an error of whoever wanted it: of the supervisor's own start, of `start_child`, or, in a restart, a reason
///   to try again, which counts.
/// * The end of a *significant* child may end its supervisor: see [`SupervisorSpec::auto_shutdown`].
/// * A panic anywhere in what a child does, is made of or fails with is that child's failure: in the text of its error and in a `Drop` as
///   well. What its closures have captured is dropped with the last copy of the specification; a panic there is said in the log (`tracing`). Two
///   panics at once end the program, as everywhere in Rust; so does any with `panic = "abort"`.
///
/// # Which kind
///
/// | kind | it is up | when asked to stop | when killed |
/// |---|---|---|---|
/// | [`actor`](Self::actor) | when `pre_start` has returned | `post_stop` runs after the message in hand | ends at its next await, without `post_stop` |
/// | [`task`](Self::task), [`prepared`](Self::prepared) | at once; when prepared | its context says so | is dropped at its next await |
/// | [`thread`](Self::thread) | at once | its context says so | cannot be: the supervisor waits |
/// | [`process`](Self::process) | when it is executed | SIGTERM to its process group | SIGKILL to its process group |
/// | [`supervisor`](Self::supervisor) | when all its children are | stops them in reverse order | kills its workers |
///
/// Code that blocks a thread of the runtime cannot be interrupted, in an actor as in a task: put it on a [`thread`](Self::thread), or
/// into a [`process`](Self::process), which alone can be killed whatever it does.
#[derive(Clone)]
pub struct ChildSpec {
    pub(super) spec: Spec,
    pub(super) body: Body,
    pub(super) fault: Option<SpecError>,
    probes: Vec<Probe>,
}

/// What starts a child.
#[derive(Clone)]
pub(super) enum Body {
    Owned(Start),
    Supervisor(Nested),
}

impl ChildSpec {
    /// A ractor actor. `make` is called for each incarnation, which is up when its `pre_start` has returned.
    ///
    /// An error or a panic in `pre_start` is a failed start; in a handler, or in `post_stop`, an abnormal end. An error that is an
    /// [`ExitReason`](crate::ExitReason) is that reason, [`Ignore`](super::Ignore) from `pre_start` leaves the child without a process.
    ///
    /// The actor is not linked to the supervisor in ractor's sense: ractor's links kill a subtree at once and in no order. So do not
    /// spawn linked actors from it; make them children of the same supervisor.
    pub fn actor<A, F>(id: &str, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::of_actor(id, None, make)
    }

    /// The same, known by `name`, which is its id as well: whoever holds the name reaches whichever incarnation runs.
    ///
    /// ```
    /// # use ms_supervisor::{Actor, ActorProcessingErr, ActorRef, ChildSpec, Name, Strategy, SupervisorSpec};
    /// # use ractor::RpcReplyPort;
    /// # use std::time::Duration;
    /// struct Counter;
    ///
    /// enum Msg { Add(u64), Sum(RpcReplyPort<u64>) }
    ///
    /// impl Actor for Counter {
    ///     type Msg = Msg;
    ///     type State = u64;
    ///     type Arguments = ();
    ///
    ///     async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<u64, ActorProcessingErr> {
    ///         Ok(0)
    ///     }
    ///
    ///     async fn handle(&self, _: ActorRef<Msg>, message: Msg, sum: &mut u64) -> Result<(), ActorProcessingErr> {
    ///         match message {
    ///             Msg::Add(0) => return Err("nothing to add".into()),
    ///             Msg::Add(number) => *sum += number,
    ///             Msg::Sum(reply) => reply.send(*sum)?,
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let counter = Name::new("counter");
    /// let child = ChildSpec::named_actor(&counter, || (Counter, ()));
    /// let root = SupervisorSpec::new(Strategy::OneForOne).child(child).start().await?;
    ///
    /// let second = Duration::from_secs(1);
    /// counter.cast(Msg::Add(2))?;
    /// assert_eq!(counter.call(Msg::Sum, second).await?, 2);
    /// let first = counter.get().unwrap();
    /// counter.cast(Msg::Add(0))?; // It fails, and is started again, with a new state.
    /// counter.wait_for_other(&first).await;
    /// assert_eq!(counter.call(Msg::Sum, second).await?, 0);
    /// # root.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn named_actor<A, F>(name: &Name<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::of_actor(name.as_str(), Some(name.clone()), make)
    }

    fn of_actor<A, F>(id: &str, name: Option<Name<A::Msg>>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        Self::worker(id, move |life| {
            let make = make.clone();
            start_actor(life, name.clone(), move || make())
        })
    }

    /// A future. `run` is called for each incarnation, which is up at once; `Ok` is a normal end, `Err` and a panic are failures.
    ///
    /// A future that is to end in order listens to [`TaskContext::shutdown_requested`]; one that does not is dropped
    /// when its shutdown time is over.
    ///
    /// ```
    /// # use ms_supervisor::{ChildSpec, TaskContext};
    /// # use std::time::Duration;
    /// let beat = ChildSpec::task("beat", |task: TaskContext| async move {
    ///     loop {
    ///         tokio::select! {
    ///             () = task.shutdown_requested() => return Ok(()),
    ///             () = tokio::time::sleep(Duration::from_secs(1)) => println!("beat"),
    ///         }
    ///     }
    /// });
    /// ```
    pub fn task<F, Fut>(id: &str, run: F) -> Self
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self::worker(id, move |life| start_task(life, &run))
    }

    /// A future that `prepare` makes, for what may fail to start: the child is up when `prepare` has returned the future that is its
    /// work. An error, or a panic, is a failed start; [`Ignore`](super::Ignore) leaves the child without a process.
    ///
    /// ```
    /// # use ms_supervisor::{BoxError, ChildSpec, TaskContext};
    /// # use tokio::net::TcpListener;
    /// let server = ChildSpec::prepared("server", |task: TaskContext| async move {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     Ok(async move {
    ///         loop {
    ///             tokio::select! {
    ///                 () = task.shutdown_requested() => return Ok::<(), BoxError>(()),
    ///                 connection = listener.accept() => drop(connection?),
    ///             }
    ///         }
    ///     })
    /// });
    /// ```
    pub fn prepared<F, Prepare, Fut>(id: &str, prepare: F) -> Self
    where
        F: Fn(TaskContext) -> Prepare + Send + Sync + 'static,
        Prepare: Future<Output = Result<Fut, BoxError>> + Send + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let prepare = Arc::new(prepare);
        Self::worker(id, move |life| {
            let prepare = prepare.clone();
            start_prepared(life, move |context| prepare(context))
        })
    }

    /// A closure on a thread of its own, for code that blocks. It is up when there is a thread.
    ///
    /// A thread cannot be killed: one that does not return when [`ThreadContext::is_shutdown_requested`] keeps its supervisor waiting,
    /// as a process that the kernel does not let go would keep OTP's; after ten seconds the supervisor says that it is stuck.
    ///
    /// ```
    /// # use ms_supervisor::{ChildSpec, ThreadContext};
    /// # use std::time::Duration;
    /// let crunch = ChildSpec::thread("crunch", |thread: ThreadContext| {
    ///     while !thread.wait_for_shutdown(Duration::from_millis(10)) {
    ///         // A piece of work.
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn thread<F>(id: &str, run: F) -> Self
    where
        F: Fn(ThreadContext) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        let run = Arc::new(run);
        Self::worker(id, move |life| {
            let run = run.clone();
            start_thread(life, move |context| run(context))
        })
    }

    /// An OS process. It is up when it is executed; exit code 0 is a normal end.
    #[must_use]
    pub fn process(id: &str, process: ProcessSpec) -> Self {
        Self::worker(id, move |life| start_process(life, process.clone()))
    }

    /// Another supervisor. It is up when all its children are; it is permanent, and has as long to stop as it takes.
    #[must_use]
    pub fn supervisor(id: &str, supervisor: SupervisorSpec) -> Self {
        let fault = supervisor.check().err();
        Self::nested(id, Nested::new(move |home| Ok(supervisor.clone().into_parts(home))), fault)
    }

    /// The same, of a specification that `init` makes for each incarnation (OTP's `init/1`). An error, a panic or a faulty specification is
    /// a failed start; [`Ignore`](super::Ignore) leaves it without a process.
    pub fn supervisor_with<F>(id: &str, init: F) -> Self
    where
        F: Fn() -> Result<SupervisorSpec, BoxError> + Send + Sync + 'static,
    {
        let make = move |home: &Arc<Home>| {
            let supervisor = init()?;
            supervisor.check()?;
            Ok(supervisor.into_parts(home))
        };
        Self::nested(id, Nested::new(make), None)
    }

    /// A supervisor whose children are started on request, through `supervisor`, which stays valid when it is restarted.
    #[must_use]
    pub fn dynamic<A: Send + 'static>(id: &str, supervisor: &DynamicSupervisor<A>) -> Self {
        Self::nested(id, supervisor.nested(), supervisor.check().err())
    }

    /// A supervisor of several actors of the same kind.
    #[must_use]
    pub fn partitions<M: ractor::Message>(partitions: &Partitions<M>) -> Self {
        Self::supervisor(partitions.id(), partitions.supervisor())
    }

    fn worker(id: &str, start: impl Fn(Incarnation) -> Begun + Send + Sync + 'static) -> Self {
        Self { spec: Spec::worker(id), body: Body::Owned(Foreign::new(Arc::new(start))), fault: None, probes: Vec::new() }
    }

    fn nested(id: &str, nested: Nested, fault: Option<SpecError>) -> Self {
        Self { spec: Spec::supervisor(id), body: Body::Supervisor(nested), fault, probes: Vec::new() }
    }

    /// Has it asked whether it is well; may be called several times. Only workers can be probed: a supervisor is as well as its children.
    #[must_use]
    pub fn probe(mut self, probe: Probe) -> Self {
        match self.body {
            Body::Owned(_) => self.probes.push(probe),
            Body::Supervisor(_) => self.fault = Some(SpecError::ProbedSupervisor(self.spec.id.clone())),
        }
        self
    }

    /// When it is started again. Default: permanent.
    #[must_use]
    pub const fn restart(mut self, restart: RestartType) -> Self {
        self.spec.restart = restart;
        self
    }

    /// How long it may take to end when asked. Default: 5 seconds for a worker, infinity for a supervisor.
    ///
    /// A supervisor that is killed for being late kills its workers; the supervisors below it stop theirs in order, as in OTP, and it is
    /// waited for. Only [`SupervisorRef::stop_within`](super::SupervisorRef::stop_within) keeps a deadline for a whole tree.
    #[must_use]
    pub const fn shutdown(mut self, shutdown: ShutdownTimeout) -> Self {
        self.spec.shutdown = shutdown;
        self
    }

    /// Whether its end may end its supervisor: see [`SupervisorSpec::auto_shutdown`]. Default: no. Permanent children cannot be
    /// significant.
    #[must_use]
    pub const fn significant(mut self, significant: bool) -> Self {
        self.spec.significant = significant;
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.spec.id
    }

    /// What its supervisor needs of it.
    pub(super) fn into_child(self, home: &Arc<Home>) -> NewChild {
        let place = Place { home: home.clone(), id: self.spec.id.clone() };
        let host: Box<dyn Host> = match self.body {
            Body::Owned(start) if self.probes.is_empty() => Box::new(OwnedHost::new(start, place)),
            Body::Owned(start) => Box::new(OwnedHost::new(probed(start, self.probes, self.spec.shutdown), place)),
            Body::Supervisor(nested) => Box::new(SupervisorHost::new(nested, &place)),
        };
        (self.spec, host)
    }
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.spec.fmt(f)
    }
}

//! Specifications of supervisors.

use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorRef, ActorRuntime};
use tokio::sync::oneshot;

use super::child::ChildSpec;
use super::handle::{Home, SupervisorRef};
use super::report::{LibraryObserver, Reporter, SupervisorReport, Watcher};
use crate::actor::guard::{Foreign, guarded};
use crate::actor::supervisor::{Arguments, Msg, NewChild, SupervisorActor};
use crate::base::choice::Strategy;
use crate::base::exit::ExitReason;
use crate::policy::supervisor::{AutoShutdown, Flags, Input, SpecError, check};

/// A supervisor to be started.
///
/// # Rules
///
/// * Children start in the order they are given, each when the one before it is up, and stop in the reverse order.
/// * If one fails to start, those before it are stopped again, and the supervisor's own start has failed.
/// * A child that ends is started again as its [`restart`](ChildSpec::restart) type says. The [`Strategy`] says who else is concerned:
///   nobody (`OneForOne`), all others (`OneForAll`), or those after it (`RestForOne`). They are stopped in reverse order, then all of
///   them are started in order; temporary ones are forgotten.
/// * More than [`intensity`](Self::intensity) restarts within the period are too many: the supervisor stops its children and ends with
///   reason shutdown, and its own supervisor decides. Default: 1 restart in 5 seconds. However many siblings restart with a child,
///   one restart is counted; one more is for each retry of a start that failed.
/// * While children start and stop the supervisor serves nothing else; what is asked of it meanwhile waits.
///
/// These are OTP's rules, shown by running both. What differs: the window of the intensity is exact (OTP counts whole seconds), and a
/// supervisor that was killed ends when its subtree has, so that a successor never meets it.
///
/// # Warnings
///
/// * A child that fails at once, always, uses up the intensity in no time. There is no back-off here, as in OTP: if it is the
///   outside world that fails, let the child retry, and be up.
/// * Dropping the handle does not stop the tree.
///
/// ```
/// use std::time::Duration;
/// use ms_supervisor::{ChildSpec, Strategy, SupervisorSpec, TaskContext};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// async fn run(task: TaskContext) -> Result<(), ms_supervisor::BoxError> {
///     task.shutdown_requested().await;
///     Ok(())
/// }
/// let messaging = SupervisorSpec::new(Strategy::RestForOne).child(ChildSpec::task("bus", run)).child(ChildSpec::task("relay", run));
/// let root = SupervisorSpec::new(Strategy::OneForOne)
///     .intensity(3, Duration::from_secs(10))
///     .child(ChildSpec::supervisor("messaging", messaging))
///     .child(ChildSpec::task("clock", run))
///     .start()
///     .await?;
/// assert_eq!(root.count_children().await?.active, 2);
/// root.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SupervisorSpec {
    name: Arc<str>,
    flags: Flags,
    children: Vec<ChildSpec>,
    watcher: Option<Watcher>,
}

impl std::fmt::Debug for SupervisorSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, flags, children, watcher: _ } = self;
        f.debug_struct("SupervisorSpec").field("name", name).field("flags", flags).field("children", children).finish_non_exhaustive()
    }
}

impl SupervisorSpec {
    /// A supervisor without children.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { name: "root".into(), flags: Flags::otp(strategy), children: Vec::new(), watcher: None }
    }

    /// What the supervisor is called in reports and spans when it is a root; below another it goes by its id there. Default: `root`.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Tolerates `restarts` restarts within `period`; one more, and the supervisor stops its children and ends. Default: 1 within 5
    /// seconds; 0 tolerates none.
    #[must_use]
    pub const fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.flags.intensity = restarts;
        self.flags.period = period;
        self
    }

    /// Ends with reason shutdown when significant children have ended by themselves and are not started again. Default: never.
    #[must_use]
    pub const fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.flags.auto_shutdown = auto_shutdown;
        self
    }

    /// Appends a child. Children start in this order and stop in its reverse.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Appends children.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = ChildSpec>) -> Self {
        self.children.extend(children);
        self
    }

    /// Tells `watcher` at once whatever happens in the tree, from its first start on. To be set on the root: supervisors below it tell the
    /// same one. It is called by the supervisor it hears of, which waits until it returns: a `watcher` that blocks blocks the tree. One
    /// that panics is said in the log (`tracing`), and is told what happens next all the same.
    /// [`SupervisorRef::subscribe`] is for all others.
    #[must_use]
    pub fn observe(mut self, watcher: impl Fn(&SupervisorReport) + Send + Sync + 'static) -> Self {
        self.watcher = Some(Foreign::new(Arc::new(watcher)));
        self
    }

    /// Whether it could be started, without starting anything.
    ///
    /// # Errors
    /// The first fault found, of this supervisor or of one below it.
    pub fn check(&self) -> Result<(), SpecError> {
        if let Some(fault) = self.children.iter().find_map(|child| child.fault.clone()) {
            return Err(fault);
        }
        check(&self.flags, self.children.iter().map(|child| &child.spec))
    }

    /// Starts the tree. Returns when every child is up.
    ///
    /// Dropping the handle does not stop the tree: [`SupervisorRef::stop`] does. Giving up on the start does: if what this returns is
    /// dropped before the tree is up (`timeout`, `select!`), the tree is stopped. What is up then is stopped in reverse order, with
    /// its shutdown time; what is just starting is killed. Nobody waits for that; who needs to know subscribes by
    /// [`SupervisorSpec::observe`].
    ///
    /// # Errors
    /// The specification is faulty, the runtime has no timers, or a child's start failed; those started before it have been stopped
    /// again, in reverse order.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(self) -> Result<SupervisorRef, StartError> {
        self.check()?;
        let (up, is_up) = oneshot::channel();
        let (observer, home) = LibraryObserver::new(self.name.clone(), Reporter::new(self.watcher.clone()), Some(up));
        let (flags, children) = self.into_parts(&home);
        let arguments =
            Arguments { flags, children, parent: None, observer: Box::new(observer), counted: Vec::new(), delay: Duration::ZERO };
        start_root(arguments, is_up, home).await
    }

    /// What its actor is made of.
    pub(super) fn into_parts(self, home: &Arc<Home>) -> (Flags, Vec<NewChild>) {
        (self.flags, self.children.into_iter().map(|child| child.into_child(home)).collect())
    }
}

/// Starts a root and waits until it is up.
pub(super) async fn start_root(arguments: Arguments, is_up: oneshot::Receiver<()>, home: Arc<Home>) -> Result<SupervisorRef, StartError> {
    // Outside a runtime this panics, as documented.
    let _runtime = tokio::runtime::Handle::current();
    if guarded(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
        return Err(StartError::NoTimers);
    }
    let (actor, _) =
        ActorRuntime::spawn_instant(None, SupervisorActor, arguments).map_err(|error| StartError::Child(ExitReason::error(error)))?;
    let mut starting = Starting { actor: Some(&actor) };
    let up = is_up.await;
    starting.actor = None;
    drop(starting);
    let root = SupervisorRef { actor, home };
    match up {
        Ok(()) => Ok(root),
        Err(_) => Err(StartError::Child(root.wait().await)),
    }
}

/// A tree that somebody waits for. Dropped, nobody does any more.
struct Starting<'a> {
    actor: Option<&'a ActorRef<Msg>>,
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        if let Some(actor) = self.actor {
            // One that is gone already has stopped everything.
            drop(actor.cast(Msg::Input(Input::Abandon)));
        }
    }
}

/// Why a tree did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The specification is faulty.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The runtime has no timers, without which no shutdown time can be kept: build it with `enable_time` or `enable_all`.
    #[error("the tokio runtime has no timers: build it with `enable_time`")]
    NoTimers,
    /// A child did not start; which one, and why.
    #[error("{}", remark(.0))]
    Child(ExitReason),
}

/// Of OTP's `{shutdown, {failed_to_start_child, …}}` the second part.
fn remark(reason: &ExitReason) -> &dyn std::fmt::Display {
    match reason {
        ExitReason::ShutdownWith(remark) => remark,
        other => other,
    }
}

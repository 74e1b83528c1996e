//! Supervisors whose children are started on request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::child::ChildSpec;
use super::handle::{ChildRef, SupervisorRef};
use super::nested::Nested;
use super::report::{LibraryObserver, Reporter, SupervisorReport, Watcher};
use super::spec::{StartError, start_root};
use crate::actor::guard::Foreign;
use crate::actor::supervisor::Arguments;
use crate::base::choice::Strategy;
use crate::base::exit::ExitReason;
use crate::policy::supervisor::{Flags, RequestError, SpecError, check};

/// The same handle leads to one supervisor only.
pub(super) const TWICE: &str = "the same DynamicSupervisor runs already: make another one";

/// A supervisor that starts without children; each is started on request, from a template and an argument.
///
/// It is OTP's `simple_one_for_one`, and Elixir's `DynamicSupervisor`: for connections, jobs, sessions, of which nobody knows
/// beforehand how many there will be.
///
/// # Rules
///
/// * Each child stands alone (one_for_one); the intensity is that of all of them together.
/// * Children have no ids here: they go by the [`ChildRef`] that started them. They cannot be restarted or deleted on request.
/// * A child that has ended and is not started again is forgotten, with its argument.
/// * All children are asked to stop at once, under one shutdown time each.
/// * What is started here is not there any more when this supervisor is restarted: whoever started it starts it again.
///
/// The handle is made first, then started, alone or as a child of another supervisor; it stays valid when that restarts it. While it runs,
/// starting it in a second place fails.
///
/// ```
/// use ms_supervisor::{ChildSpec, DynamicSupervisor, RestartType, Strategy, SupervisorSpec};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let jobs = DynamicSupervisor::new(|number: u32| {
///     let work = move |task: ms_supervisor::TaskContext| async move {
///         println!("job {number}");
///         task.shutdown_requested().await;
///         Ok(())
///     };
///     ChildSpec::task("job", work).restart(RestartType::Temporary)
/// })
/// .max_children(2);
///
/// let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::dynamic("jobs", &jobs)).start().await?;
/// let first = jobs.start_child(1).await?.expect("it does not refuse to run");
/// jobs.start_child(2).await?;
/// assert!(jobs.start_child(3).await.is_err(), "there are as many as there may be");
/// jobs.terminate_child(&first).await?;
/// jobs.start_child(3).await?;
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// A template that is given whole specifications is fine too: `DynamicSupervisor::new(|child: ChildSpec| child)`.
pub struct DynamicSupervisor<A> {
    template: Arc<dyn Fn(A) -> ChildSpec + Send + Sync>,
    flags: Flags,
    current: watch::Sender<Option<SupervisorRef>>,
}

impl<A> Clone for DynamicSupervisor<A> {
    fn clone(&self) -> Self {
        Self { template: self.template.clone(), flags: self.flags.clone(), current: self.current.clone() }
    }
}

impl<A> std::fmt::Debug for DynamicSupervisor<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamicSupervisor").field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl<A: Send + 'static> DynamicSupervisor<A> {
    /// A supervisor of children made from `template`, which is called once for each child.
    pub fn new(template: impl Fn(A) -> ChildSpec + Send + Sync + 'static) -> Self {
        let flags = Flags { dynamic: true, ..Flags::otp(Strategy::OneForOne) };
        Self { template: Arc::new(template), flags, current: watch::Sender::new(None) }
    }

    /// Tolerates `restarts` restarts within `period`. Default: 1 within 5 seconds.
    #[must_use]
    pub const fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.flags.intensity = restarts;
        self.flags.period = period;
        self
    }

    /// Refuses to start more children than this. One that waits for its restart counts. Default: no limit.
    #[must_use]
    pub const fn max_children(mut self, children: usize) -> Self {
        self.flags.max_children = Some(children);
        self
    }

    pub(super) fn check(&self) -> Result<(), SpecError> {
        check(&self.flags, [])
    }

    /// Starts it alone. To be started once at a time. If what this returns is dropped before it is up, it is stopped.
    ///
    /// # Errors
    /// It runs already, the period of its intensity is zero, or the runtime has no timers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(&self, name: &str) -> Result<SupervisorRef, StartError> {
        self.start_with(name, None).await
    }

    /// The same, and tells `watcher` of everything, as [`SupervisorSpec::observe`](super::SupervisorSpec::observe) does.
    ///
    /// # Errors
    /// As [`DynamicSupervisor::start`].
    pub async fn start_observed(
        &self,
        name: &str,
        watcher: impl Fn(&SupervisorReport) + Send + Sync + 'static,
    ) -> Result<SupervisorRef, StartError> {
        self.start_with(name, Some(Foreign::new(Arc::new(watcher)))).await
    }

    async fn start_with(&self, name: &str, watcher: Option<Watcher>) -> Result<SupervisorRef, StartError> {
        self.check()?;
        if self.get().is_some_and(|running| running.is_alive()) {
            return Err(StartError::Child(ExitReason::error(TWICE)));
        }
        let (up, is_up) = oneshot::channel();
        let (observer, home) = LibraryObserver::new(name.into(), Reporter::new(watcher), Some(up));
        let arguments = Arguments {
            flags: self.flags.clone(),
            children: Vec::new(),
            parent: None,
            observer: Box::new(observer),
            counted: Vec::new(),
            delay: Duration::ZERO,
        };
        let root = start_root(arguments, is_up, home).await?;
        self.current.send_replace(Some(root.clone()));
        Ok(root)
    }

    pub(super) fn nested(&self) -> Nested {
        let flags = self.flags.clone();
        Nested { current: Some(self.current.clone()), ..Nested::new(move |_| Ok((flags.clone(), Vec::new()))) }
    }

    /// The incarnation that runs, if one does.
    #[must_use]
    pub fn get(&self) -> Option<SupervisorRef> {
        self.current.borrow().clone()
    }

    /// Starts a child. `None`: its start said that there is nothing to run.
    ///
    /// # Errors
    /// The start failed, there are as many children as there may be, or the supervisor does not run.
    pub async fn start_child(&self, argument: A) -> Result<Option<ChildRef>, RequestError> {
        let supervisor = self.get().ok_or(RequestError::Terminating)?;
        supervisor.start_child((self.template)(argument)).await
    }

    /// Stops a child and forgets it; one that has ended already is no error. Returns when it has ended.
    ///
    /// # Errors
    /// The child is another supervisor's, or this supervisor does not run.
    pub async fn terminate_child(&self, child: &ChildRef) -> Result<(), RequestError> {
        let supervisor = self.get().ok_or(RequestError::Terminating)?;
        supervisor.terminate_child(child).await
    }
}

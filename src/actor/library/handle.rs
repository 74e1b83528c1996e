//! Handles on a running tree.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};

use super::child::ChildSpec;
use super::info::ChildInfo;
use super::report::{Reporter, Reports};
use super::spec::SupervisorSpec;
use crate::actor::orders::{Order, Orders};
use crate::actor::supervisor::{Answer, Msg};
use crate::base::exit::ExitReason;
use crate::policy::supervisor::{ChildCounts, Input, Reply, Request, RequestError, Run, Which};

/// What can be done to an incarnation from outside.
#[derive(Clone, Debug)]
pub(crate) enum ChildHandle {
    /// One that a task or a thread owns.
    Owned(Orders),
    /// A supervisor.
    Supervisor(SupervisorRef),
}

impl ChildHandle {
    pub(crate) fn is_alive(&self) -> bool {
        match self {
            Self::Owned(orders) => !orders.given(Order::Ended),
            Self::Supervisor(supervisor) => supervisor.is_alive(),
        }
    }
}

/// One incarnation of a child (OTP's pid): when the child is started again, that is another one.
#[derive(Clone, Debug)]
pub struct ChildRef {
    supervisor: ractor::ActorId,
    run: Run,
    handle: ChildHandle,
}

impl ChildRef {
    /// Counts the child's starts, from 1.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.run.incarnation
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.handle.is_alive()
    }

    /// Waits until it has ended.
    pub async fn wait(&self) {
        match &self.handle {
            ChildHandle::Owned(orders) => orders.wait(Order::Ended).await,
            ChildHandle::Supervisor(supervisor) => drop(supervisor.wait().await),
        }
    }

    /// Kills it, as OTP's `exit(Pid, kill)`: its supervisor then does what its restart type says.
    ///
    /// What can be killed, and when, [`ChildSpec`] says.
    pub fn kill(&self) {
        match &self.handle {
            ChildHandle::Owned(orders) => orders.give(Order::Kill),
            ChildHandle::Supervisor(supervisor) => supervisor.kill(),
        }
    }

    /// The handle on it, if it is a supervisor.
    #[must_use]
    pub fn as_supervisor(&self) -> Option<&SupervisorRef> {
        match &self.handle {
            ChildHandle::Owned(_) => None,
            ChildHandle::Supervisor(supervisor) => Some(supervisor),
        }
    }
}

/// A handle on a running supervisor. Dropping it changes nothing.
///
/// What is asked of a supervisor is served in the order of arrival, together with the ends of its children; while children start or
/// stop, it waits.
#[derive(Clone, Debug)]
pub struct SupervisorRef {
    pub(super) actor: ActorRef<Msg>,
    pub(super) home: Arc<Home>,
}

/// What all children of one incarnation of a supervisor have in common.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) path: Arc<str>,
    pub(super) reporter: Reporter,
    /// Why it ended, once it has.
    pub(super) end: watch::Receiver<Option<ExitReason>>,
}

impl SupervisorRef {
    /// Its path: its root's name and the ids below it, `root/messaging`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.home.path
    }

    /// Adds a child behind the others and starts it. `None`: its start said that there is nothing to run. Dropped before it returns, the
    /// child is started all the same.
    ///
    /// # Errors
    /// The specification is faulty, the id is taken, the start failed (the specification then is gone), or the supervisor is going down.
    pub async fn start_child(&self, child: ChildSpec) -> Result<Option<ChildRef>, RequestError> {
        if let Some(fault) = child.fault.clone() {
            return Err(fault.into());
        }
        let (spec, host) = child.into_child(&self.home);
        self.ask(|reply| Msg::Add(spec, host, reply)).await.map(|answer| self.child_of(answer))
    }

    /// Stops a child; its specification stays, unless it is temporary. Returns when it has ended. Not counted as a restart.
    ///
    /// Named by its id, or as the incarnation that is to end: one that has ended already is no error.
    ///
    /// # Errors
    /// There is no such child, or the supervisor is going down.
    pub async fn terminate_child(&self, child: impl Into<Child<'_>>) -> Result<(), RequestError> {
        let child = child.into();
        let which = match child {
            Child::Id(id) => Which::from(id),
            Child::Ref(child) if child.supervisor == self.actor.get_id() => Which::Run(child.run),
            Child::Ref(child) => return if child.is_alive() { Err(RequestError::NotFound) } else { Ok(()) },
        };
        match self.request(Request::Stop { child: which, hold: false }).await {
            Err(RequestError::NotFound) if matches!(child, Child::Ref(child) if !child.is_alive()) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Starts a child that does not run, in its old place. Returns when it is up. Not counted as a restart.
    ///
    /// # Errors
    /// There is no such child, it runs, it is just being restarted, its start failed, or the supervisor is going down.
    pub async fn restart_child(&self, id: &str) -> Result<Option<ChildRef>, RequestError> {
        self.request(Request::Start(id.into())).await.map(|answer| self.child_of(answer))
    }

    /// Drops the specification of a child that does not run.
    ///
    /// # Errors
    /// There is no such child, it runs, it is just being restarted, or the supervisor is going down.
    pub async fn delete_child(&self, id: &str) -> Result<(), RequestError> {
        self.request(Request::Delete(id.into())).await.map(drop)
    }

    /// The children in start order (OTP lists the newest first).
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, RequestError> {
        let Answer { reply: Reply::Children(children), handles } = self.request(Request::WhichChildren).await? else {
            return Err(RequestError::Terminating);
        };
        let info = |(view, handle): (crate::policy::supervisor::ChildView, Option<ChildHandle>)| {
            let child = self.child(Run { child: view.key, incarnation: view.incarnation }, handle);
            ChildInfo::new(&view, child)
        };
        Ok(children.into_iter().zip(handles).map(info).collect())
    }

    /// What there is to tell of one child, its specification included (OTP's `get_childspec` and `which_child` in one).
    ///
    /// # Errors
    /// There is no such child, or the supervisor is gone.
    pub async fn get_childspec(&self, child: impl Into<Child<'_>>) -> Result<ChildInfo, RequestError> {
        let which = match child.into() {
            Child::Id(id) => Which::from(id),
            Child::Ref(child) if child.supervisor == self.actor.get_id() => Which::Run(child.run),
            Child::Ref(_) => return Err(RequestError::NotFound),
        };
        match self.request(Request::WhichChild(which)).await? {
            Answer { reply: Reply::Child(view), mut handles } => {
                let child = self.child(Run { child: view.key, incarnation: view.incarnation }, handles.pop().flatten());
                Ok(ChildInfo::new(&view, child))
            }
            _ => Err(RequestError::NotFound),
        }
    }

    /// How many children there are.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub async fn count_children(&self) -> Result<ChildCounts, RequestError> {
        match self.request(Request::CountChildren).await?.reply {
            Reply::Counts(counts) => Ok(counts),
            _ => Err(RequestError::Terminating),
        }
    }

    /// Takes over new specifications while the children run on (OTP's code change). Children are matched by id: those that are new
    /// have no process until [`SupervisorRef::restart_child`] or a sibling's restart gives them one, those that are missing stay, behind
    /// the others; of those that run, the new specification holds from now on, what starts them from their next start on.
    ///
    /// # Errors
    /// The specification is faulty, or the supervisor is going down; nothing has changed then.
    pub async fn reload(&self, spec: SupervisorSpec) -> Result<(), RequestError> {
        spec.check()?;
        let (flags, children) = spec.into_parts(&self.home);
        self.ask(|reply| Msg::Change { flags, children, reply }).await.map(drop)
    }

    /// Tells what happens from now on in the whole tree this supervisor belongs to.
    #[must_use]
    pub fn subscribe(&self) -> Reports {
        self.home.reporter.subscribe()
    }

    /// Stops the tree in reverse start order and returns when nothing of it is left, with the reason it ended for.
    pub async fn stop(&self) -> ExitReason {
        self.stop_with(ExitReason::Shutdown).await
    }

    /// The same for another reason. Its children are asked to end with `shutdown` whatever it is.
    pub async fn stop_with(&self, reason: ExitReason) -> ExitReason {
        self.tell(Input::Shutdown(reason));
        self.wait().await
    }

    /// Stops the tree as [`SupervisorRef::stop`] does, for `deadline` at most; then kills what is left of it, in the supervisors below as
    /// well, whatever their shutdown times are, and waits for that. [`Duration::ZERO`] asks nobody.
    ///
    /// What cannot be killed, a thread or code that blocks, is waited for all the same, and called stuck after ten seconds. Dropped
    /// before it returns, this goes on stopping, without the deadline.
    pub async fn stop_within(&self, deadline: Duration) -> ExitReason {
        match tokio::time::timeout(deadline, self.stop()).await {
            Ok(reason) => reason,
            Err(_) => {
                self.tell(Input::KillTree);
                self.wait().await
            }
        }
    }

    /// Kills it: its workers die with it, the supervisors below stop what is theirs in order.
    pub fn kill(&self) {
        self.tell(Input::Kill);
    }

    /// Waits until the supervisor has ended, and nothing of it is left.
    pub async fn wait(&self) -> ExitReason {
        let mut end = self.home.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(ExitReason::Killed),
            Err(_) => ExitReason::Killed,
        }
    }

    /// Whether it has not ended yet, in whatever way.
    pub(super) fn is_alive(&self) -> bool {
        // One that has died of a panic told no reason.
        self.home.end.has_changed().is_ok() && self.home.end.borrow().is_none()
    }

    pub(super) fn tell(&self, input: Input) {
        // If it is gone already, nothing is to be done.
        drop(self.actor.cast(Msg::Input(input)));
    }

    fn child(&self, run: Run, handle: Option<ChildHandle>) -> Option<ChildRef> {
        Some(ChildRef { supervisor: self.actor.get_id(), run, handle: handle? })
    }

    fn child_of(&self, mut answer: Answer) -> Option<ChildRef> {
        match answer.reply {
            Reply::Started(run) => self.child(run, answer.handles.pop().flatten()),
            _ => None,
        }
    }

    async fn request(&self, request: Request) -> Result<Answer, RequestError> {
        self.ask(|reply| Msg::Request(request, reply)).await
    }

    async fn ask(&self, message: impl FnOnce(oneshot::Sender<Answer>) -> Msg) -> Result<Answer, RequestError> {
        let (sender, answer) = oneshot::channel();
        self.actor.cast(message(sender)).map_err(|_| RequestError::Terminating)?;
        match answer.await {
            Ok(Answer { reply: Reply::Error(error), .. }) => Err(error),
            Ok(answer) => Ok(answer),
            Err(_) => Err(RequestError::Terminating),
        }
    }
}

/// Whom a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Child<'a> {
    /// The child with this id.
    Id(&'a str),
    /// This incarnation.
    Ref(&'a ChildRef),
}

impl<'a> From<&'a str> for Child<'a> {
    fn from(id: &'a str) -> Self {
        Self::Id(id)
    }
}

impl<'a> From<&'a ChildRef> for Child<'a> {
    fn from(child: &'a ChildRef) -> Self {
        Self::Ref(child)
    }
}

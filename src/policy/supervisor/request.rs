//! What people and programs may ask of a supervisor.

use std::sync::Arc;

use super::child::{ChildKey, ChildSpec, ChildView, Goal, Standing};
use super::core::Supervisor;
use super::spec::{SpecError, check_child};
use super::{Effect, Flags, Run, StartCause};
use crate::base::choice::RestartType;
use crate::base::exit::ExitReason;

/// Pairs an answer with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Whom a request is about. Looked up when the request is served, not when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The child with this id.
    Id(Arc<str>),
    /// The child whose latest incarnation that was up is this one.
    Run(Run),
}

impl From<&str> for Which {
    fn from(id: &str) -> Self {
        Self::Id(id.into())
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Append a child and start it (OTP's `start_child`). Answered when it is up; if its start fails, its specification goes.
    Add(ChildSpec),
    /// Start a child that does not run (OTP's `restart_child`); it is not held any more. Answered when it is up.
    Start(Which),
    /// Stop a child (OTP's `terminate_child`) and, if `hold`, keep it stopped whatever its siblings do. Answered when it is down.
    Stop {
        /// Which one.
        child: Which,
        /// Whether its siblings' restarts leave it alone from now on.
        hold: bool,
    },
    /// Stop a child if it runs and start it. Not counted as a restart. Answered when it is up.
    Restart(Which),
    /// Drop the specification of a child that does not run (OTP's `delete_child`).
    Delete(Which),
    /// List the children.
    WhichChildren,
    /// Tell of one child.
    WhichChild(Which),
    /// Count the children.
    CountChildren,
    /// Take over new flags and specifications without starting or stopping anything (OTP's code change): children are matched
    /// by id, new ones have no process yet, missing ones stay, behind the others.
    Change {
        /// The flags from now on.
        flags: Flags,
        /// The children from now on, in start order.
        children: Vec<ChildSpec>,
    },
    /// Take over new flags and specifications: children are matched by id; new ones start, missing ones stop and go,
    /// those named in `restart` are restarted, all others run on.
    Reload {
        /// The flags from now on.
        flags: Flags,
        /// The children from now on, in start order.
        children: Vec<ChildSpec>,
        /// The ids of those whose specification changed so that they must be restarted.
        restart: Vec<Arc<str>>,
    },
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The child is up.
    Started(Run),
    /// The child's start function said that there is nothing to run.
    Ignored,
    /// The child is down.
    Stopped,
    /// The specification is gone.
    Deleted,
    /// The children in start order.
    Children(Vec<ChildView>),
    /// The child.
    Child(ChildView),
    /// How many there are.
    Counts(ChildCounts),
    /// The new specifications hold. The keys of all children, in start order.
    Reloaded(Vec<(Arc<str>, ChildKey)>),
    /// It cannot be done.
    Error(RequestError),
}

/// How many children there are (OTP's `count_children`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildCounts {
    /// How many specifications: 1 for a dynamic supervisor.
    pub specs: usize,
    /// How many have a process; one that waits for its restart has none.
    pub active: usize,
    /// How many are supervisors, with a process or without.
    pub supervisors: usize,
    /// How many are workers, with a process or without.
    pub workers: usize,
}

/// Why a request cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The supervisor has no such child.
    NotFound,
    /// The child is already up or on its way.
    Running,
    /// The child's restart failed and is about to be tried again.
    Restarting,
    /// There is a child with this id, and it is up.
    AlreadyStarted(Run),
    /// There is a child with this id, without a process.
    AlreadyPresent,
    /// There are as many children as there may be.
    MaxChildren(usize),
    /// Children of a dynamic supervisor cannot be restarted or deleted on request: they have no specification of their own.
    Dynamic,
    /// The specification is faulty.
    Spec(SpecError),
    /// The supervisor is going down.
    Terminating,
    /// The start was tried and failed.
    StartFailed(ExitReason),
    /// Somebody else stopped the child meanwhile.
    Stopped,
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is no such child"),
            Self::Running => f.write_str("it is already running"),
            Self::Restarting => f.write_str("it is being restarted"),
            Self::AlreadyStarted(_) => f.write_str("a child with this id is already running"),
            Self::AlreadyPresent => f.write_str("a child with this id is already there, without a process; restart or delete it"),
            Self::MaxChildren(max) => write!(f, "there are already {max} children, and no more are allowed"),
            Self::Dynamic => f.write_str("a child of a dynamic supervisor cannot be restarted or deleted; start another"),
            Self::Spec(error) => error.fmt(f),
            Self::Terminating => f.write_str("its supervisor is going down"),
            Self::StartFailed(reason) => write!(f, "its start failed: {reason}"),
            Self::Stopped => f.write_str("somebody stopped it meanwhile"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<SpecError> for RequestError {
    fn from(error: SpecError) -> Self {
        Self::Spec(error)
    }
}

impl Supervisor {
    pub(super) fn request(&mut self, id: RequestId, request: Request, out: &mut Vec<Effect>) {
        let done = match request {
            Request::WhichChildren => Ok(Some(Reply::Children(self.children()))),
            Request::WhichChild(Which::Id(_)) if self.flags.dynamic => Err(RequestError::NotFound),
            Request::WhichChild(which) => self.resolve(&which).map(|key| Some(Reply::Child(self.children[&key].view()))),
            Request::CountChildren => Ok(Some(Reply::Counts(self.counts_of_children()))),
            _ if self.terminating() => Err(RequestError::Terminating),
            Request::Add(spec) => self.add_on_request(id, spec, out),
            Request::Start(which) => self.start_on_request(id, &which),
            Request::Restart(which) => self.restart_on_request(id, &which),
            Request::Stop { child, hold } => self.stop_on_request(id, &child, hold, out),
            Request::Delete(which) => self.delete(&which, out),
            Request::Change { flags, children } => self.change_specs(flags, children),
            Request::Reload { flags, children, restart } => Ok(Some(self.reload(flags, children, &restart, out))),
        };
        match done {
            // It is answered when it is done.
            Ok(None) => {}
            Ok(Some(reply)) => out.push(Effect::Reply(id, reply)),
            Err(error) => out.push(Effect::Reply(id, Reply::Error(error))),
        }
    }

    fn resolve(&self, which: &Which) -> Result<ChildKey, RequestError> {
        let key = match which {
            Which::Id(_) if self.flags.dynamic => return Err(RequestError::Dynamic),
            Which::Id(id) => self.ids.get(id).copied(),
            Which::Run(run) => self.children.get(&run.child).filter(|child| child.was_up == run.incarnation).map(|child| child.key),
        };
        key.ok_or(RequestError::NotFound)
    }

    /// The child, if it has neither a process nor the prospect of one.
    fn resting(&self, which: &Which) -> Result<ChildKey, RequestError> {
        if self.flags.dynamic {
            return Err(RequestError::Dynamic);
        }
        let key = self.resolve(which)?;
        match self.children[&key].standing {
            Standing::Up | Standing::Starting => Err(RequestError::Running),
            Standing::Restarting => Err(RequestError::Restarting),
            Standing::Down | Standing::Stopping => Ok(key),
        }
    }

    fn add_on_request(&mut self, id: RequestId, spec: ChildSpec, out: &mut Vec<Effect>) -> Result<Option<Reply>, RequestError> {
        check_child(&self.flags, &spec)?;
        if let Some(child) = self.ids.get(&spec.id).and_then(|key| self.children.get(key)) {
            let up = matches!(child.standing, Standing::Up | Standing::Starting);
            return Err(if up { RequestError::AlreadyStarted(child.run()) } else { RequestError::AlreadyPresent });
        }
        if let Some(max) = self.flags.max_children.filter(|max| self.children.len() >= *max) {
            return Err(RequestError::MaxChildren(max));
        }
        let key = self.add(spec);
        self.change(key, |child| child.fresh = true);
        out.push(Effect::Added(id, key));
        self.ask_up(id, key);
        Ok(None)
    }

    fn start_on_request(&mut self, id: RequestId, which: &Which) -> Result<Option<Reply>, RequestError> {
        let key = self.resting(which)?;
        self.ask_up(id, key);
        Ok(None)
    }

    fn restart_on_request(&mut self, id: RequestId, which: &Which) -> Result<Option<Reply>, RequestError> {
        let key = self.resolve(which)?;
        self.change(key, |child| child.cycle = matches!(child.standing, Standing::Up | Standing::Starting));
        self.ask_up(id, key);
        Ok(None)
    }

    fn stop_on_request(&mut self, id: RequestId, which: &Which, hold: bool, out: &mut Vec<Effect>) -> Result<Option<Reply>, RequestError> {
        let key = self.resolve(which)?;
        self.ask_down(id, key, hold, out);
        Ok(None)
    }

    fn delete(&mut self, which: &Which, out: &mut Vec<Effect>) -> Result<Option<Reply>, RequestError> {
        let key = self.resting(which)?;
        if self.children[&key].has_process() {
            return Err(RequestError::Running);
        }
        self.change(key, |child| child.goal = Goal::Remove);
        self.forget_if_removed(key, out);
        Ok(Some(Reply::Deleted))
    }

    fn counts_of_children(&self) -> ChildCounts {
        let supervisors = self.children.values().filter(|child| child.spec.supervisor).count();
        let specs = if self.flags.dynamic { 1 } else { self.children.len() };
        ChildCounts { specs, active: self.schedule.live.len(), supervisors, workers: self.children.len() - supervisors }
    }

    fn ask_up(&mut self, id: RequestId, key: ChildKey) {
        self.change(key, |child| {
            child.spec.held = false;
            child.gave_up = None;
            child.goal = Goal::Run;
            child.cause = StartCause::Request;
            child.free = true;
            child.on_up.push(id);
            if child.standing == Standing::Restarting {
                child.standing = Standing::Down;
                child.ended = None;
            }
        });
    }

    fn ask_down(&mut self, id: RequestId, key: ChildKey, hold: bool, out: &mut Vec<Effect>) {
        let temporary = self.children[&key].spec.restart == RestartType::Temporary;
        let gone = self.sequential() && (temporary || self.flags.dynamic);
        let waiting = self.change(key, |child| {
            child.spec.held |= hold;
            child.gave_up = None;
            if gone {
                child.goal = Goal::Remove;
            } else if child.goal == Goal::Run {
                child.goal = Goal::Rest;
            }
            if child.standing == Standing::Restarting {
                child.standing = Standing::Down;
                child.ended = None;
            }
            child.on_down.push(id);
            std::mem::take(&mut child.on_up)
        });
        super::core::reply_all(waiting, &Reply::Error(RequestError::Stopped), out);
        if !self.children[&key].has_process() {
            let waiting = self.change(key, |child| std::mem::take(&mut child.on_down));
            super::core::reply_all(waiting, &Reply::Stopped, out);
            self.forget_if_removed(key, out);
        }
    }
}

//! What people and programs may ask of a supervisor.

use std::sync::Arc;

use super::child::{ChildKey, ChildSpec, ChildView, Goal, Standing};
use super::core::Supervisor;
use super::{Effect, Flags, StartCause};
use crate::base::exit::ExitReason;

/// Pairs an answer with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Start a child that does not run (OTP's `restart_child`); it is not held any more. Answered when it is up.
    Start(ChildKey),
    /// Stop a child (OTP's `terminate_child`) and, if `hold`, keep it stopped whatever its siblings do. Answered when it is down.
    Stop {
        /// Which one.
        child: ChildKey,
        /// Whether its siblings' restarts leave it alone from now on.
        hold: bool,
    },
    /// Stop a child if it runs and start it. Not counted as a restart. Answered when it is up.
    Restart(ChildKey),
    /// List the children.
    WhichChildren,
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
    Started,
    /// The child's start function said that there is nothing to run.
    Ignored,
    /// The child is down.
    Stopped,
    /// The children in start order.
    Children(Vec<ChildView>),
    /// The new specifications hold. The keys of all children, in start order.
    Reloaded(Vec<(Arc<str>, ChildKey)>),
    /// It cannot be done.
    Error(RequestError),
}

/// Why a request cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The supervisor has no such child.
    NotFound,
    /// The child is already up or on its way.
    Running,
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
            Self::Terminating => f.write_str("its supervisor is going down"),
            Self::StartFailed(reason) => write!(f, "its start failed: {reason}"),
            Self::Stopped => f.write_str("somebody stopped it meanwhile"),
        }
    }
}

impl std::error::Error for RequestError {}

impl Supervisor {
    pub(super) fn request(&mut self, id: RequestId, request: Request, out: &mut Vec<Effect>) {
        let refuse = |error, out: &mut Vec<Effect>| out.push(Effect::Reply(id, Reply::Error(error)));
        let unknown = match &request {
            Request::Start(child) | Request::Stop { child, .. } | Request::Restart(child) => !self.children.contains_key(child),
            Request::WhichChildren | Request::Reload { .. } => false,
        };
        if unknown {
            return refuse(RequestError::NotFound, out);
        }
        match request {
            Request::WhichChildren => out.push(Effect::Reply(id, Reply::Children(self.children()))),
            _ if self.terminating() => refuse(RequestError::Terminating, out),
            Request::Start(child) => match self.children[&child].standing {
                Standing::Up | Standing::Starting | Standing::Restarting => refuse(RequestError::Running, out),
                Standing::Down | Standing::Stopping => self.ask_up(id, child),
            },
            Request::Restart(child) => {
                self.change(child, |child| child.cycle = matches!(child.standing, Standing::Up | Standing::Starting));
                self.ask_up(id, child);
            }
            Request::Stop { child, hold } => self.ask_down(id, child, hold, out),
            Request::Reload { flags, children, restart } => self.reload(id, flags, children, &restart, out),
        }
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
            }
        });
    }

    fn ask_down(&mut self, id: RequestId, key: ChildKey, hold: bool, out: &mut Vec<Effect>) {
        let waiting = self.change(key, |child| {
            child.spec.held |= hold;
            child.gave_up = None;
            if child.goal == Goal::Run {
                child.goal = Goal::Rest;
            }
            if child.standing == Standing::Restarting {
                child.standing = Standing::Down;
            }
            child.on_down.push(id);
            std::mem::take(&mut child.on_up)
        });
        super::core::reply_all(waiting, &Reply::Error(RequestError::Stopped), out);
        if !self.children[&key].has_process() {
            let waiting = self.change(key, |child| std::mem::take(&mut child.on_down));
            super::core::reply_all(waiting, &Reply::Stopped, out);
        }
    }
}

//! Who speaks on the control socket, and what they may: by the user, and by the process.
//!
//! The user alone does not tell: units often run as the daemon's own, however they are walled in. So whoever is inside of a unit commands nothing
//! but what that unit `may_command`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Node;
use super::refusal::Refusal;
use super::routes::App;
use crate::actor::program::Programs;
use crate::base::choice::Choice as _;
use crate::base::command::Command;
use crate::base::id::UnitId;
use crate::event::Event;
use crate::os::peer::{Caller, Household, Whose};
use crate::plan::Plan;

/// How long the body of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest body of a request, in bytes.
const BODY_MAX: usize = 2 << 20;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) uid: u32,
    pub(super) whose: Whose,
}

/// Who asks, as far as handlers need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    /// The unit it is a process of.
    pub(super) unit: Option<UnitId>,
    /// Whether it sees what is hidden from those who may only read.
    pub(super) sees_all: bool,
    /// Whether it may give signs of life for others than itself.
    pub(super) beats_for_all: bool,
}

impl Peer {
    /// What it asks for, as it is told.
    pub(super) fn asked(&self, command: &str, target: &str) -> Event {
        Event::CommandReceived { command: command.into(), target: target.into(), uid: self.uid, by: self.unit.clone() }
    }
}

impl Origin {
    /// Looks who has connected.
    pub(super) fn of(caller: &Caller, node: &Node) -> Self {
        let whose = match caller.whose(&household(node)) {
            // An operator has laid down the scripts of remedies, outside of any unit.
            Whose::Unit(name) if Programs::is_remedy(&name) => Whose::Outside,
            // A probe is a command of its unit, which is not known here.
            Whose::Unit(name) if Programs::is_one(&name) => Whose::Somebody,
            whose => whose,
        };
        Self { uid: caller.uid, whose }
    }

    /// Root and the daemon's own user may command, from outside of all units.
    pub(super) fn is_trusted(&self) -> bool {
        self.is_owner() && self.whose == Whose::Outside
    }

    /// It is no process of a unit.
    pub(super) fn is_outside(&self) -> bool {
        self.whose == Whose::Outside
    }

    fn is_owner(&self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }

    fn peer(&self, plan: &Plan) -> Peer {
        let unit = if let Whose::Unit(unit) = &self.whose { Some(unit.clone()) } else { None };
        Peer {
            uid: self.uid,
            unit,
            sees_all: self.may(Command::All, plan).is_ok(),
            beats_for_all: self.may(Command::Heartbeat, plan).is_ok(),
        }
    }

    /// Whether it may give this command.
    fn may(&self, command: Command, plan: &Plan) -> Result<(), Refusal> {
        let refuse = |why: String| Refusal::new(StatusCode::FORBIDDEN, "not_permitted", why);
        if !self.is_owner() {
            let help = "commands are for root and for the user the daemon runs as";
            return Err(refuse(format!("user {} may only read here", self.uid)).help(help));
        }
        match &self.whose {
            Whose::Outside => Ok(()),
            Whose::Unit(unit) => {
                let allowed = plan.units.get(unit).map(|unit| &unit.may_command);
                if allowed.is_some_and(|allowed| allowed.contains(&command) || allowed.contains(&Command::All)) {
                    return Ok(());
                }
                let help = format!("if it is meant to, write `may_command: [{command}]` in the unit; else ask from outside of it");
                Err(refuse(format!("a process of the unit {unit} may not command `{command}` here")).help(help))
            }
            Whose::Somebody => {
                let why = "a process that the daemon has started, and of which it is not known whose it is, may only read here";
                Err(refuse(why.into()).help("ask from outside of all units"))
            }
            Whose::Unknown => {
                let why = "whoever asks may only read here: the process that made the connection has ended, or hides below too many others";
                Err(refuse(why.into()).help("let the process that connects wait for the answer"))
            }
        }
    }
}

/// Lets through what may be done; handlers are told who asks.
pub(super) async fn authorise(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(origin) = request.extensions().get::<Arc<Origin>>().cloned() else {
        return Refusal::internal("it is not known who asks").into_response();
    };
    let plan = app.node.tree.plan();
    let peer = origin.peer(&plan);
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let command = command_of(request.uri().path());
        // A sign of life for itself is no command; the handler sees for whom it is.
        let is_beat = command == Command::Heartbeat && peer.unit.is_some() && origin.is_owner();
        if let Err(refusal) = origin.may(command, &plan)
            && !is_beat
        {
            return refusal.into_response();
        }
    }
    request.extensions_mut().insert(peer);
    match whole(request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The request with its whole body, which is not waited for longer than this.
async fn whole(request: Request) -> Result<Request, Refusal> {
    let (head, body) = request.into_parts();
    let read = tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY_MAX)).await;
    let bytes = read
        .map_err(|_late| Refusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body of the request did not come in time"))?
        .map_err(|fault| Refusal::bad_request(format!("the body of the request cannot be read: {fault}")))?;
    Ok(Request::from_parts(head, bytes.into()))
}

/// What is commanded at this path. What is not known takes the right to do everything.
fn command_of(path: &str) -> Command {
    match path.strip_prefix("/v1/") {
        Some("overrides") => Command::Set,
        Some(word) => Command::from_word(word).unwrap_or(Command::All),
        None => Command::All,
    }
}

/// Where the processes of units and programs are.
fn household(node: &Node) -> Household {
    let mut mains: BTreeMap<u32, UnitId> = node.context.programs.processes();
    node.context.view.each_unit(|unit| {
        if let (Some(pid), false) = (unit.pid, unit.watch.is_some()) {
            mains.insert(pid, unit.unit.clone());
        }
    });
    Household { launcher: node.launcher_pid, cgroups: node.cgroup_name.clone(), mains }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan_of;

    #[test]
    fn only_root_and_the_own_user_command_and_only_from_outside() {
        let plan = plan_of(&[(
            "units/a.yaml",
            "unit: a\nexec: x\n---\nunit: b\nexec: x\nmay_command: [start, stop]\n---\nunit: c\nexec: x\nmay_command: all\n",
        )]);
        let own = rustix::process::geteuid().as_raw();
        let may = |uid, whose: &Whose, command| Origin { uid, whose: whose.clone() }.may(command, &plan).is_ok();
        let unit = |name: &str| Whose::Unit(name.into());
        for (whose, can) in [
            (Whose::Outside, [true; 3]),
            (Whose::Somebody, [false; 3]),
            (Whose::Unknown, [false; 3]),
            (unit("a"), [false; 3]),
            (unit("b"), [true, false, false]),
            (unit("c"), [true; 3]),
            (unit("gone"), [false; 3]),
        ] {
            for (command, can) in [Command::Start, Command::Upgrade, Command::All].into_iter().zip(can) {
                assert_eq!((may(0, &whose, command), may(own, &whose, command)), (can, can), "{whose:?} {command}");
                assert!(!may(own + 1, &whose, command), "{whose:?} {command}");
            }
        }
    }

    #[test]
    fn every_path_is_a_command() {
        let check = |path, command| assert_eq!(command_of(path), command, "{path}");
        check("/v1/stop", Command::Stop);
        check("/v1/overrides", Command::Set);
        for path in ["/v1/stop/", "/v1/%73top", "/v1/all", "/v1/status", "/stop", ""] {
            check(path, Command::All);
        }
    }
}

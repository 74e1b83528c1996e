//! Carries the supervisor machine: one actor for the daemon's own children, for the users' units and for the library.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tracing::{Instrument as _, Span};

use super::driver::Driver;
use super::guard::{complain, guarded};
use super::library::ChildHandle;
use crate::base::exit::ExitReason;
use crate::base::time::Mono;
use crate::policy::supervisor::{
    ChildKey, ChildSpec, Effect, Flags, Input, Reply, Report, Request, RequestId, Run, StartCause, Supervisor,
};

/// After how many effects in a row the supervisor lets others run.
const PAUSE: usize = 128;

/// Something a supervisor can start and stop. Every call returns at once; what becomes of it is told through the [`Port`].
pub(crate) trait Host: Send + 'static {
    /// Start a new incarnation. Unless it is [`Begun::Up`] already, the port gets `started`, `ignored`, `start_failed` or `exited`;
    /// and `exited` once after it was up.
    fn start(&mut self, cause: StartCause, port: Port) -> Begun;
    /// Ask the incarnation to end; a supervisor is to end for this reason.
    fn stop(&mut self, reason: &ExitReason);
    /// End the incarnation without asking.
    fn kill(&mut self);
    /// Pass on what a supervisor was told that concerns the supervisors below it, if it is one.
    fn pass_on(&mut self, _input: Input) {}
    /// What users of the library may hold of the incarnation.
    fn handle(&self) -> Option<ChildHandle> {
        None
    }
}

/// How far a start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is up.
    Up,
    /// The port will tell.
    Later,
}

/// Where one incarnation of a child tells its supervisor what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    supervisor: ActorRef<Msg>,
    run: Run,
}

impl Port {
    /// The supervisor.
    pub(crate) const fn supervisor(&self) -> &ActorRef<Msg> {
        &self.supervisor
    }

    /// It is up.
    pub(crate) fn started(&self) {
        self.tell(Input::Started(self.run));
    }

    /// There is nothing to run.
    pub(crate) fn ignored(&self) {
        self.tell(Input::Ignored(self.run));
    }

    /// Its start has failed.
    pub(crate) fn start_failed(&self, reason: ExitReason) {
        self.tell(Input::StartFailed(self.run, reason));
    }

    /// It has ended and nothing of it is left.
    pub(crate) fn exited(&self, reason: ExitReason) {
        self.tell(Input::Exited(self.run, reason));
    }

    fn tell(&self, input: Input) {
        // A supervisor that is gone has no use for it.
        drop(self.supervisor.cast(Msg::Input(input)));
    }
}

/// Who wants to know what a supervisor does.
pub(crate) trait Observer: Send + 'static {
    /// It reports something.
    fn report(&mut self, report: Report);
    /// All its children are up.
    fn up(&mut self);
    /// It ends.
    fn terminated(&mut self, reason: &ExitReason);
    /// These restarts count against its intensity now, the latest first.
    fn counted(&mut self, _restarts: &mut dyn Iterator<Item = Mono>) {}
    /// The span of what it does itself.
    fn span(&self) -> Span {
        Span::none()
    }
}

/// What a supervisor actor hears.
pub(crate) enum Msg {
    /// For the machine.
    Input(Input),
    /// A request, and where its answer goes.
    Request(Request, oneshot::Sender<Answer>),
    /// A request to add this child.
    Add(ChildSpec, Box<dyn Host>, oneshot::Sender<Answer>),
    /// New flags and children. Hosts are taken for children that are new.
    #[cfg(feature = "daemon")]
    Reload { flags: Flags, children: Vec<NewChild>, restart: Vec<Arc<str>>, reply: oneshot::Sender<Answer> },
    /// The same without starting or stopping anything; the hosts are all new, and serve from the next start on.
    Change { flags: Flags, children: Vec<NewChild>, reply: oneshot::Sender<Answer> },
    /// The machine's deadline may have passed.
    Wake,
}

/// The answer to a request, with the handles of the children it names, in the same order.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) handles: Vec<Option<ChildHandle>>,
}

/// A child with what starts it.
pub(crate) type NewChild = (ChildSpec, Box<dyn Host>);

/// What a supervisor actor is made of.
pub(crate) struct Arguments {
    pub(crate) flags: Flags,
    pub(crate) children: Vec<NewChild>,
    pub(crate) parent: Option<Port>,
    pub(crate) observer: Box<dyn Observer>,
    /// Restarts that count against it already: it goes on where another brain stood.
    pub(crate) counted: Vec<Mono>,
    /// It begins so much later. It may be stopped meanwhile.
    pub(crate) delay: Duration,
}

/// The actor.
pub(crate) struct SupervisorActor;

/// The actor's state.
pub(crate) struct State {
    driver: Driver<Supervisor>,
    hosts: BTreeMap<ChildKey, Box<dyn Host>>,
    parent: Option<Port>,
    observer: Box<dyn Observer>,
    replies: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    next_request: u64,
    /// Hosts of children that requests bring, until the machine has named them.
    new_hosts: BTreeMap<RequestId, NewHosts>,
    /// The latest restart the observer was told of.
    counted: Option<Mono>,
    /// Entered for whatever it does. ractor enters the span in which a message was sent, which is that of a child that has ended: in
    /// there each incarnation would begin within the one before.
    span: Span,
}

enum NewHosts {
    One(Box<dyn Host>),
    /// `replace`: children that are known get the new host as well.
    Many {
        hosts: HostsById,
        replace: bool,
    },
}

type HostsById = BTreeMap<Arc<str>, Box<dyn Host>>;

impl Actor for SupervisorActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let (specs, hosts): (Vec<_>, Vec<(Arc<str>, _)>) =
            arguments.children.into_iter().map(|(spec, host)| (spec.clone(), (spec.id, host))).unzip();
        let machine = Supervisor::new(arguments.flags, specs).resumed(arguments.counted);
        // The machine has taken them in this order; a second one with the same id it has not.
        let mut taken = machine.keys().peekable();
        let hosts = hosts.into_iter().filter_map(|(id, host)| Some((taken.next_if(|(_, next)| **next == id)?.0, host))).collect();
        drop(taken);
        if arguments.delay.is_zero() {
            myself.cast(Msg::Input(Input::Start))?;
        } else {
            drop(myself.send_after(arguments.delay, || Msg::Input(Input::Start)));
        }
        let span = arguments.observer.span();
        Ok(State {
            driver: Driver::new(machine),
            hosts,
            parent: arguments.parent,
            observer: arguments.observer,
            replies: BTreeMap::new(),
            next_request: 0,
            new_hosts: BTreeMap::new(),
            counted: None,
            span,
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let span = state.span.clone();
        state.serve(&myself, message).instrument(span).await;
        Ok(())
    }
}

impl State {
    async fn serve(&mut self, myself: &ActorRef<Msg>, message: Msg) {
        let mut effects = VecDeque::from(self.hear(message));
        let mut carried_out = 0;
        while let Some(effect) = effects.pop_front() {
            if let Some(input) = self.carry_out(myself, effect) {
                effects.extend(self.driver.step(input));
            }
            carried_out += 1;
            if carried_out % PAUSE == 0 {
                tokio::task::yield_now().await;
            }
        }
        let latest = self.driver.machine.counted().next();
        if latest != self.counted {
            self.counted = latest;
            let mut counted = self.driver.machine.counted();
            observed(guarded(|| self.observer.counted(&mut counted)));
        }
        self.driver.arm(myself, || Msg::Wake);
    }

    fn hear(&mut self, message: Msg) -> Vec<Effect> {
        match message {
            Msg::Input(input) => self.driver.step(input),
            Msg::Wake => self.driver.wake(),
            Msg::Request(request, reply) => self.ask(request, None, reply),
            Msg::Add(spec, host, reply) => self.ask(Request::Add(spec), Some(NewHosts::One(host)), reply),
            #[cfg(feature = "daemon")]
            Msg::Reload { flags, children, restart, reply } => {
                let (children, hosts) = apart(children);
                self.ask(Request::Reload { flags, children, restart }, Some(NewHosts::Many { hosts, replace: false }), reply)
            }
            Msg::Change { flags, children, reply } => {
                let (children, hosts) = apart(children);
                self.ask(Request::Change { flags, children }, Some(NewHosts::Many { hosts, replace: true }), reply)
            }
        }
    }

    fn ask(&mut self, request: Request, hosts: Option<NewHosts>, reply: oneshot::Sender<Answer>) -> Vec<Effect> {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.replies.insert(id, reply);
        if let Some(hosts) = hosts {
            self.new_hosts.insert(id, hosts);
        }
        let effects = self.driver.step(Input::Request(id, request));
        // A reload's new children need their hosts before their first start, which may stand before the answer.
        for effect in &effects {
            if let Effect::Reply(id, Reply::Reloaded(keys)) = effect {
                self.adopt(*id, keys);
            }
        }
        effects
    }

    fn adopt(&mut self, id: RequestId, keys: &[(Arc<str>, ChildKey)]) {
        let Some(NewHosts::Many { mut hosts, replace }) = self.new_hosts.remove(&id) else { return };
        for (name, key) in keys {
            let Some(host) = hosts.remove(name) else { continue };
            // What runs keeps the host it runs under: only that one can stop it.
            let runs = self.hosts.get(key).is_some_and(|host| host.handle().is_some_and(|handle| handle.is_alive()));
            if !self.hosts.contains_key(key) || (replace && !runs) {
                self.hosts.insert(*key, host);
            }
        }
    }

    /// Carries out an effect; what comes of it at once is the next input.
    fn carry_out(&mut self, myself: &ActorRef<Msg>, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Start(run, cause) => return self.start(myself, run, cause),
            Effect::Stop(run, reason) => self.host(run, |host| host.stop(&reason)),
            Effect::Kill(run) => self.host(run, |host| host.kill()),
            Effect::KillTree(run) => self.host(run, |host| host.pass_on(Input::KillTree)),
            Effect::Abandon(run) => self.host(run, |host| host.pass_on(Input::Abandon)),
            // To itself, as OTP's supervisor does: whatever it has been sent already comes first.
            Effect::Retry(run) => drop(myself.cast(Msg::Input(Input::Retry(run)))),
            Effect::Added(id, child) => {
                if let Some(NewHosts::One(host)) = self.new_hosts.remove(&id) {
                    self.hosts.insert(child, host);
                }
            }
            Effect::Forget(child) => drop(self.hosts.remove(&child)),
            Effect::Up => {
                self.observe(|observer| observer.up());
                if let Some(parent) = &self.parent {
                    parent.started();
                }
            }
            Effect::Reply(id, reply) => self.reply(id, reply),
            Effect::Report(report) => self.observe(|observer| observer.report(report)),
            Effect::Terminated(reason) => {
                self.observe(|observer| observer.terminated(&reason));
                if let Some(parent) = &self.parent {
                    parent.exited(reason);
                }
                myself.stop(None);
            }
        }
        None
    }

    /// Starts a child; what comes of it at once is the next input.
    fn start(&mut self, myself: &ActorRef<Msg>, run: Run, cause: StartCause) -> Option<Input> {
        let port = Port { supervisor: myself.clone(), run };
        let Some(host) = self.hosts.get_mut(&run.child) else {
            port.start_failed(ExitReason::error("there is nothing to start it with"));
            return None;
        };
        match guarded(|| host.start(cause, port.clone())) {
            Ok(Begun::Up) => return Some(Input::Started(run)),
            Ok(Begun::Later) => {}
            Err(reason) => {
                // Whatever has begun of it is not known to anybody.
                self.host(run, |host| host.kill());
                port.start_failed(reason);
            }
        }
        None
    }

    fn host(&mut self, run: Run, tell: impl FnOnce(&mut dyn Host)) {
        let Some(host) = self.hosts.get_mut(&run.child) else { return };
        if let Err(reason) = guarded(|| tell(&mut **host)) {
            complain("what stops a child", &reason);
        }
    }

    fn observe(&mut self, tell: impl FnOnce(&mut dyn Observer)) {
        observed(guarded(|| tell(&mut *self.observer)));
    }

    fn reply(&mut self, id: RequestId, reply: Reply) {
        if let Reply::Reloaded(keys) = &reply {
            self.adopt(id, keys);
        }
        self.new_hosts.remove(&id);
        let handle = |key: &ChildKey| self.hosts.get(key).and_then(|host| host.handle());
        let handles = match &reply {
            Reply::Started(run) => vec![handle(&run.child)],
            Reply::Children(children) => children.iter().map(|child| handle(&child.key)).collect(),
            Reply::Child(child) => vec![handle(&child.key)],
            _ => Vec::new(),
        };
        if let Some(asker) = self.replies.remove(&id) {
            // Whoever asked may have gone.
            drop(asker.send(Answer { reply, handles }));
        }
    }
}

fn observed(told: Result<(), ExitReason>) {
    if let Err(reason) = told {
        complain("what observes a supervisor", &reason);
    }
}

fn apart(children: Vec<NewChild>) -> (Vec<ChildSpec>, HostsById) {
    children.into_iter().map(|(spec, host)| (spec.clone(), (spec.id, host))).unzip()
}

//! Carries the supervisor machine: one actor for the daemon's own children, for the users' units and for the library.

use std::collections::BTreeMap;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

use super::driver::Driver;
use crate::base::exit::ExitReason;
use crate::policy::supervisor::{
    ChildKey, ChildSpec, Effect, Flags, Input, Reply, Report, Request, RequestError, RequestId, Run, StartCause, Supervisor,
};

/// Something a supervisor can start and stop. Every call returns at once; what becomes of it is told through the [`Port`].
pub(crate) trait Host: Send + 'static {
    /// Start a new incarnation. The port gets `started`, `start_failed` or `exited`, and `exited` once after `started`.
    fn start(&mut self, cause: StartCause, port: Port);
    /// Ask the incarnation to end.
    fn stop(&mut self);
    /// End the incarnation without asking.
    fn kill(&mut self);
}

/// Where one incarnation of a child tells its supervisor what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    supervisor: ActorRef<Msg>,
    run: Run,
}

impl Port {
    /// It is up.
    pub(crate) fn started(&self) {
        self.tell(Input::Started(self.run));
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
}

/// What a supervisor actor hears.
pub(crate) enum Msg {
    /// For the machine.
    Input(Input),
    /// A request by child id.
    Ask(String, Ask, oneshot::Sender<Reply>),
    /// List the children.
    WhichChildren(oneshot::Sender<Reply>),
    /// New flags and children. Hosts are taken for children that are new.
    Reload { flags: Flags, children: Vec<NewChild>, restart: Vec<Arc<str>>, reply: oneshot::Sender<Reply> },
    /// The machine's deadline may have passed.
    Wake,
}

/// What is asked of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Start it.
    Start,
    /// Stop it.
    Stop {
        /// Whether it stays stopped whatever its siblings do.
        hold: bool,
    },
    /// Stop it if it runs, and start it.
    Restart,
}

/// A child with what starts it.
pub(crate) type NewChild = (ChildSpec, Box<dyn Host>);

/// What a supervisor actor is made of.
pub(crate) struct Arguments {
    pub(crate) flags: Flags,
    pub(crate) children: Vec<NewChild>,
    pub(crate) parent: Option<Port>,
    pub(crate) observer: Box<dyn Observer>,
}

/// The actor.
pub(crate) struct SupervisorActor;

/// The actor's state.
pub(crate) struct State {
    driver: Driver<Supervisor>,
    hosts: BTreeMap<ChildKey, Box<dyn Host>>,
    parent: Option<Port>,
    observer: Box<dyn Observer>,
    replies: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    next_request: u64,
    /// Hosts of children a reload brings, until the machine has named them.
    new_hosts: BTreeMap<Arc<str>, Box<dyn Host>>,
}

impl Actor for SupervisorActor {
    type Msg = Msg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Msg>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let (specs, hosts): (Vec<_>, Vec<_>) = arguments.children.into_iter().map(|(spec, host)| (spec.clone(), (spec.id, host))).unzip();
        let machine = Supervisor::new(arguments.flags, specs);
        let hosts = hosts.into_iter().filter_map(|(id, host)| Some((machine.key(&id)?, host))).collect();
        myself.cast(Msg::Input(Input::Start))?;
        Ok(State {
            driver: Driver::new(machine),
            hosts,
            parent: arguments.parent,
            observer: arguments.observer,
            replies: BTreeMap::new(),
            next_request: 0,
            new_hosts: BTreeMap::new(),
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        let effects = match message {
            Msg::Input(input) => state.driver.step(input),
            Msg::Wake => state.driver.wake(),
            Msg::WhichChildren(reply) => state.ask(Request::WhichChildren, reply),
            Msg::Ask(id, ask, reply) => match state.driver.machine.key(&id) {
                None => {
                    // Whoever asked may have gone; so be it, here and below.
                    drop(reply.send(Reply::Error(RequestError::NotFound)));
                    Vec::new()
                }
                Some(child) => {
                    let request = match ask {
                        Ask::Start => Request::Start(child),
                        Ask::Stop { hold } => Request::Stop { child, hold },
                        Ask::Restart => Request::Restart(child),
                    };
                    state.ask(request, reply)
                }
            },
            Msg::Reload { flags, children, restart, reply } => {
                let mut specs = Vec::with_capacity(children.len());
                for (spec, host) in children {
                    state.new_hosts.insert(spec.id.clone(), host);
                    specs.push(spec);
                }
                state.ask(Request::Reload { flags, children: specs, restart }, reply)
            }
        };
        state.adopt_new_hosts(&effects);
        for effect in effects {
            state.carry_out(&myself, effect);
        }
        state.driver.arm(&myself, || Msg::Wake);
        Ok(())
    }
}

impl State {
    fn ask(&mut self, request: Request, reply: oneshot::Sender<Reply>) -> Vec<Effect> {
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.replies.insert(id, reply);
        self.driver.step(Input::Request(id, request))
    }

    /// A reload's new children need their hosts before their first start, which stands in the same list of effects.
    fn adopt_new_hosts(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Reply(_, Reply::Reloaded(keys)) = effect {
                for (id, key) in keys {
                    if let Some(host) = self.new_hosts.remove(id) {
                        self.hosts.entry(*key).or_insert(host);
                    }
                }
                self.new_hosts.clear();
            }
        }
    }

    fn carry_out(&mut self, myself: &ActorRef<Msg>, effect: Effect) {
        match effect {
            Effect::Start(run, cause) => {
                let port = Port { supervisor: myself.clone(), run };
                match self.hosts.get_mut(&run.child) {
                    Some(host) => host.start(cause, port),
                    None => port.start_failed(ExitReason::error("there is nothing to start it with")),
                }
            }
            Effect::Stop(run) => {
                if let Some(host) = self.hosts.get_mut(&run.child) {
                    host.stop();
                }
            }
            Effect::Kill(run) => {
                if let Some(host) = self.hosts.get_mut(&run.child) {
                    host.kill();
                }
            }
            Effect::Forget(child) => {
                self.hosts.remove(&child);
            }
            Effect::Up => {
                self.observer.up();
                if let Some(parent) = &self.parent {
                    parent.started();
                }
            }
            Effect::Reply(id, reply) => {
                if let Some(asker) = self.replies.remove(&id) {
                    drop(asker.send(reply));
                }
            }
            Effect::Report(report) => self.observer.report(report),
            Effect::Terminated(reason) => {
                self.observer.terminated(&reason);
                if let Some(parent) = &self.parent {
                    parent.exited(reason);
                }
                myself.stop(None);
            }
        }
    }
}

//! Children of the library that do what a scenario's nodes say: every second worker is an actor, the others are futures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ms_supervisor::{
    Actor, ActorProcessingErr, ActorRef, BoxError, ChildRef, ChildSpec, DynamicSupervisor, ExitReason, Ignore, RequestError,
    SupervisorSpec, TaskContext,
};
use tokio::sync::mpsc;

use super::scenario::{Node, OnShutdown, Outcome, Reason};
use super::world::{Death, World};

/// Makes children.
#[derive(Clone, Default)]
pub(crate) struct Maker {
    pub(crate) world: World,
    /// The dynamic supervisors by path.
    pools: Arc<Mutex<BTreeMap<String, DynamicSupervisor<String>>>>,
}

impl Maker {
    /// The child at `path`.
    pub(crate) fn child(&self, path: &str, id: &str, node: &Arc<Node>) -> ChildSpec {
        let child = match (node.supervisor, node.dynamic) {
            (true, true) => ChildSpec::dynamic(id, &self.pool(path, node)),
            (true, false) => {
                let (maker, path, node) = (self.clone(), path.to_owned(), node.clone());
                ChildSpec::supervisor_with(id, move || {
                    let (_, outcome) = maker.world.attempt(&path, &node);
                    fail(outcome)?;
                    maker.supervisor(&path, &node)
                })
            }
            // Of one whose start fails its supervisor may be wanted: see `World::arm`.
            (false, _) if path.len().is_multiple_of(2) && !node.fails_to_start() => self.actor(path, id, node),
            (false, _) => self.future(path, id, node),
        };
        child.restart(node.restart).shutdown(node.shutdown).significant(node.significant)
    }

    /// The supervisor at `path`. A specification that is refused is a start that failed.
    pub(crate) fn supervisor(&self, path: &str, node: &Node) -> Result<SupervisorSpec, BoxError> {
        let children = node.children.iter().map(|child| self.child(&format!("{path}/{}", child.id), &child.id, child));
        let spec = SupervisorSpec::new(node.strategy).intensity(node.intensity, node.period);
        let spec = spec.auto_shutdown(node.auto_shutdown).children(children);
        match spec.check() {
            Ok(()) if !node.faulty => Ok(spec),
            _ => {
                self.world.refused(path);
                Err("a faulty specification".into())
            }
        }
    }

    /// The dynamic supervisor at `path`.
    pub(crate) fn pool(&self, path: &str, node: &Node) -> DynamicSupervisor<String> {
        let (maker, template, at) = (self.clone(), node.children.first().cloned(), path.to_owned());
        self.world.template(path, template.as_ref().map_or("", |template| template.id.as_str()));
        let pool = DynamicSupervisor::new(move |tag: String| match &template {
            Some(template) => maker.child(&format!("{at}#{tag}"), &tag, template),
            None => ChildSpec::prepared(&tag, async |_| Err::<std::future::Ready<_>, _>("no template".into())),
        });
        let pool = pool.intensity(node.intensity, node.period);
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), pool.clone());
        pool
    }

    /// The dynamic supervisor at `path`, if that is what is there.
    pub(crate) fn pool_at(&self, path: &str) -> Option<DynamicSupervisor<String>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Starts an instance of the template at `path`.
    pub(crate) async fn instance(&self, path: &str, tag: &str) -> Result<Option<ChildRef>, RequestError> {
        match self.pool_at(path) {
            Some(pool) => pool.start_child(tag.to_owned()).await,
            None => Err(RequestError::NotFound),
        }
    }

    fn future(&self, path: &str, id: &str, node: &Arc<Node>) -> ChildSpec {
        let (world, path, node) = (self.world.clone(), path.to_owned(), node.clone());
        ChildSpec::prepared(id, move |task| {
            let (world, path, node) = (world.clone(), path.clone(), node.clone());
            async move {
                world.supervised_by(&path, task.supervisor());
                let (number, outcome) = world.attempt(&path, &node);
                fail(outcome)?;
                let (sender, orders) = mpsc::unbounded_channel();
                let death = world.worker_up(&path, number, sender);
                Ok(work(task, node, orders, death))
            }
        })
    }

    fn actor(&self, path: &str, id: &str, node: &Arc<Node>) -> ChildSpec {
        let (world, path, node) = (self.world.clone(), path.to_owned(), node.clone());
        ChildSpec::actor(id, move || (Worker { world: world.clone(), path: path.clone(), node: node.clone() }, ()))
    }
}

fn fail(outcome: Outcome) -> Result<(), BoxError> {
    match outcome {
        Outcome::Ok => Ok(()),
        Outcome::Ignore => Err(Ignore.into()),
        Outcome::Error => Err("start failed".into()),
        Outcome::Crash => panic!("start crashed"),
    }
}

/// A worker as a future.
async fn work(task: TaskContext, node: Arc<Node>, mut orders: mpsc::UnboundedReceiver<Reason>, mut death: Death) -> Result<(), BoxError> {
    let reason = tokio::select! {
        Some(reason) = orders.recv() => reason.exit_reason(),
        () = task.shutdown_requested() => asked_to_end(&node, &mut death).await,
    };
    death.of(reason.clone());
    Err(reason.into())
}

/// A worker's answer to an orderly stop.
async fn asked_to_end(node: &Node, death: &mut Death) -> ExitReason {
    match node.on_shutdown {
        OnShutdown::Comply => ExitReason::Shutdown,
        OnShutdown::Exit(reason) => reason.exit_reason(),
        OnShutdown::Slow => {
            death.late();
            tokio::time::sleep(Duration::from_millis(15)).await;
            ExitReason::Shutdown
        }
        OnShutdown::Hang => {
            death.late();
            std::future::pending().await
        }
    }
}

/// The same as an actor.
struct Worker {
    world: World,
    path: String,
    node: Arc<Node>,
}

impl Actor for Worker {
    type Msg = Reason;
    /// How it died, and whether somebody told it to.
    type State = (Death, bool);
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Reason>, (): ()) -> Result<Self::State, ActorProcessingErr> {
        let (number, outcome) = self.world.attempt(&self.path, &self.node);
        fail(outcome)?;
        let (sender, mut orders) = mpsc::unbounded_channel();
        let death = self.world.worker_up(&self.path, number, sender);
        tokio::spawn(async move {
            if let Some(reason) = orders.recv().await {
                drop(myself.cast(reason));
            }
        });
        Ok((death, false))
    }

    async fn handle(&self, myself: ActorRef<Reason>, reason: Reason, (death, told): &mut Self::State) -> Result<(), ActorProcessingErr> {
        death.of(reason.exit_reason());
        *told = true;
        match reason {
            Reason::Normal => myself.stop(None),
            other => return Err(other.exit_reason().into()),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Reason>, (death, told): &mut Self::State) -> Result<(), ActorProcessingErr> {
        if *told {
            return Ok(());
        }
        let reason = asked_to_end(&self.node, death).await;
        death.of(reason.clone());
        match reason {
            ExitReason::Shutdown => Ok(()),
            other => Err(other.into()),
        }
    }
}

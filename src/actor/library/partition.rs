//! Several actors of the same kind, each responsible for its share of the keys.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, Message};

use super::child::ChildSpec;
use super::name::Name;
use super::spec::SupervisorSpec;
use crate::base::choice::Strategy;

/// Several actors of the same kind under a supervisor of their own, and who is responsible for which key (Elixir's
/// `PartitionSupervisor`): for one actor that would be too slow for all.
///
/// The same key always leads to the same partition, in every incarnation and every process of the same build.
///
/// ```
/// # use ms_supervisor::{Actor, ActorProcessingErr, ActorRef, ChildSpec, Partitions, Strategy, SupervisorSpec};
/// # struct Cache;
/// # impl Actor for Cache {
/// #     type Msg = u32;
/// #     type State = ();
/// #     type Arguments = usize;
/// #     async fn pre_start(&self, _: ActorRef<u32>, _: usize) -> Result<(), ActorProcessingErr> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let caches = Partitions::new("caches", 4.try_into()?, |partition| (Cache, partition));
/// let root = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::partitions(&caches)).start().await?;
/// caches.route("some key").cast(7)?;
/// # root.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Partitions<M: Message> {
    id: Arc<str>,
    names: Arc<[Name<M>]>,
    supervisor: SupervisorSpec,
}

impl<M: Message> Partitions<M> {
    /// `count` actors, whose ids are their numbers from 0 on; `make` gets the number. The supervisor is one_for_one.
    #[must_use]
    pub fn new<A, F>(id: &str, count: NonZeroUsize, make: F) -> Self
    where
        A: Actor<Msg = M>,
        F: Fn(usize) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let names: Arc<[_]> = (0..count.get()).map(|number| Name::new(&number.to_string())).collect();
        let child = |(number, name): (usize, &Name<M>)| {
            let make = make.clone();
            ChildSpec::named_actor(name, move || make(number))
        };
        let supervisor = SupervisorSpec::new(Strategy::OneForOne).children(names.iter().enumerate().map(child));
        Self { id: id.into(), names, supervisor }
    }

    /// Tolerates `restarts` restarts of all partitions together within `period`. Default: 1 within 5 seconds.
    #[must_use]
    pub fn intensity(mut self, restarts: u32, period: Duration) -> Self {
        self.supervisor = self.supervisor.intensity(restarts, period);
        self
    }

    /// The actor that is responsible for `key`.
    pub fn route<K: Hash + ?Sized>(&self, key: &K) -> &Name<M> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        // There are no more partitions than a usize counts.
        let number = usize::try_from(hasher.finish() % self.names.len() as u64).unwrap_or(0);
        &self.names[number]
    }

    /// All of them, by number.
    #[must_use]
    pub fn all(&self) -> &[Name<M>] {
        &self.names
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn supervisor(&self) -> SupervisorSpec {
        self.supervisor.clone()
    }
}

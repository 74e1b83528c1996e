//! What once went wrong without a word: ends nobody told, starts that were no starts, names that were cleared by a stranger.

use super::mishaps::observed;
use super::*;
use ms_supervisor::{DynamicSupervisor, Ignore, Name, SupervisorEvent};

#[tokio::test]
async fn reports_end_with_the_tree_whoever_holds_a_handle() {
    let root = up(tolerant(Strategy::OneForOne).child(task("a", &Journal::default(), 0))).await;
    let mut reports = root.subscribe();
    root.stop().await;
    let mut last = None;
    let all = async {
        while let Some(report) = reports.next().await {
            last = Some(report.unwrap().event);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("they do not end");
    assert_eq!(last, Some(SupervisorEvent::Ended(ExitReason::Shutdown)));
    assert!(root.subscribe().next().await.is_none(), "of a tree that is gone there is nothing to hear");
}

/// What an actor returns from its start, or else from its handler.
#[derive(Clone, Copy)]
enum Returns {
    NormalFromStart,
    IgnoreFromStart,
    IgnoreFromHandler,
}

impl Actor for Returns {
    type Msg = ();
    type State = ();
    type Arguments = u32;

    async fn pre_start(&self, myself: ActorRef<()>, life: u32) -> Result<(), ActorProcessingErr> {
        match self {
            Self::NormalFromStart => Err(ExitReason::Normal.into()),
            Self::IgnoreFromStart => Err(Ignore.into()),
            Self::IgnoreFromHandler if life == 0 => Ok(myself.cast(())?),
            Self::IgnoreFromHandler => Ok(()),
        }
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        Err(Ignore.into())
    }
}

fn returns(what: Returns) -> ChildSpec {
    let lives = Arc::new(AtomicU32::new(0));
    ChildSpec::actor("actor", move || (what, lives.fetch_add(1, Ordering::Relaxed)))
}

#[tokio::test]
async fn only_ignore_and_only_from_a_start_means_that_there_is_nothing_to_run() {
    let one = |what| SupervisorSpec::new(Strategy::OneForOne).child(returns(what).restart(RestartType::Transient));
    let error = one(Returns::NormalFromStart).start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start child actor: normal");
    let root = up(one(Returns::IgnoreFromStart)).await;
    assert_eq!(root.count_children().await.unwrap().active, 0);
    root.stop().await;
    let (spec, journal) = observed(one(Returns::IgnoreFromHandler));
    let root = up(spec).await;
    until(&journal, 4).await;
    root.stop().await;
    assert_eq!(said(&journal)[2..4], ["root: actor ended: there is nothing to run, again: true", "root: actor started 2"]);
}

#[tokio::test]
async fn the_end_of_one_does_not_take_the_name_of_another() {
    let name = Name::<()>::new("name");
    let of = |id: &str| {
        let child = ChildSpec::named_actor(&name, || (Returns::IgnoreFromHandler, 1));
        ChildSpec::supervisor(id, SupervisorSpec::new(Strategy::OneForOne).child(child))
    };
    let root = up(tolerant(Strategy::OneForOne).child(of("first")).child(of("second"))).await;
    let latest = name.get().unwrap();
    root.terminate_child("first").await.unwrap();
    assert_eq!(name.get().map(|actor| actor.get_id()), Some(latest.get_id()), "the second still runs");
    root.terminate_child("second").await.unwrap();
    assert!(name.get().is_none());
    root.stop().await;
}

#[tokio::test]
async fn a_dynamic_supervisor_runs_in_one_place_at_a_time() {
    let pool = DynamicSupervisor::new(|child: ChildSpec| child);
    let spec = || tolerant(Strategy::OneForOne).child(ChildSpec::dynamic("pool", &pool));
    let root = up(spec()).await;
    let error = spec().start().await.unwrap_err().to_string();
    assert_eq!(error, "failed to start child pool: the same DynamicSupervisor runs already: make another one");
    assert!(pool.start("pool").await.is_err());
    // It is this one that its handle leads to.
    pool.start_child(task("a", &Journal::default(), 0)).await.unwrap();
    let child = root.get_childspec("pool").await.unwrap().child.unwrap();
    assert_eq!(child.as_supervisor().unwrap().count_children().await.unwrap().active, 1);
    // Killed, it comes back; and once its tree is gone, it may run elsewhere.
    child.kill();
    child.wait().await;
    let again = async {
        while pool.get().is_none_or(|pool| pool.path() != "root/pool") || pool.start_child(task("b", &Journal::default(), 0)).await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("it is started again");
    root.stop().await;
    let alone = pool.start("alone").await.unwrap();
    alone.stop().await;
}

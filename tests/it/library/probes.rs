//! Probes of one's own: who runs and is not well is started again.

use std::sync::atomic::AtomicBool;

use ms_supervisor::{Outcome, Probe, Report, SupervisorEvent};

use super::*;

const OFTEN: Duration = Duration::from_millis(10);

/// A probe that fails while `ill`.
fn probe(ill: &Arc<AtomicBool>) -> Probe {
    let ill = ill.clone();
    let ask = move || {
        let is_ill = ill.load(Ordering::SeqCst);
        async move { if is_ill { Outcome::failed("it is ill") } else { Outcome::ok("") } }
    };
    Probe::new("health", ask).period(OFTEN).failure_threshold(2)
}

/// The reasons children ended for, as they end.
async fn reason(root: &SupervisorRef, begin: impl Future<Output = ()>) -> ExitReason {
    let mut reports = root.subscribe();
    begin.await;
    loop {
        let report = tokio::time::timeout(Duration::from_secs(20), reports.next()).await.unwrap().unwrap().unwrap();
        if let SupervisorEvent::Child(Report::ChildTerminated { reason, .. }) = report.event {
            return reason;
        }
    }
}

#[tokio::test]
async fn who_is_not_well_is_started_again() {
    let (ill, lives) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let life = lives.clone();
    let child = ChildSpec::task("a", move |task: TaskContext| {
        let life = life.clone();
        async move {
            life.fetch_add(1, Ordering::SeqCst);
            task.shutdown_requested().await;
            Ok(())
        }
    });
    let root = up(tolerant(Strategy::OneForOne).child(child.probe(probe(&ill)))).await;
    tokio::time::sleep(OFTEN * 10).await;
    assert_eq!(lives.load(Ordering::SeqCst), 1, "it was well");
    let why = reason(&root, async { ill.store(true, Ordering::SeqCst) }).await;
    assert_eq!(why.to_string(), "probe health: it is ill");
    ill.store(false, Ordering::SeqCst);
    while lives.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(OFTEN).await;
    }
    assert_eq!(root.stop().await, ExitReason::Shutdown);
}

#[tokio::test]
async fn who_does_not_listen_is_killed_actor_and_process_alike() {
    struct Deaf;

    impl Actor for Deaf {
        type Msg = ();
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, myself: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(myself.cast(())?)
        }

        async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
            std::future::pending().await
        }
    }

    let deaf = ProcessSpec::new("sh").argument("-c").argument("trap '' TERM; while :; do sleep 1; done");
    for child in [ChildSpec::actor("a", || (Deaf, ())), ChildSpec::process("a", deaf)] {
        let ill = Arc::new(AtomicBool::new(true));
        let child = child.probe(probe(&ill).initial_delay(OFTEN)).shutdown(ShutdownTimeout::After(OFTEN)).restart(RestartType::Temporary);
        let root = up(tolerant(Strategy::OneForOne)).await;
        let begin = async { drop(root.start_child(child).await.unwrap()) };
        assert_eq!(reason(&root, begin).await.to_string(), "probe health: it is ill");
        root.stop().await;
    }
}

#[tokio::test]
async fn what_does_not_answer_has_failed_and_what_panics_says_nothing() {
    let forever = ChildSpec::task("a", |task: TaskContext| async move {
        task.shutdown_requested().await;
        Ok(())
    });
    let panics = Probe::new("panics", || -> std::future::Ready<Outcome> { panic!("no probe") }).period(OFTEN).failure_threshold(1);
    let slow = Probe::new("slow", std::future::pending).period(OFTEN * 5).timeout(OFTEN).failure_threshold(2);
    let root = up(tolerant(Strategy::OneForOne)).await;
    let begin = async { drop(root.start_child(forever.probe(panics).probe(slow).restart(RestartType::Temporary)).await.unwrap()) };
    assert_eq!(reason(&root, begin).await.to_string(), "probe slow: no answer within 10ms");
    root.stop().await;
    let nested = ChildSpec::supervisor("below", tolerant(Strategy::OneForOne)).probe(Probe::new("x", || async { Outcome::ok("") }));
    let refused = tolerant(Strategy::OneForOne).child(nested).start().await.unwrap_err();
    assert!(refused.to_string().contains("`below` is a supervisor and cannot be probed"), "{refused}");
}

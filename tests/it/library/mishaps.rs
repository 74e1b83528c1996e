//! What may go wrong in a child, in every kind of child, and what its supervisor makes of it.

use super::*;
use ms_supervisor::{BoxError, ChildState, Report, SupervisorEvent, ThreadContext};

/// Everything the supervisors tell, as text.
pub(super) fn observed(spec: SupervisorSpec) -> (SupervisorSpec, Journal) {
    let journal = Journal::default();
    let told = journal.clone();
    let spec = spec.observe(move |report| {
        let text = match &report.event {
            SupervisorEvent::Up => "up".into(),
            SupervisorEvent::Ended(reason) => format!("ended: {reason}"),
            SupervisorEvent::Child(Report::ChildStarted { child, incarnation }) => format!("{child} started {incarnation}"),
            SupervisorEvent::Child(Report::ChildTerminated { child, reason, restart }) => {
                format!("{child} ended: {reason}, again: {restart}")
            }
            SupervisorEvent::Child(Report::StartError { child, reason }) => format!("{child} did not start: {reason}"),
            SupervisorEvent::Child(Report::ShutdownError { child, reason }) => format!("{child} did not stop well: {reason}"),
            SupervisorEvent::Child(Report::ChildStuck { child }) => format!("{child} is stuck"),
            SupervisorEvent::Child(Report::ReachedMaxRestartIntensity { child, .. }) => format!("{child} was one too many"),
        };
        told.lock().unwrap().push(format!("{}: {text}", report.supervisor));
    });
    (spec, journal)
}

/// An actor that panics where it is told to.
struct Panics {
    at: &'static str,
    lives: Arc<AtomicU32>,
}

impl Panics {
    /// The first incarnation panics, the next ones do not.
    fn here(&self, place: &str) {
        assert!(self.at != place || self.lives.load(Ordering::Relaxed) > 1, "in {place}");
    }
}

impl Actor for Panics {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        self.lives.fetch_add(1, Ordering::Relaxed);
        self.here("pre_start");
        Ok(())
    }

    async fn post_start(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.here("post_start");
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.here("post_stop");
        Ok(())
    }
}

fn panics(at: &'static str) -> ChildSpec {
    let lives = Arc::new(AtomicU32::new(0));
    ChildSpec::actor("actor", move || (Panics { at, lives: lives.clone() }, ()))
}

#[tokio::test]
async fn a_panic_in_init_is_a_failed_start() {
    let spec = SupervisorSpec::new(Strategy::OneForOne).child(panics("pre_start"));
    let error = spec.start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start child actor: panic: in pre_start");
    let prepared = ChildSpec::prepared("task", |_| async {
        assert!(said(&Journal::default()).len() == 1, "in preparation");
        Ok::<_, BoxError>(std::future::ready(Ok(())))
    });
    let error = SupervisorSpec::new(Strategy::OneForOne).child(prepared).start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start child task: panic: in preparation");
    let supervisor = ChildSpec::supervisor_with("below", || panic!("in init"));
    let error = SupervisorSpec::new(Strategy::OneForOne).child(supervisor).start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start child below: panic: in init");
}

#[tokio::test]
async fn a_panic_after_init_is_an_abnormal_end() {
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(panics("post_start").restart(RestartType::Transient)));
    let root = up(spec).await;
    until(&journal, 4).await;
    root.stop().await;
    assert_eq!(said(&journal)[2..4], ["root: actor ended: panic: in post_start, again: true", "root: actor started 2"]);
}

#[tokio::test]
async fn a_panic_in_termination_is_reported_and_stops_nothing() {
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(task("first", &Journal::default(), 0)).child(panics("post_stop")));
    let root = up(spec).await;
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    assert_eq!(said(&journal)[3..], ["root: actor did not stop well: panic: in post_stop", "root: ended: shutdown"]);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic while the first is under way would end the whole process.
        assert!(std::thread::panicking(), "in drop");
    }
}

#[tokio::test]
async fn a_panic_in_a_killed_childs_drop_is_its_end() {
    let child = ChildSpec::task("task", |_| async {
        let _bomb = Bomb;
        std::future::pending().await
    });
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(child.shutdown(ShutdownTimeout::BrutalKill)));
    let root = up(spec).await;
    // The future has to begin, or there is no bomb yet.
    tokio::task::yield_now().await;
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    assert_eq!(said(&journal)[2], "root: task did not stop well: panic: in drop");
}

/// An actor that never ends by itself.
struct Hangs;

impl Actor for Hangs {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_stops_is_killed_when_its_time_is_over() {
    let task = ChildSpec::task("task", |_| std::future::pending());
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(task).child(ChildSpec::actor("actor", || (Hangs, ()))));
    let root = up(spec).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    let seconds = begin.elapsed().as_secs();
    assert_eq!(seconds, 10, "five seconds each, one after the other");
    assert_eq!(said(&journal)[3..5], ["root: actor did not stop well: killed", "root: task did not stop well: killed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_blocks_its_thread_is_waited_for() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let blocks = ChildSpec::task("blocks", move |_| {
        let wait = wait.clone();
        async move {
            // It blocks a thread of the runtime: nobody can interrupt that before it comes to an await.
            let _ = wait.lock().unwrap().recv();
            std::future::pending().await
        }
    });
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(blocks.shutdown(ShutdownTimeout::After(Duration::from_millis(10)))));
    let root = up(spec).await;
    let stopping = tokio::spawn(async move { root.stop().await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!stopping.is_finished(), "its successor, or the end of the tree, must not meet it");
    drop(release);
    assert_eq!(stopping.await.unwrap(), ExitReason::Shutdown);
    assert_eq!(said(&journal)[2..], ["root: blocks did not stop well: killed", "root: ended: shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_does_not_return_is_called_stuck() {
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let deaf = ChildSpec::thread("deaf", move |_: ThreadContext| {
        let _ = wait.lock().unwrap().recv();
        Ok(())
    });
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(deaf));
    let root = up(spec).await;
    let stopping = tokio::spawn(async move { root.stop().await });
    until(&journal, 3).await;
    assert_eq!(said(&journal)[2], "root: deaf is stuck");
    drop(release);
    assert_eq!(stopping.await.unwrap(), ExitReason::Shutdown);
}

#[tokio::test]
async fn a_child_whose_restart_fails_is_tried_again_and_counted() {
    let starts = Arc::new(AtomicU32::new(0));
    let child = ChildSpec::prepared("child", move |_| {
        let start = starts.fetch_add(1, Ordering::Relaxed);
        async move {
            if start > 0 {
                return Err("no more".into());
            }
            Ok(async { Err::<(), BoxError>("crash".into()) })
        }
    });
    let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(2, Duration::from_secs(60)).child(child);
    let (spec, journal) = observed(spec);
    let root = up(spec).await;
    assert_eq!(root.wait().await, ExitReason::Shutdown);
    let expected = [
        "root: child ended: crash, again: true",
        "root: child did not start: no more",
        "root: child did not start: no more",
        "root: child was one too many",
        "root: ended: shutdown",
    ];
    assert_eq!(said(&journal)[2..], expected);
}

#[tokio::test]
async fn a_killed_supervisor_takes_its_subtree_with_it_and_comes_back() {
    let journal = Journal::default();
    let below = SupervisorSpec::new(Strategy::OneForOne).child(task("deep", &journal, 0));
    let middle = SupervisorSpec::new(Strategy::OneForOne).child(task("worker", &journal, 0)).child(ChildSpec::supervisor("below", below));
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::supervisor("middle", middle))).await;
    let child = root.get_childspec("middle").await.unwrap().child.unwrap();
    child.kill();
    child.wait().await;
    // The worker was killed and had no say; what is below was stopped in order.
    until(&journal, 5).await;
    assert_eq!(said(&journal), ["+worker", "+deep", "-deep", "+worker", "+deep"]);
    let again = root.get_childspec("middle").await.unwrap();
    assert_eq!((again.state, again.child.unwrap().incarnation()), (ChildState::Running, 2));
    root.stop().await;
}

//! The library from outside: actors, futures and processes under one kind of supervisor.

mod deadlines;
mod foreign;
mod kinds;
mod mishaps;
mod probes;
mod requests;
mod silences;
mod spans;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ms_supervisor::{
    Actor, ActorProcessingErr, ActorRef, ChildSpec, ExitReason, ProcessSpec, RestartType, ShutdownTimeout, SpecError, StartError, Strategy,
    SupervisorRef, SupervisorSpec, TaskContext,
};

type Journal = Arc<Mutex<Vec<String>>>;

fn said(journal: &Journal) -> Vec<String> {
    journal.lock().unwrap().clone()
}

/// Waits until `journal` holds `count` entries.
async fn until(journal: &Journal, count: usize) {
    let wait = async {
        while said(journal).len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("only {:?}", said(journal)));
}

/// A future that says when it starts and when it is asked to end; it crashes in the incarnations below `crashes`.
fn task(id: &'static str, journal: &Journal, crashes: u64) -> ChildSpec {
    let journal = journal.clone();
    ChildSpec::task(id, move |task: TaskContext| {
        let journal = journal.clone();
        async move {
            journal.lock().unwrap().push(format!("+{id}"));
            if task.incarnation() <= crashes {
                return Err("crash".into());
            }
            task.shutdown_requested().await;
            journal.lock().unwrap().push(format!("-{id}"));
            Ok(())
        }
    })
}

/// An actor that panics when told to.
struct Fragile(Journal);

impl Actor for Fragile {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<()>, _: ()) -> Result<(), ActorProcessingErr> {
        let first = said(&self.0).is_empty();
        self.0.lock().unwrap().push("+actor".into());
        if first {
            myself.cast(())?;
        }
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        panic!("told to")
    }

    async fn post_stop(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.0.lock().unwrap().push("-actor".into());
        Ok(())
    }
}

fn tolerant(strategy: Strategy) -> SupervisorSpec {
    SupervisorSpec::new(strategy).intensity(10, Duration::from_secs(60))
}

async fn up(spec: SupervisorSpec) -> SupervisorRef {
    spec.start().await.unwrap()
}

#[tokio::test]
async fn children_start_in_order_and_stop_in_reverse() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForOne).child(task("a", &journal, 0)).child(task("b", &journal, 0))).await;
    until(&journal, 2).await;
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    assert_eq!(said(&journal), ["+a", "+b", "-b", "-a"]);
}

#[tokio::test]
async fn a_future_that_fails_is_started_again() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForOne).child(task("a", &journal, 2))).await;
    until(&journal, 3).await;
    root.stop().await;
    assert_eq!(said(&journal), ["+a", "+a", "+a", "-a"]);
}

#[tokio::test]
async fn an_actor_that_panics_is_started_again() {
    let journal = Journal::default();
    let make = journal.clone();
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::actor("a", move || (Fragile(make.clone()), ())))).await;
    until(&journal, 2).await;
    root.stop().await;
    assert_eq!(said(&journal), ["+actor", "+actor", "-actor"]);
}

/// An actor whose start waits: for others, or for ever.
struct Slow(Journal);

impl Actor for Slow {
    type Msg = ();
    type State = ();
    type Arguments = bool;

    async fn pre_start(&self, _: ActorRef<()>, ever: bool) -> Result<(), ActorProcessingErr> {
        self.0.lock().unwrap().push("+slow".into());
        if ever {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.lock().unwrap().push("slow".into());
        Ok(())
    }
}

fn slow(journal: &Journal, ever: bool) -> ChildSpec {
    let journal = journal.clone();
    ChildSpec::actor("slow", move || (Slow(journal.clone()), ever))
}

#[tokio::test]
async fn an_actor_whose_start_waits_is_waited_for() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForOne).child(slow(&journal, false)).child(task("a", &journal, 0))).await;
    until(&journal, 3).await;
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    assert_eq!(said(&journal), ["+slow", "slow", "+a", "-a"]);
}

#[tokio::test]
async fn an_actor_whose_start_waits_for_ever_can_be_killed() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForOne)).await;
    let start = tokio::spawn({
        let (root, child) = (root.clone(), slow(&journal, true));
        async move { root.start_child(child).await }
    });
    until(&journal, 1).await;
    root.kill();
    assert_eq!(root.wait().await, ExitReason::Killed);
    assert!(start.await.unwrap().is_err());
    assert_eq!(said(&journal), ["+slow"]);
}

#[tokio::test]
async fn a_process_that_fails_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let process = ProcessSpec::new("sh").argument("-c").argument("echo >> starts; [ $(wc -l < starts) -gt 2 ] && exec sleep 1000; exit 1");
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::process("a", process.directory(directory.path())))).await;
    let starts = || std::fs::read_to_string(directory.path().join("starts")).unwrap_or_default().len();
    let wait = async {
        while starts() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    assert_eq!(root.stop().await, ExitReason::Shutdown);
}

#[tokio::test]
async fn a_program_that_does_not_exist_fails_the_start_and_rolls_back() {
    let journal = Journal::default();
    let missing = ChildSpec::process("missing", ProcessSpec::new("/no/such/program"));
    let error = tolerant(Strategy::OneForOne).child(task("a", &journal, 0)).child(missing).start().await.unwrap_err();
    assert!(
        matches!(&error, StartError::Child(ExitReason::ShutdownWith(why)) if why.contains("missing") && why.contains("/no/such/program")),
        "{error}"
    );
    assert_eq!(said(&journal), ["+a", "-a"]);
}

#[tokio::test]
async fn one_for_all_takes_everybody_along() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForAll).child(task("a", &journal, 0)).child(task("b", &journal, 1))).await;
    until(&journal, 5).await;
    root.stop().await;
    assert_eq!(said(&journal), ["+a", "+b", "-a", "+a", "+b", "-b", "-a"]);
}

#[tokio::test]
async fn too_many_restarts_end_the_supervisor_and_its_parent_decides() {
    let journal = Journal::default();
    let inner = SupervisorSpec::new(Strategy::OneForOne).child(task("a", &journal, u64::MAX));
    let root = up(SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::supervisor("inner", inner))).await;
    // OTP's defaults: one restart within five seconds, at each of the two levels.
    assert_eq!(root.wait().await, ExitReason::Shutdown);
    assert_eq!(said(&journal).len(), 4);
}

#[tokio::test]
async fn a_child_that_does_not_listen_is_killed_in_time() {
    let dropped = Arc::new(AtomicU32::new(0));
    struct Guard(Arc<AtomicU32>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let count = dropped.clone();
    let deaf = ChildSpec::task("deaf", move |_| {
        let guard = Guard(count.clone());
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    let root = up(tolerant(Strategy::OneForOne).child(deaf.shutdown(ShutdownTimeout::After(Duration::from_millis(50))))).await;
    root.stop().await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "what it held is released before the stop returns");
}

#[tokio::test]
async fn restart_types_and_requests() {
    let journal = Journal::default();
    let temporary = task("temporary", &journal, u64::MAX).restart(RestartType::Temporary);
    let root = up(tolerant(Strategy::OneForOne).child(task("a", &journal, 0)).child(temporary)).await;
    until(&journal, 2).await;
    root.terminate_child("a").await.unwrap();
    let children = root.which_children().await.unwrap();
    assert_eq!(children.iter().map(|child| (child.id.as_str(), child.is_running())).collect::<Vec<_>>(), [("a", false)]);
    root.restart_child("a").await.unwrap();
    assert!(root.restart_child("a").await.is_err());
    assert!(root.terminate_child("nobody").await.is_err());
    root.stop().await;
}

#[tokio::test]
async fn faulty_specifications_are_refused_before_anything_starts() {
    let journal = Journal::default();
    let twice = || tolerant(Strategy::OneForOne).child(task("a", &journal, 0)).child(task("a", &journal, 0));
    assert_eq!(twice().check(), Err(SpecError::DuplicateId("a".into())));
    let nested = tolerant(Strategy::OneForOne).child(ChildSpec::supervisor("inner", twice()));
    assert!(nested.start().await.is_err());
    assert!(said(&journal).is_empty());
}

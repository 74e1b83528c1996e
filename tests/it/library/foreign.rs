//! Code of a child, of its errors and of whoever observes, that panics where nobody expects it: it ends nothing but itself.

use std::panic::panic_any;

use super::mishaps::observed;
use super::*;
use ms_supervisor::{BoxError, DynamicSupervisor, Probe, ThreadContext};

/// A payload whose drop panics with one of the same kind.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

/// An error that panics where it says.
#[derive(Debug)]
struct Nasty(&'static str);

impl Nasty {
    fn here(&self, place: &str) {
        assert!(self.0 != place, "in {place}");
    }
}

impl std::fmt::Display for Nasty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.here("display");
        f.write_str("nasty")
    }
}

impl std::error::Error for Nasty {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.here("source");
        None
    }
}

impl Drop for Nasty {
    fn drop(&mut self) {
        // A second panic while the first is under way would end the whole process.
        if !std::thread::panicking() {
            self.here("drop");
        }
    }
}

/// What a child does in its first incarnation.
type Deed = fn() -> Result<(), BoxError>;

const PAYLOAD: Deed = || panic_any(Payload);
const DISPLAY: Deed = || Err(Nasty("display").into());
const SOURCE: Deed = || Err(Nasty("source").into());
const DROP: Deed = || Err(Nasty("drop").into());

/// The deeds, and the reason each is to be told by.
const DEEDS: [(Deed, &str); 4] = [
    (PAYLOAD, "panic: no text"),
    (DISPLAY, "an error whose text cannot be had: panic: in display"),
    (SOURCE, "an error whose text cannot be had: panic: in source"),
    (DROP, "nasty"),
];

/// A task of each kind whose first incarnation does this, and whose next ones do nothing.
fn kinds(deed: Deed) -> [(&'static str, ChildSpec); 4] {
    let task = ChildSpec::task("child", move |task: TaskContext| async move {
        if task.incarnation() == 1 {
            return deed();
        }
        task.shutdown_requested().await;
        Ok(())
    });
    let prepared = ChildSpec::prepared("child", move |task: TaskContext| async move {
        Ok(async move {
            if task.incarnation() == 1 {
                return deed();
            }
            task.shutdown_requested().await;
            Ok(())
        })
    });
    let thread = ChildSpec::thread("child", move |thread: ThreadContext| {
        if thread.incarnation() == 1 {
            return deed();
        }
        while !thread.wait_for_shutdown(Duration::from_secs(1)) {}
        Ok(())
    });
    let lives = Arc::new(AtomicU32::new(0));
    let actor = ChildSpec::actor("child", move || (Does(deed), lives.fetch_add(1, Ordering::Relaxed)));
    [("task", task), ("prepared", prepared), ("thread", thread), ("actor", actor)]
}

/// An actor that does something in its first incarnation.
struct Does(Deed);

impl Actor for Does {
    type Msg = ();
    type State = ();
    type Arguments = u32;

    async fn pre_start(&self, myself: ActorRef<()>, life: u32) -> Result<(), ActorProcessingErr> {
        if life == 0 { Ok(myself.cast(())?) } else { Ok(()) }
    }

    async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
        (self.0)()
    }
}

/// Stops a tree that must be able to stop.
async fn stopped(root: &SupervisorRef) {
    let stopped = tokio::time::timeout(Duration::from_secs(20), root.stop()).await;
    assert_eq!(stopped.expect("it does not stop"), ExitReason::Shutdown);
}

#[tokio::test]
async fn whatever_a_child_fails_with_its_supervisor_hears_of_it() {
    for (deed, reason) in DEEDS {
        for (kind, child) in kinds(deed) {
            let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(child));
            let root = up(spec).await;
            until(&journal, 4).await;
            let said = said(&journal);
            assert!(said.contains(&format!("root: child ended: {reason}, again: true")), "{kind}: {said:?}");
            stopped(&root).await;
        }
    }
}

#[tokio::test]
async fn whatever_a_start_fails_with_is_a_failed_start() {
    for (deed, reason) in DEEDS {
        let prepared = ChildSpec::prepared("child", move |_| async move { deed().map(|()| std::future::pending()) });
        let below = ChildSpec::supervisor_with("child", move || deed().map(|()| SupervisorSpec::new(Strategy::OneForOne)));
        let task = ChildSpec::task("child", move |_| {
            // Before there is a future.
            if let Err(error) = deed() {
                panic_any(error.to_string());
            }
            std::future::pending()
        });
        let actor = ChildSpec::actor("child", move || (FailsToStart(deed), ()));
        for (kind, child) in [("prepared", prepared), ("supervisor", below), ("task", task), ("actor", actor)] {
            let journal = Journal::default();
            let spec = tolerant(Strategy::OneForOne).child(task_before(&journal)).child(child);
            let started = tokio::time::timeout(Duration::from_secs(20), spec.start()).await.expect("the start hangs");
            let error = started.expect_err("it cannot have started").to_string();
            assert!(error.starts_with("failed to start child child: "), "{kind}: {error}");
            assert!(kind == "task" || error.ends_with(reason), "{kind}: {error}");
            assert_eq!(said(&journal), ["+first", "-first"], "what was started before is stopped in order");
        }
    }
}

fn task_before(journal: &Journal) -> ChildSpec {
    task("first", journal, 0)
}

/// An actor whose start fails.
struct FailsToStart(Deed);

impl Actor for FailsToStart {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        (self.0)()
    }
}

#[tokio::test]
async fn an_actor_that_cannot_be_made_is_a_failed_start() {
    fn make() -> (Does, u32) {
        panic_any(Payload)
    }
    let error = SupervisorSpec::new(Strategy::OneForOne).child(ChildSpec::actor("child", make)).start().await.unwrap_err();
    assert_eq!(error.to_string(), "failed to start child child: panic: no text");
}

#[tokio::test]
async fn an_observer_that_panics_goes_on_hearing_and_the_tree_lives() {
    let journal = Journal::default();
    let told = Arc::new(AtomicU32::new(0));
    let count = told.clone();
    let spec = tolerant(Strategy::OneForOne).child(task("a", &journal, 1)).observe(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        panic_any(Payload);
    });
    let root = up(spec).await;
    until(&journal, 2).await;
    stopped(&root).await;
    assert_eq!(said(&journal), ["+a", "+a", "-a"], "the children were asked to end");
    assert_eq!(told.load(Ordering::Relaxed), 5, "started, up, ended, started, and the end of the supervisor");
}

/// Panics when it is dropped, if nothing else panics already.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic_any(Payload);
        }
    }
}

/// A child whose closure holds a bomb. What it does at once is its end.
fn mined(id: &str, ends: bool) -> ChildSpec {
    let bomb = Arc::new(Bomb);
    ChildSpec::task(id, move |task: TaskContext| {
        // Used, so that it is captured.
        let _bomb = &bomb;
        async move {
            if !ends {
                task.shutdown_requested().await;
            }
            Ok(())
        }
    })
}

#[tokio::test]
async fn what_a_childs_closure_has_captured_may_panic_when_the_child_is_forgotten() {
    let journal = Journal::default();
    let temporary = mined("temporary", true).restart(RestartType::Temporary);
    let root = up(tolerant(Strategy::OneForOne).child(task("sibling", &journal, 0)).child(temporary).child(mined("deleted", false))).await;
    let gone = async {
        while root.get_childspec("temporary").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is forgotten when it ends");
    root.terminate_child("deleted").await.unwrap();
    root.delete_child("deleted").await.unwrap();
    // One that is replaced, and one that is refused.
    root.start_child(mined("replaced", false)).await.unwrap();
    root.terminate_child("replaced").await.unwrap();
    let spec = || tolerant(Strategy::OneForOne).child(task("sibling", &journal, 0)).child(mined("replaced", false));
    root.reload(spec()).await.unwrap();
    assert!(root.start_child(mined("sibling", false)).await.is_err());
    assert_eq!(said(&journal), ["+sibling"], "nobody else has noticed");
    stopped(&root).await;
    assert_eq!(said(&journal), ["+sibling", "-sibling"]);
}

#[tokio::test]
async fn what_a_dynamic_child_has_captured_may_panic_when_it_ends() {
    let pool = DynamicSupervisor::new(|ends: bool| mined("child", ends).restart(RestartType::Temporary));
    let root = pool.start("pool").await.unwrap();
    pool.start_child(true).await.unwrap();
    let stays = pool.start_child(false).await.unwrap().unwrap();
    pool.start_child(true).await.unwrap();
    assert!(stays.is_alive() && root.count_children().await.unwrap().active >= 1);
    stopped(&root).await;
}

/// An actor that holds a bomb in its state.
struct Mined;

impl Actor for Mined {
    type Msg = ();
    type State = Bomb;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<Bomb, ActorProcessingErr> {
        Ok(Bomb)
    }
}

#[tokio::test]
async fn what_an_actor_holds_may_panic_when_it_ends() {
    let (spec, journal) = observed(tolerant(Strategy::OneForOne).child(ChildSpec::actor("actor", || (Mined, ()))));
    let root = up(spec).await;
    stopped(&root).await;
    assert_eq!(said(&journal)[2..], ["root: actor did not stop well: panic: no text", "root: ended: shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_when_it_is_given_up_is_asked_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let probe = Probe::new("probe", move || {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            let _bomb = first.then(|| Bomb);
            std::future::pending().await
        }
    });
    let (spec, journal) = observed(
        tolerant(Strategy::OneForOne)
            .child(task("a", &Journal::default(), 0).probe(probe.period(Duration::from_secs(2)).failure_threshold(2))),
    );
    let root = up(spec).await;
    until(&journal, 3).await;
    assert_eq!(said(&journal)[2], "root: a ended: probe probe: no answer within 1s, again: true");
    assert_eq!(asked.load(Ordering::Relaxed), 3, "the first says nothing, the next two count");
    stopped(&root).await;
}

#[test]
fn a_runtime_that_cannot_wait_for_processes_fails_their_start_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::default();
        let root = up(tolerant(Strategy::OneForOne).child(task("sibling", &journal, 0))).await;
        let process = ChildSpec::process("process", ProcessSpec::new("true"));
        let error = root.start_child(process).await.unwrap_err().to_string();
        assert!(error.contains("cannot run true: panic: "), "{error}");
        stopped(&root).await;
        assert_eq!(said(&journal), ["+sibling", "-sibling"]);
    });
}

#[test]
fn a_runtime_without_timers_is_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::default();
        let error = tolerant(Strategy::OneForOne).child(task("a", &journal, 0)).start().await.unwrap_err();
        assert_eq!(error, StartError::NoTimers);
        assert!(said(&journal).is_empty());
    });
}

//! The kinds of children and supervisors besides those every tree has.

use super::*;
use ms_supervisor::{
    AutoShutdown, DynamicSupervisor, Handover, Ignore, Missed, Name, NotRunning, Partitions, Report, RequestError, SupervisorEvent,
    ThreadContext,
};
use ractor::RpcReplyPort;

#[tokio::test]
async fn a_thread_works_until_it_is_asked_to_return() {
    let journal = Journal::default();
    let told = journal.clone();
    let child = ChildSpec::thread("thread", move |thread: ThreadContext| {
        told.lock().unwrap().push(format!("+{}", thread.incarnation()));
        match thread.incarnation() {
            1 => return Err("crash".into()),
            2 => panic!("crash"),
            _ => {}
        }
        while !thread.wait_for_shutdown(Duration::from_millis(1)) {}
        assert!(thread.is_shutdown_requested());
        told.lock().unwrap().push("-".into());
        Ok(())
    });
    let root = up(tolerant(Strategy::OneForOne).child(child)).await;
    until(&journal, 3).await;
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    assert_eq!(said(&journal), ["+1", "+2", "+3", "-"]);
}

#[tokio::test]
async fn a_child_may_find_nothing_to_run() {
    let child = |id| ChildSpec::prepared(id, |_| async { Err::<std::future::Ready<_>, _>(Ignore.into()) });
    let below = ChildSpec::supervisor_with("below", || Err(Ignore.into()));
    let root = up(tolerant(Strategy::OneForOne).child(child("a")).child(child("b").restart(RestartType::Temporary)).child(below)).await;
    let children = root.which_children().await.unwrap();
    assert_eq!(children.iter().map(|child| (child.id.as_str(), child.is_running())).collect::<Vec<_>>(), [("a", false), ("below", false)]);
    assert!(root.start_child(child("c")).await.unwrap().is_none());
    root.stop().await;
}

/// Counts, and fails at zero.
struct Counter;

enum Msg {
    Add(u64),
    Sum(RpcReplyPort<u64>),
    Forget(RpcReplyPort<u64>),
}

impl Actor for Counter {
    type Msg = Msg;
    type State = u64;
    type Arguments = u64;

    async fn pre_start(&self, _: ActorRef<Msg>, start: u64) -> Result<u64, ActorProcessingErr> {
        Ok(start)
    }

    async fn handle(&self, _: ActorRef<Msg>, message: Msg, sum: &mut u64) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Add(0) => return Err("nothing to add".into()),
            Msg::Add(number) => *sum += number,
            Msg::Sum(reply) => reply.send(*sum)?,
            Msg::Forget(reply) => drop(reply),
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_name_finds_whichever_incarnation_runs() {
    let name = Name::new("counter");
    let second = Duration::from_secs(1);
    assert_eq!(name.cast(Msg::Add(1)), Err(NotRunning("counter".into())));
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::named_actor(&name, || (Counter, 10)))).await;
    let first = name.wait().await;
    name.cast(Msg::Add(1)).unwrap();
    assert_eq!(name.call(Msg::Sum, second).await, Ok(11));
    assert_eq!(name.call(Msg::Forget, second).await.unwrap_err().to_string(), "`counter` did not answer");
    name.cast(Msg::Add(0)).unwrap();
    let other = name.wait_for_other(&first).await;
    assert_ne!(other.get_id(), first.get_id());
    assert_eq!(name.call(Msg::Sum, second).await, Ok(10), "a new incarnation knows nothing of the old one");
    root.stop().await;
    assert!(name.get().is_none());
    assert_eq!(name.call(Msg::Sum, second).await.unwrap_err().to_string(), "`counter` does not run");
}

#[tokio::test]
async fn partitions_share_the_keys() {
    let parts = Partitions::new("parts", 3.try_into().unwrap(), |number| (Counter, number as u64)).intensity(5, Duration::from_secs(60));
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::partitions(&parts))).await;
    for (number, part) in parts.all().iter().enumerate() {
        assert_eq!(part.call(Msg::Sum, Duration::from_secs(1)).await, Ok(number as u64));
    }
    let used: std::collections::BTreeSet<_> = (0..100_u32).map(|key| parts.route(&key).as_str().to_owned()).collect();
    assert_eq!(used.len(), 3);
    assert_eq!(parts.route("key").as_str(), parts.route("key").as_str());
    root.stop().await;
}

#[tokio::test]
async fn a_handover_is_taken_once() {
    let handover = Handover::new();
    handover.put(1);
    handover.put(2);
    assert_eq!((handover.clone().take(), handover.take()), (Some(2), None));
}

#[tokio::test]
async fn a_dynamic_supervisor_starts_what_it_is_asked_to() {
    let journal = Journal::default();
    let told = journal.clone();
    let pool = DynamicSupervisor::new(move |number: u32| {
        let told = told.clone();
        ChildSpec::task("job", move |task: TaskContext| {
            told.lock().unwrap().push(format!("+{number}"));
            async move {
                task.shutdown_requested().await;
                Ok(())
            }
        })
    })
    .intensity(3, Duration::from_secs(60))
    .max_children(2);
    assert_eq!(pool.start_child(1).await.unwrap_err(), RequestError::Terminating, "it does not run yet");
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::dynamic("pool", &pool))).await;
    let first = pool.start_child(1).await.unwrap().unwrap();
    let second = pool.start_child(2).await.unwrap().unwrap();
    assert_eq!(pool.start_child(3).await.unwrap_err(), RequestError::MaxChildren(2));
    // It comes back with its own argument.
    second.kill();
    second.wait().await;
    until(&journal, 3).await;
    assert_eq!(said(&journal), ["+1", "+2", "+2"]);
    let supervisor = pool.get().unwrap();
    assert_eq!(supervisor.terminate_child("job").await.unwrap_err(), RequestError::Dynamic);
    assert_eq!(supervisor.restart_child("job").await.unwrap_err(), RequestError::Dynamic);
    pool.terminate_child(&first).await.unwrap();
    pool.terminate_child(&first).await.unwrap();
    let counts = supervisor.count_children().await.unwrap();
    assert_eq!((counts.specs, counts.active, counts.workers), (1, 1, 1));
    // When it is restarted, its children are gone, and the handle is good.
    root.get_childspec("pool").await.unwrap().child.unwrap().kill();
    supervisor.wait().await;
    while pool.start_child(4).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&journal)[3..], ["+4"]);
    root.stop().await;
}

#[tokio::test]
async fn what_a_temporary_child_was_started_with_is_dropped_when_it_ends() {
    let argument = Arc::new(());
    let pool = DynamicSupervisor::new(|argument: Arc<()>| {
        let child = ChildSpec::task("job", move |_| {
            let argument = argument.clone();
            async move {
                drop(argument);
                Ok(())
            }
        });
        child.restart(RestartType::Temporary)
    });
    let root = pool.start("pool").await.unwrap();
    pool.start_child(argument.clone()).await.unwrap().unwrap().wait().await;
    while root.count_children().await.unwrap().workers > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&argument), 1);
    root.stop().await;
}

#[tokio::test(start_paused = true)]
async fn instances_are_stopped_all_at_once() {
    let pool = DynamicSupervisor::new(|(): ()| ChildSpec::task("deaf", |_| std::future::pending()));
    let root = pool.start("pool").await.unwrap();
    for _ in 0..100 {
        pool.start_child(()).await.unwrap();
    }
    let begin = tokio::time::Instant::now();
    root.stop().await;
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn the_last_significant_child_ends_its_supervisor() {
    let ends = |id| ChildSpec::task(id, |_| async { Ok(()) }).restart(RestartType::Transient).significant(true);
    let spec = SupervisorSpec::new(Strategy::OneForOne).auto_shutdown(AutoShutdown::AllSignificant);
    let spec = spec.child(ends("a")).child(task("other", &Journal::default(), 0)).child(ends("b"));
    assert_eq!(up(spec).await.wait().await, ExitReason::Shutdown);
}

#[tokio::test]
async fn subscribers_hear_of_the_whole_tree() {
    let below = SupervisorSpec::new(Strategy::OneForOne).intensity(1, Duration::from_secs(60)).child(task("task", &Journal::default(), 2));
    let below = ChildSpec::supervisor("below", below).restart(RestartType::Transient);
    let root = up(tolerant(Strategy::OneForOne).name("app")).await;
    let mut reports = root.subscribe();
    root.start_child(below).await.unwrap();
    let mut gave_up = None;
    while gave_up.is_none() {
        let report = reports.next().await.unwrap().unwrap();
        if let SupervisorEvent::Child(Report::ReachedMaxRestartIntensity { child, reason }) = report.event {
            gave_up = Some((report.supervisor.to_string(), child.to_string(), reason));
        }
    }
    assert_eq!(gave_up, Some(("app/below".into(), "task".into(), ExitReason::error("crash"))));
    // One that does not keep up loses the oldest, and is told.
    let mut slow = root.subscribe();
    for _ in 0..1100 {
        root.start_child(task("task", &Journal::default(), 0)).await.unwrap();
        root.terminate_child("task").await.unwrap();
        root.delete_child("task").await.unwrap();
    }
    assert_eq!(slow.next().await, Some(Err(Missed(1100 - 1024))));
    assert!(slow.next().await.unwrap().is_ok());
    root.stop().await;
    drop(root);
    while slow.next().await.is_some() {}
}

//! What can be asked of a running supervisor.

use super::*;
use ms_supervisor::{ChildState, RequestError};

fn quiet(id: &'static str) -> ChildSpec {
    task(id, &Journal::default(), 0)
}

async fn listing(root: &SupervisorRef) -> Vec<(String, bool)> {
    root.which_children().await.unwrap().into_iter().map(|child| (child.id.clone(), child.is_running())).collect()
}

fn rows(rows: &[(&str, bool)]) -> Vec<(String, bool)> {
    rows.iter().map(|(id, running)| ((*id).to_owned(), *running)).collect()
}

#[tokio::test]
async fn children_are_added_stopped_started_and_deleted() {
    let root = up(tolerant(Strategy::OneForOne).child(quiet("a"))).await;
    let child = root.start_child(quiet("b")).await.unwrap().unwrap();
    assert!(child.is_alive() && child.incarnation() == 1 && child.as_supervisor().is_none());
    assert!(matches!(root.start_child(quiet("b")).await.unwrap_err(), RequestError::AlreadyStarted(_)));
    assert_eq!(root.restart_child("b").await.unwrap_err(), RequestError::Running);
    assert_eq!(root.delete_child("b").await.unwrap_err(), RequestError::Running);
    root.terminate_child("b").await.unwrap();
    assert!(!child.is_alive());
    root.terminate_child("b").await.unwrap();
    root.terminate_child(&child).await.unwrap();
    assert_eq!(root.start_child(quiet("b")).await.unwrap_err(), RequestError::AlreadyPresent);
    assert_eq!(listing(&root).await, rows(&[("a", true), ("b", false)]));
    assert_eq!(root.restart_child("b").await.unwrap().unwrap().incarnation(), 2);
    root.terminate_child("b").await.unwrap();
    root.delete_child("b").await.unwrap();
    for error in [root.delete_child("b").await, root.terminate_child("b").await, root.restart_child("b").await.map(drop)] {
        assert_eq!(error.unwrap_err(), RequestError::NotFound);
    }
    let counts = root.count_children().await.unwrap();
    assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (1, 1, 0, 1));
    root.stop().await;
    assert_eq!(root.count_children().await.unwrap_err(), RequestError::Terminating);
}

#[tokio::test]
async fn a_start_that_fails_on_request_leaves_nothing() {
    let root = up(tolerant(Strategy::OneForOne)).await;
    let missing = ChildSpec::process("missing", ProcessSpec::new("/no/such/program"));
    let error = root.start_child(missing).await.unwrap_err();
    assert!(matches!(&error, RequestError::StartFailed(reason) if reason.to_string().contains("/no/such/program")), "{error}");
    let faulty = quiet("faulty").significant(true);
    assert!(matches!(root.start_child(faulty).await.unwrap_err(), RequestError::Spec(SpecError::SignificantPermanent(_))));
    assert_eq!(listing(&root).await, rows(&[]));
    root.stop().await;
}

#[tokio::test]
async fn a_specification_is_told_with_its_defaults() {
    let root = up(tolerant(Strategy::OneForOne).child(quiet("a"))).await;
    let child = root.get_childspec("a").await.unwrap();
    assert_eq!((child.restart, child.shutdown), (RestartType::Permanent, ShutdownTimeout::After(Duration::from_secs(5))));
    assert_eq!((child.state, child.significant, child.supervisor), (ChildState::Running, false, false));
    assert_eq!(root.get_childspec("zz").await.unwrap_err(), RequestError::NotFound);
    root.stop().await;
}

#[tokio::test]
async fn a_reload_lets_everything_run_on() {
    let journal = Journal::default();
    let spec = |ids: &[&'static str]| tolerant(Strategy::OneForOne).children(ids.iter().map(|id| task(id, &journal, 0)));
    let root = up(spec(&["a", "b"])).await;
    let faulty = spec(&["a", "a"]);
    assert!(root.reload(faulty).await.is_err());
    assert_eq!(listing(&root).await, rows(&[("a", true), ("b", true)]));
    root.reload(spec(&["c", "b"])).await.unwrap();
    assert_eq!(listing(&root).await, rows(&[("c", false), ("b", true), ("a", true)]), "new ones wait, missing ones stay, last");
    root.restart_child("c").await.unwrap();
    // What runs under the old specification comes back under the new one.
    let transient = tolerant(Strategy::OneForOne).child(task("b", &journal, 0).restart(RestartType::Temporary));
    root.reload(transient).await.unwrap();
    let child = root.get_childspec("b").await.unwrap();
    assert_eq!(child.restart, RestartType::Temporary);
    let child = child.child.unwrap();
    child.kill();
    child.wait().await;
    while root.get_childspec("b").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&journal), ["+a", "+b", "+c"]);
    root.stop().await;
}

#[tokio::test]
async fn a_child_may_ask_its_own_supervisor() {
    let journal = Journal::default();
    let told = journal.clone();
    let parent = ChildSpec::task("parent", move |task: TaskContext| {
        let told = told.clone();
        async move {
            task.supervisor().start_child(super::task("sibling", &told, 0)).await?;
            task.shutdown_requested().await;
            Ok(())
        }
    });
    let root = up(tolerant(Strategy::OneForOne).child(parent)).await;
    until(&journal, 1).await;
    assert_eq!(listing(&root).await, rows(&[("parent", true), ("sibling", true)]));
    root.stop().await;
    assert_eq!(said(&journal), ["+sibling", "-sibling"]);
}

#[tokio::test]
async fn whoever_gives_up_waiting_changes_nothing() {
    let root = up(tolerant(Strategy::OneForOne)).await;
    let (release, wait) = tokio::sync::oneshot::channel::<()>();
    let wait = Mutex::new(Some(wait));
    let slow = ChildSpec::prepared("slow", move |task: TaskContext| {
        let wait = wait.lock().unwrap().take();
        async move {
            if let Some(wait) = wait {
                drop(wait.await);
            }
            Ok(async move {
                task.shutdown_requested().await;
                Ok(())
            })
        }
    });
    assert!(tokio::time::timeout(Duration::from_millis(20), root.start_child(slow)).await.is_err());
    drop(release);
    assert_eq!(listing(&root).await, rows(&[("slow", true)]));
    root.stop().await;
}

#[tokio::test]
async fn a_tree_ends_for_the_reason_it_was_given() {
    let root = up(tolerant(Strategy::OneForOne).child(quiet("a"))).await;
    assert_eq!(root.stop_with(ExitReason::ShutdownWith("upgrade".into())).await, ExitReason::ShutdownWith("upgrade".into()));
}

#[tokio::test(start_paused = true)]
async fn a_tree_may_have_a_deadline() {
    let patient = |id| ChildSpec::task(id, |_| std::future::pending()).shutdown(ShutdownTimeout::Infinity);
    let root = up(tolerant(Strategy::OneForOne).child(patient("a")).child(patient("b"))).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(root.stop_within(Duration::from_secs(3)).await, ExitReason::Killed);
    assert_eq!(begin.elapsed().as_secs(), 3);
    let root = up(tolerant(Strategy::OneForOne).child(quiet("a"))).await;
    assert_eq!(root.stop_within(Duration::from_secs(3)).await, ExitReason::Shutdown);
}

/// Collects what is written.
#[derive(Clone, Default)]
struct Pages(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_child_logs_names_its_incarnation() {
    let pages = Pages::default();
    let writer = pages.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).without_time().finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let journal = Journal::default();
    let told = journal.clone();
    let child = ChildSpec::task("child", move |task: TaskContext| {
        let told = told.clone();
        async move {
            tracing::info!("here I am");
            told.lock().unwrap().push(String::new());
            if task.incarnation() == 1 {
                return Err("crash".into());
            }
            task.shutdown_requested().await;
            Ok(())
        }
    });
    let root = up(tolerant(Strategy::OneForOne).name("app").child(child)).await;
    until(&journal, 2).await;
    root.stop().await;
    let text = String::from_utf8(pages.0.lock().unwrap().clone()).unwrap();
    for incarnation in 1..=2 {
        let line = format!("child{{supervisor=app id=child incarnation={incarnation}}}");
        assert!(text.lines().any(|text| text.contains(&line) && text.ends_with("here I am")), "{text}");
    }
    assert!(text.contains("child terminated"), "{text}");
}

//! Deadlines that hold whatever hangs below, and starts that nobody waits for any more.

use super::mishaps::observed;
use super::*;
use tokio::time::{Instant, timeout};

/// A task that does not listen and may take as long as it likes.
fn deaf(id: &str) -> ChildSpec {
    ChildSpec::task(id, |_| std::future::pending()).shutdown(ShutdownTimeout::Infinity)
}

/// A child that never comes up.
fn never_up(id: &str, journal: &Journal) -> ChildSpec {
    let journal = journal.clone();
    let begun = format!("+{id}");
    ChildSpec::prepared(id, move |_| {
        journal.lock().unwrap().push(begun.clone());
        std::future::pending::<Result<std::future::Ready<_>, _>>()
    })
}

fn below(id: &str, children: impl IntoIterator<Item = ChildSpec>) -> ChildSpec {
    ChildSpec::supervisor(id, SupervisorSpec::new(Strategy::OneForOne).children(children))
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_through_supervisors_that_may_take_as_long_as_they_like() {
    let slow = || ChildSpec::task("slow", |_| std::future::pending()).shutdown(ShutdownTimeout::After(Duration::from_secs(8)));
    let third = below("third", [deaf("deaf"), slow()]);
    let root = up(tolerant(Strategy::OneForOne).child(below("second", [third, deaf("deaf")])).child(deaf("deaf"))).await;
    let begin = Instant::now();
    let reason = timeout(Duration::from_secs(100), root.stop_within(Duration::from_secs(1))).await.expect("it never returns");
    assert_eq!((reason, begin.elapsed().as_secs()), (ExitReason::Killed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_holds_while_a_child_below_hangs_in_its_start() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForOne).child(below("second", [below("third", [])]))).await;
    let second = root.get_childspec("second").await.unwrap().child.unwrap();
    let third = second.as_supervisor().unwrap().get_childspec("third").await.unwrap().child.unwrap();
    let asker = tokio::spawn({
        let (third, child) = (third.as_supervisor().unwrap().clone(), never_up("hangs", &journal));
        async move { third.start_child(child).await.map(|_| ()) }
    });
    until(&journal, 1).await;
    let begin = Instant::now();
    let reason = timeout(Duration::from_secs(100), root.stop_within(Duration::from_secs(1))).await.expect("it never returns");
    assert_eq!((reason, begin.elapsed().as_secs()), (ExitReason::Killed, 1));
    assert!(timeout(Duration::from_secs(1), asker).await.expect("its asker hears of it").unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_stops_in_time_is_not_killed() {
    let journal = Journal::default();
    let root = up(tolerant(Strategy::OneForOne).child(below("second", [task("a", &journal, 0)])).child(task("b", &journal, 0))).await;
    until(&journal, 2).await;
    assert_eq!(root.stop_within(Duration::from_secs(1)).await, ExitReason::Shutdown);
    assert_eq!(said(&journal), ["+a", "+b", "-b", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_nobody_waits_for_any_more_is_undone() {
    let journal = Journal::default();
    let second = below("second", [task("b", &journal, 0), never_up("hangs", &journal), task("never", &journal, 0)]);
    let (spec, told) = observed(tolerant(Strategy::OneForOne).child(task("a", &journal, 0)).child(second).child(task("nor", &journal, 0)));
    assert!(timeout(Duration::from_secs(1), spec.start()).await.is_err());
    let ended = async {
        while said(&told).last().is_none_or(|last| last != "root: ended: shutdown") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(100), ended).await.expect("the tree goes on without anybody");
    // What hangs is killed at once, what was up is asked.
    assert_eq!(said(&journal), ["+a", "+b", "+hangs", "-b", "-a"]);
}

#[tokio::test]
async fn a_start_that_is_given_up_before_it_has_begun_starts_nothing() {
    let journal = Journal::default();
    let (spec, told) = observed(tolerant(Strategy::OneForOne).child(task("a", &journal, 0)));
    let mut start = Box::pin(spec.start());
    assert!(futures_util::FutureExt::now_or_never(&mut start).is_none());
    drop(start);
    until(&told, 1).await;
    assert_eq!(said(&told), ["root: ended: shutdown"]);
    assert!(said(&journal).is_empty());
}

#[tokio::test]
async fn a_tree_that_is_up_stays_whatever_becomes_of_its_handle() {
    let journal = Journal::default();
    let (spec, told) = observed(tolerant(Strategy::OneForOne).child(task("a", &journal, 1)));
    drop(up(spec).await);
    until(&journal, 2).await;
    assert!(!said(&told).iter().any(|told| told.contains("root: ended")), "{told:?}");
}

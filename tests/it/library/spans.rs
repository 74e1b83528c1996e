//! What a tracing subscriber sees of a tree: spans that end, and that do not hang on each other.

use std::sync::atomic::AtomicUsize;

use super::*;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// How often the child is restarted. In a debug build spans that hung on each other overflowed the stack at a thousand.
const RESTARTS: u64 = 50_000;

/// What is open, and how deep it went.
#[derive(Clone, Debug, Default)]
struct Seen {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    deepest: Arc<AtomicUsize>,
    /// Events of supervisors that were told within the span of a child.
    misplaced: Arc<AtomicUsize>,
}

impl<S> Layer<S> for Seen
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, _: &tracing::span::Attributes<'_>, id: &tracing::Id, context: Context<'_, S>) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(open, Ordering::Relaxed);
        let depth = context.span_scope(id).map_or(0, Iterator::count);
        self.deepest.fetch_max(depth, Ordering::Relaxed);
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let told_by_a_supervisor = event.metadata().fields().field("supervisor").is_some();
        if told_by_a_supervisor && context.lookup_current().is_some_and(|span| span.name() == "child") {
            self.misplaced.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_close(&self, _: tracing::Id, _: Context<'_, S>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seen {
    fn figures(&self) -> [usize; 4] {
        [&self.open, &self.most, &self.deepest, &self.misplaced].map(|figure| figure.load(Ordering::Relaxed))
    }
}

/// A child of each kind that fails until it has been restarted so often.
fn failing(kind: &str, restarts: u64) -> ChildSpec {
    struct Fails(u64);
    impl Actor for Fails {
        type Msg = ();
        type State = ();
        type Arguments = u64;
        async fn pre_start(&self, myself: ActorRef<()>, life: u64) -> Result<(), ActorProcessingErr> {
            if life < self.0 { Ok(myself.cast(())?) } else { Ok(()) }
        }
        async fn handle(&self, _: ActorRef<()>, (): (), (): &mut ()) -> Result<(), ActorProcessingErr> {
            Err("crash".into())
        }
    }
    let lives = Arc::new(AtomicU32::new(0));
    let work = move |task: TaskContext| async move {
        // What it makes itself belongs to it.
        let _span = tracing::info_span!("work");
        if task.incarnation() <= restarts {
            return Err("crash".into());
        }
        task.shutdown_requested().await;
        Ok::<(), ms_supervisor::BoxError>(())
    };
    match kind {
        "task" => ChildSpec::task("child", work),
        // The first start succeeds; each restart fails, and is tried again by a message of the supervisor to itself.
        "prepared" => ChildSpec::prepared("child", move |task: TaskContext| async move {
            match task.incarnation() {
                1 => Ok(work(task)),
                life if life <= restarts => Err("not yet".into()),
                _ => Ok(work(task)),
            }
        }),
        "thread" => ChildSpec::thread("child", move |thread: ms_supervisor::ThreadContext| {
            if thread.incarnation() <= restarts {
                return Err("crash".into());
            }
            while !thread.wait_for_shutdown(Duration::from_secs(1)) {}
            Ok(())
        }),
        _ => ChildSpec::actor("child", move || (Fails(restarts), u64::from(lives.fetch_add(1, Ordering::Relaxed)))),
    }
}

/// Restarts a child of this kind so often under a registry, then stops the tree in order.
async fn restarted(kind: &str, restarts: u64) {
    let seen = Seen::default();
    let subscriber = tracing_subscriber::registry().with(seen.clone());
    let _default = tracing::subscriber::set_default(subscriber);
    let below = SupervisorSpec::new(Strategy::OneForOne).intensity(u32::MAX, Duration::from_secs(1)).child(failing(kind, restarts));
    let root = up(tolerant(Strategy::OneForOne).child(ChildSpec::supervisor("below", below))).await;
    let below = root.get_childspec("below").await.unwrap().child.unwrap();
    let settled = async {
        loop {
            let child = below.as_supervisor().unwrap().get_childspec("child").await.unwrap();
            if child.child.is_some_and(|child| child.incarnation() > restarts && child.is_alive()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(240), settled).await.unwrap();
    let [open, most, deepest, misplaced] = seen.figures();
    println!("{kind}: {restarts} restarts: {open} spans open, {most} at most, {deepest} deep; {misplaced} events misplaced");
    // Of each supervisor its own and ractor's; of the child its own and one that it makes, or ractor's; of one that is just ending as well.
    assert!(open <= 6 && most <= 8, "{seen:?}");
    assert!(deepest <= 2, "the child, and what it makes: {seen:?}");
    assert_eq!(misplaced, 0, "{seen:?}");
    assert_eq!(root.stop().await, ExitReason::Shutdown);
    drop(root);
    drop(below);
    for _ in 0..100 {
        // What has told its end may still be about to be dropped.
        tokio::task::yield_now().await;
    }
    assert_eq!(seen.figures()[0], 0, "nothing is left open");
}

#[tokio::test]
async fn spans_of_incarnations_do_not_hang_on_each_other() {
    restarted("task", RESTARTS).await;
}

#[tokio::test]
async fn nor_do_those_of_an_actor_or_of_starts_that_fail() {
    restarted("actor", RESTARTS / 10).await;
    restarted("prepared", RESTARTS / 10).await;
}

#[tokio::test]
async fn nor_do_those_of_threads() {
    // Its spans are another thread's, which has no subscriber here: what counts is the chain.
    restarted("thread", RESTARTS / 50).await;
}

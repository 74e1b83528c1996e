//! A child of the library that fails again and again under a `tracing` subscriber that keeps spans.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ms_supervisor::{ChildSpec, ExitReason, Strategy, SupervisorSpec, TaskContext};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::Fault;
use crate::node::Memory;

/// How often it is restarted.
const RESTARTS: u64 = 1_000_000;

/// Counts the spans that are open.
#[derive(Clone, Default)]
struct Open(Arc<AtomicI64>, Arc<AtomicI64>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Open {
    fn on_new_span(&self, _: &tracing::span::Attributes<'_>, _: &tracing::Id, _: Context<'_, S>) {
        let open = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        self.1.fetch_max(open, Ordering::Relaxed);
    }

    fn on_close(&self, _: tracing::Id, _: Context<'_, S>) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A million restarts, then an orderly stop.
pub(crate) fn spans(_: Duration) -> Result<String, Fault> {
    let open = Open::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(open.clone()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let own = || Memory::of(std::process::id().into());
    runtime.block_on(async {
        let done = Arc::new(tokio::sync::Notify::new());
        let finished = done.clone();
        let child = ChildSpec::task("child", move |task: TaskContext| {
            let done = done.clone();
            async move {
                if task.incarnation() <= RESTARTS {
                    return Err("crash".into());
                }
                done.notify_one();
                task.shutdown_requested().await;
                Ok(())
            }
        });
        let (before, begun) = (own()?, Instant::now());
        let spec = SupervisorSpec::new(Strategy::OneForOne).intensity(u32::MAX, Duration::from_secs(1)).child(child);
        let root = spec.start().await?;
        finished.notified().await;
        let (after, took, left) = (own()?, begun.elapsed(), open.0.load(Ordering::Relaxed));
        let begun = Instant::now();
        let reason = root.stop().await;
        if reason != ExitReason::Shutdown {
            return Err(format!("it ended otherwise than in order: {reason}").into());
        }
        Ok(format!(
            "{RESTARTS} restarts in {:.1} s, {:.1} us each; {left} spans open then, {} at most, {} after the stop, which took {:.1} ms; \
             resident {} KiB before and {} KiB after",
            took.as_secs_f64(),
            took.as_secs_f64() * 1e6 / RESTARTS as f64,
            open.1.load(Ordering::Relaxed),
            open.0.load(Ordering::Relaxed),
            begun.elapsed().as_secs_f64() * 1e3,
            before.resident,
            after.resident,
        ))
    })
}

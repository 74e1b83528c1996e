//! Probes of one's own: whether a child that runs is well.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::incarnation::{Incarnation, Start};
use crate::actor::guard::{Foreign, guard_until};
use crate::actor::orders::{Order, Orders};
use crate::base::choice::ProbeRole;
use crate::base::exit::ExitReason;
use crate::base::outcome::Outcome;
use crate::base::rng::Rng;
use crate::base::shutdown::ShutdownTimeout;
use crate::base::time::format_duration;
use crate::os::clock::{self, RuntimeClock};
use crate::policy::Machine as _;
use crate::policy::health::{Effect, Health, Input, Timing};

/// Woken so much later than it wanted, the runtime did not run meanwhile: what failed then says nothing of the child.
const STALLED: Duration = Duration::from_secs(1);

/// Asks again and again whether a child is well. One that is not well often enough in a row is ended, as if it had failed by itself:
/// asked to end, killed when its shutdown time is over, and restarted as its [`RestartType`](crate::RestartType) says. The reason is
/// `probe NAME: ` with what was found.
///
/// It is asked from `initial_delay` after the child is up, at a fixed rate, one answer at a time, at a time of its own within the period. An
/// answer that takes longer than `timeout` has failed; one that panics, or that is [`Outcome::unknown`], says nothing. What failed while
/// the runtime itself stood still is not counted.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use ms_supervisor::{ChildSpec, Outcome, Probe, TaskContext};
///
/// let waiting = Arc::new(AtomicU64::new(0));
/// let queue = waiting.clone();
/// let probe = Probe::new("queue", move || {
///     let waiting = queue.load(Ordering::Relaxed);
///     async move { if waiting < 1000 { Outcome::ok("") } else { Outcome::failed(format!("{waiting} are waiting")) } }
/// });
/// let worker = ChildSpec::task("worker", |task: TaskContext| async move {
///     task.shutdown_requested().await;
///     Ok(())
/// });
/// let worker = worker.probe(probe.period(Duration::from_secs(5)).failure_threshold(2));
/// ```
#[derive(Clone)]
pub struct Probe {
    name: Arc<str>,
    period: Duration,
    timeout: Duration,
    initial_delay: Duration,
    failure_threshold: u32,
    ask: Arc<dyn Fn() -> BoxFuture<'static, Outcome> + Send + Sync>,
}

impl Probe {
    /// A probe called `name`; `ask` is called for each answer.
    pub fn new<F, Fut>(name: &str, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let second = Duration::from_secs(1);
        Self {
            name: name.into(),
            period: second * 10,
            timeout: second,
            initial_delay: Duration::ZERO,
            failure_threshold: 3,
            ask: Arc::new(move || Box::pin(ask())),
        }
    }

    /// How often it is asked; at least a millisecond. Default: 10 seconds.
    #[must_use]
    pub const fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// How long an answer may take. Default: 1 second.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long after the child is up it is asked first, and up to a period later. Default: none.
    #[must_use]
    pub const fn initial_delay(mut self, delay: Duration) -> Self {
        self.initial_delay = delay;
        self
    }

    /// So many failures in a row end the child; at least 1. Default: 3.
    #[must_use]
    pub const fn failure_threshold(mut self, failures: u32) -> Self {
        self.failure_threshold = failures;
        self
    }

    fn timing(&self) -> Timing {
        Timing {
            name: self.name.to_string(),
            role: ProbeRole::Liveness,
            period: self.period,
            min_period: None,
            initial_delay: self.initial_delay,
            failure_threshold: self.failure_threshold,
            success_threshold: 1,
            breaker: None,
        }
    }

    async fn answer(&self) -> Outcome {
        // The call itself is part of the answer, and may panic as well; so may the answer when it is dropped for being late.
        let answer = async { (self.ask)().await };
        match guard_until(answer, tokio::time::sleep(self.timeout)).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Outcome::failed(format!("no answer within {}", format_duration(self.timeout))),
            Err(panic) => Outcome::unknown(panic.to_string()),
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("name", &self.name).field("period", &self.period).finish_non_exhaustive()
    }
}

/// Why an incarnation was ended by a probe, if it was.
pub(super) type Condemned = Arc<OnceLock<ExitReason>>;

/// The same start, with probes that watch what it has started.
pub(super) fn probed(start: Start, probes: Vec<Probe>, shutdown: ShutdownTimeout) -> Start {
    let probes: Vec<_> = probes.into_iter().map(Arc::new).collect();
    Foreign::new(Arc::new(move |mut life: Incarnation| {
        let condemned = Condemned::default();
        life.condemned = Some(condemned.clone());
        let seed = Rng::derive(clock::mono().0, &[life.place.home.path.as_ref(), &life.place.id]);
        let watch = Watch { probes: probes.clone(), orders: life.orders.clone(), condemned, shutdown, clock: RuntimeClock::new() };
        tokio::spawn(watch.run(seed));
        start(life)
    }))
}

/// Watches one incarnation.
struct Watch {
    probes: Vec<Arc<Probe>>,
    orders: Orders,
    condemned: Condemned,
    shutdown: ShutdownTimeout,
    clock: RuntimeClock,
}

impl Watch {
    /// Until the incarnation is to end, or is not well.
    async fn run(self, rng: Rng) {
        self.orders.wait(Order::Up).await;
        if self.orders.given(Order::Stop) {
            return;
        }
        let why = tokio::select! {
            why = self.look(rng) => why,
            () = self.orders.wait(Order::Stop) => return,
        };
        // Whoever asks it to end from now on does so for nothing: this is why it ended.
        let _first = self.condemned.set(ExitReason::error(why));
        self.end().await;
    }

    /// Returns what has made it unwell.
    async fn look(&self, rng: Rng) -> String {
        let mut health = Health::timed(self.probes.iter().map(|probe| probe.timing()), rng);
        let (mut running, mut texts) = (JoinSet::new(), vec![String::new(); self.probes.len()]);
        let mut effects = Vec::new();
        health.step(self.clock.now(), Input::Begin { found: false }, &mut effects);
        loop {
            for effect in effects.drain(..) {
                match effect {
                    Effect::Probe(at) => {
                        let probe = self.probes[at].clone();
                        running.spawn(async move { (at, probe.answer().await) });
                    }
                    Effect::Dead(at) => return format!("probe {}: {}", self.probes[at].name, texts[at]),
                    Effect::Changed(..) | Effect::Ready(_) | Effect::Breaker(..) | Effect::Late(_) => {}
                }
            }
            let due = health.deadline();
            tokio::select! {
                Some(Ok((probe, outcome))) = running.join_next() => {
                    texts[probe] = outcome.text;
                    let input = Input::Outcome { probe, verdict: outcome.verdict, is_tense: false };
                    health.step(self.clock.now(), input, &mut effects);
                }
                () = self.clock.sleep_until(due) => {
                    let now = self.clock.now();
                    if due.is_some_and(|due| now - due >= STALLED) {
                        health.step(now, Input::StoodStill(now), &mut effects);
                    }
                    health.wake(now, &mut effects);
                }
            }
        }
    }

    /// Ends it as its supervisor would.
    async fn end(&self) {
        let patience = match self.shutdown {
            ShutdownTimeout::BrutalKill => Some(Duration::ZERO),
            ShutdownTimeout::After(time) => Some(time),
            ShutdownTimeout::Infinity => None,
        };
        if patience != Some(Duration::ZERO) {
            self.orders.give(Order::Stop);
        }
        let Some(patience) = patience else { return };
        tokio::select! {
            () = self.orders.wait(Order::Ended) => {}
            () = tokio::time::sleep(patience) => self.orders.give(Order::Kill),
        }
    }
}

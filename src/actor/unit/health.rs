//! What the unit's probes say, and what follows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ractor::ActorRef;

use super::{Entry, Msg, Unit, status, symptom};
use crate::actor::context::Context;
use crate::actor::gate::Standing as Gate;
use crate::actor::prober::{Arguments, News, Order, Prober};
use crate::base::breaker::BreakerState;
use crate::base::choice::{FailureClass, ProbeRole};
use crate::base::outcome::{Value, Verdict};
use crate::base::rng::Rng;
use crate::base::time::approx_duration;
use crate::event::{Event, ProbeStatus};
use crate::os::check::Surroundings;
use crate::os::foreign::{self, Purpose, Table};
use crate::os::{clock, evidence};
use crate::plan::UnitPlan;
use crate::policy::breaker::Changed;
use crate::policy::health::{Health, Standing};
use crate::policy::lifecycle::{Input, State as Life};

/// How long it may take to write down what a process is doing. The restart does not wait for longer.
const EVIDENCE_WITHIN: Duration = Duration::from_secs(1);

/// Whether a run is ready: two have to say so.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Its `readiness` is fulfilled.
    told: bool,
    /// Its startup and readiness probes have passed.
    probed: bool,
    /// It was ready, and its probes say that it is not any more.
    lost: bool,
}

impl Readiness {
    /// Whether it runs, but may not be given work.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }
}

impl Unit {
    /// A process runs; `found`: it did so, and was ready, before this brain began.
    pub(super) fn begin_probes(&mut self, myself: &ActorRef<Msg>, found: bool) {
        self.begin_binding(myself);
        let is_gated = Health::gates_readiness(&self.plan.probes);
        self.health =
            Readiness { told: self.plan.readiness.kind == crate::plan::ReadinessKind::None, probed: !is_gated || found, lost: false };
        self.prober = None;
        self.change(|status| status.probes = statuses(&self.plan));
        let has_any = !self.plan.probes.is_empty() || self.plan.watchdog.is_some();
        let Some(process) = self.process.filter(|_| has_any) else { return };
        let surroundings = surroundings(&self.context, &self.plan, process.pid);
        let arguments = Arguments {
            plans: self.plan.probes.clone(),
            watchdog: self.plan.watchdog.clone(),
            rng: Rng::derive(self.context.seed, &[self.plan.id.as_str(), "probes"]),
            surroundings,
            found,
            turns: self.context.turns.clone(),
            host: self.context.host.clone(),
            sparing: self.context.degradation.sparing(),
            programs: self.context.programs.clone(),
            unit: Some(self.plan.clone()),
        };
        let (actor, run) = (myself.clone(), self.run);
        let prober = Prober::start(arguments, move |news| actor.cast(Msg::Probed(run, news)).is_ok());
        if self.driver.machine.is_paused() {
            prober.order(Order::Pause);
        }
        self.prober = Some(prober);
    }

    /// The process has ended.
    pub(super) fn end_probes(&mut self) {
        (self.prober, self.binding) = (None, None);
        self.health = Readiness::default();
        self.change(|status| status.probes.iter_mut().for_each(ProbeStatus::forget));
    }

    /// The unit stands still, or goes on.
    pub(super) fn pause_probes(&self, is_paused: bool) {
        if let Some(prober) = &self.prober {
            prober.order(if is_paused { Order::Pause } else { Order::Resume });
        }
    }

    /// Its `readiness` is fulfilled.
    pub(super) fn told_ready(&mut self, myself: &ActorRef<Msg>) {
        self.health.told = true;
        self.ready_if_due(myself);
    }

    fn ready_if_due(&mut self, myself: &ActorRef<Msg>) {
        if self.health.told && self.health.probed {
            self.step(myself, Input::Ready);
        }
    }

    /// A probe has news.
    pub(super) fn probed(&mut self, myself: &ActorRef<Msg>, news: News) {
        match news {
            News::Found { .. } | News::Changed(..) | News::Late(_) => shown(&self.context, &self.plan, &self.entry, news),
            News::Ready(is_ready) => self.ready_changed(myself, is_ready),
            News::Dead(probe) => self.look_at_the_dying(myself, probe),
            News::Phi(phi) => self.heard(Verdict::Ok, String::new(), phi),
            News::Silent(silence, phi) => {
                let text = format!("no sign of life for {} (phi {phi:.1})", approx_duration(silence));
                self.heard(Verdict::Failed, text, phi);
                self.look_at_the_dying(myself, self.plan.probes.len());
            }
            News::Breaker(probe, changed) => self.breaker_changed(Some(probe), changed),
        }
    }

    /// The breaker of its restarts, or of a probe, stands elsewhere.
    pub(super) fn breaker_changed(&self, at: Option<usize>, changed: Changed) {
        breaker_changed(&self.context, &self.plan, &self.entry, at, changed);
    }

    /// It gives a sign of life.
    pub(super) fn beat(&self, sequence: Option<u64>) {
        if let Some(prober) = &self.prober {
            prober.order(Order::Beat(sequence));
        }
    }

    /// It knows itself to be broken.
    pub(super) fn called_for_help(&self, myself: &ActorRef<Msg>) {
        if self.plan.watchdog.is_some() {
            self.heard(Verdict::Failed, "it says itself that it is broken".into(), 0.0);
            self.look_at_the_dying(myself, self.plan.probes.len());
        }
    }

    /// The unit is ready: from now on its silence counts.
    pub(super) fn listen(&self) {
        if let Some(prober) = &self.prober {
            prober.order(Order::Ready);
        }
    }

    /// What is to be shown of the watchdog.
    fn heard(&self, verdict: Verdict, text: String, phi: f64) {
        let values = vec![Value::new("phi", phi, "")];
        self.change(|status| {
            let Some(status) = status.probes.get_mut(self.plan.probes.len()) else { return };
            let standing = if verdict == Verdict::Ok { Standing::Passing } else { Standing::Failing };
            if status.standing != standing.as_str() {
                standing.as_str().clone_into(&mut status.standing);
                status.since = clock::wall();
            }
            (status.verdict, status.text, status.values) = (verdict, text, values);
        });
    }

    fn ready_changed(&mut self, myself: &ActorRef<Msg>, is_ready: bool) {
        self.health.probed = is_ready;
        if self.driver.machine.state() != Life::Active {
            return self.ready_if_due(myself);
        }
        let unit = self.plan.id.clone();
        if is_ready && std::mem::take(&mut self.health.lost) {
            self.context.gates.set(&unit, Gate::Ready);
            self.change(|status| status.reason = None);
            self.tell(Event::UnitReady { unit });
        } else if !is_ready && !std::mem::replace(&mut self.health.lost, true) {
            self.context.gates.set(&unit, Gate::Pending);
            let why = why_unready(&self.entry);
            self.change(|status| status.reason = Some(format!("not ready for work: {why}")));
            self.tell(Event::UnitUnready { unit, why });
        }
        self.publish();
    }

    /// It is not well, and what it was doing is written down, or cannot be.
    pub(super) fn unwell(&mut self, myself: &ActorRef<Msg>, class: FailureClass, why: String, incident: Option<PathBuf>) {
        // It may have ended meanwhile, or be about to.
        if !matches!(self.driver.machine.state(), Life::Activating | Life::Active) {
            return;
        }
        let (unit, pid) = (self.id().clone(), self.process.map_or(0, |process| process.pid));
        self.tell(Event::UnitUnwell { unit, pid, why: why.clone(), incident });
        self.step(myself, Input::Unwell(class, why.into()));
    }

    /// Before it is ended: what it is doing is gone afterwards.
    fn look_at_the_dying(&self, myself: &ActorRef<Msg>, at: usize) {
        let (Some(process), true) = (self.process, matches!(self.driver.machine.state(), Life::Activating | Life::Active)) else { return };
        let mut why = String::new();
        self.change(|status| why = status.probes.get(at).map(ProbeStatus::sentence).unwrap_or_default());
        let (directory, unit, text) = (self.context.directories.incidents(), self.plan.id.clone(), why.clone());
        let (actor, run, pid) = (myself.clone(), self.run, process.pid);
        // The watchdog stands behind the probes.
        let class = if at < self.plan.probes.len() { FailureClass::Probe } else { FailureClass::Hang };
        tokio::spawn(async move {
            let whose = format!("evidence of {unit}");
            let write = move || evidence::write(&directory, &unit, pid, &text, clock::wall());
            let look = foreign::look((Purpose::Other, Table::Own), &whose, EVIDENCE_WITHIN, write);
            let incident = look.await.ok().and_then(Result::ok);
            drop(actor.cast(Msg::Unwell(run, class, why, incident)));
        });
    }
}

/// What only shows in the entry of a unit, and is told.
pub(super) fn shown(context: &Context, plan: &UnitPlan, entry: &Entry, news: News) {
    let at = match &news {
        News::Found { probe, .. } | News::Changed(probe, _) | News::Late(probe) | News::Breaker(probe, _) | News::Dead(probe) => *probe,
        News::Ready(_) | News::Phi(_) | News::Silent(..) => return,
    };
    let mut told = None;
    status::change(entry, |status| {
        let (Some(status), Some(plan)) = (status.probes.get_mut(at), plan.probes.get(at)) else { return };
        match news {
            News::Found { outcome, took, .. } => status.found(outcome, took),
            News::Late(_) => status.late += 1,
            News::Changed(_, standing) => {
                standing.as_str().clone_into(&mut status.standing);
                status.since = clock::wall();
                told = Some((plan.clone(), standing, status.text.clone()));
            }
            _ => {}
        }
    });
    if let Some((probe, standing, text)) = told {
        symptom::probe_is(context, plan, &probe, standing, &text);
        let (unit, role, passing) = (plan.id.clone(), probe.role, standing == Standing::Passing);
        context.bus.tell(Event::ProbeChanged { unit, probe: probe.name.clone(), role, passing, text });
    }
}

/// The breaker of the restarts of a unit, or of a probe, stands elsewhere.
pub(super) fn breaker_changed(context: &Context, plan: &UnitPlan, entry: &Entry, at: Option<usize>, changed: Changed) {
    let probe = at.and_then(|at| plan.probes.get(at)).map(|probe| probe.name.clone());
    status::change(entry, |status| {
        if let Some(probe) = at.and_then(|at| status.probes.get_mut(at)) {
            probe.breaker = Some(changed.to);
        }
    });
    let open_for = changed.until.filter(|_| changed.to == BreakerState::Open).map(|until| until - clock::mono());
    let Changed { from, to, calls, .. } = changed;
    let (calls, failed) = (calls.total, calls.failed);
    context.bus.tell(Event::BreakerChanged { unit: plan.id.clone(), probe, from, to, calls, failed, open_for });
}

/// Why a unit may not be given work: a probe of it that fails.
pub(super) fn why_unready(entry: &Entry) -> String {
    let mut why = String::from("its probes say so");
    status::change(entry, |status| {
        let failing = status.probes.iter().find(|probe| probe.standing == Standing::Failing.as_str());
        if let Some(probe) = failing {
            why = probe.sentence();
        }
    });
    why
}

/// What the probes of a unit have to know of it.
pub(super) fn surroundings(context: &Context, plan: &UnitPlan, pid: u32) -> Surroundings {
    let environment = context.environment.iter().map(|(name, value)| (name, value)).chain(plan.open_environment());
    Surroundings {
        unit: plan.id.clone(),
        pid,
        directory: plan.working_directory.clone(),
        environment: environment.map(|(name, value)| (name.clone(), value.clone())).collect(),
        logs: context.directories.logs.clone(),
        cgroup: context.limits.cgroup(plan.id.as_str()),
    }
}

/// How the probes of a unit stand before any of them has said anything.
pub(super) fn statuses(plan: &Arc<UnitPlan>) -> Vec<ProbeStatus> {
    let probes = plan.probes.iter().map(|probe| ProbeStatus {
        breaker: probe.breaker.as_ref().map(|_| BreakerState::Closed),
        ..ProbeStatus::new(probe.name.clone(), probe.role, probe.kind.as_str())
    });
    let watchdog = plan.watchdog.as_ref().map(|_| ProbeStatus::new("watchdog".into(), ProbeRole::Liveness, "heartbeat"));
    probes.chain(watchdog).collect()
}

//! What the probes of a watched unit say. They look at its oldest process; whatever they find, nothing is done to it.

use std::sync::Arc;

use ractor::ActorRef;

use super::super::health;
use super::{Msg, Watched};
use crate::actor::prober::{Arguments, News, Prober};
use crate::base::choice::ProbeRole;
use crate::base::rng::Rng;
use crate::event::{Event, ProbeStatus};
use crate::plan::ProbePlan;
use crate::policy::watch::State;

impl Watched {
    /// Has its probes look at the process that is the oldest now.
    pub(super) fn attend(&mut self, myself: &ActorRef<Msg>) {
        let main = self.driver.machine.main().filter(|_| self.driver.machine.state() == State::Present);
        if self.prober.as_ref().map(|(process, _)| *process) == main {
            return;
        }
        self.prober = None;
        self.probed += 1;
        let Some(process) = main.filter(|_| !self.plan.probes.is_empty()) else {
            return self.change(|status| status.probes.iter_mut().for_each(ProbeStatus::forget));
        };
        let arguments = Arguments {
            plans: self.plan.probes.iter().map(harmless).collect(),
            watchdog: None,
            rng: Rng::derive(self.context.seed, &[self.plan.id.as_str(), "probes"]),
            surroundings: health::surroundings(&self.context, &self.plan, process.pid),
            found: self.is_ready && !self.is_lost,
            turns: self.context.turns.clone(),
            programs: self.context.programs.clone(),
            // Its user is looked for, and not ours to become.
            unit: None,
            host: self.context.host.clone(),
            sparing: self.context.degradation.sparing(),
        };
        let (actor, probed) = (myself.clone(), self.probed);
        let prober = Prober::start(arguments, move |news| actor.cast(Msg::Probed(probed, news)).is_ok());
        self.prober = Some((process, prober));
    }

    /// A probe has news.
    pub(super) fn probe_says(&mut self, news: News) {
        match news {
            News::Found { .. } | News::Changed(..) | News::Late(_) => health::shown(&self.context, &self.plan, &self.entry, news),
            News::Breaker(probe, changed) => health::breaker_changed(&self.context, &self.plan, &self.entry, Some(probe), changed),
            News::Ready(is_ready) => self.ready_changed(is_ready),
            // No probe of it asks for an end, and it has no watchdog.
            News::Dead(_) | News::Phi(_) | News::Silent(..) => return,
        }
        self.publish();
    }

    fn ready_changed(&mut self, is_ready: bool) {
        let unit = self.plan.id.clone();
        match (self.is_ready, self.is_lost, is_ready) {
            (false, _, true) => self.is_ready = true,
            (true, true, true) => {
                self.is_lost = false;
                self.tell(Event::UnitReady { unit });
            }
            (true, false, false) => {
                self.is_lost = true;
                self.tell(Event::UnitUnready { unit, why: self.why_lost() });
            }
            (false, _, false) | (true, true, false) | (true, false, true) => return,
        }
        self.open();
    }

    pub(super) fn why_lost(&self) -> String {
        health::why_unready(&self.entry)
    }
}

/// What is found dead is not ended, only not given work: until it passes again.
fn harmless(plan: &Arc<ProbePlan>) -> Arc<ProbePlan> {
    match plan.role {
        ProbeRole::Observe | ProbeRole::Readiness => plan.clone(),
        ProbeRole::Liveness | ProbeRole::Startup => Arc::new(ProbePlan { role: ProbeRole::Readiness, ..(**plan).clone() }),
    }
}

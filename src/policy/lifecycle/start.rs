//! From "start" to a running, ready process.

use std::time::Duration;

use super::{Effect, Lifecycle, State, Verdict};
use crate::base::choice::ProbeRole;
use crate::base::exit::ExitReason;
use crate::base::time::Mono;
use crate::plan::{ReadinessKind, Response};
use crate::policy::backoff::Failure;
use crate::policy::health::Health;

impl Lifecycle {
    pub(super) fn start(&mut self, now: Mono, hold_back: bool, out: &mut Vec<Effect>) {
        match self.state {
            State::Stopped => {
                if let Some(until) = self.held_until.take().filter(|&until| until > now) {
                    return self.enter(State::Backoff, Some(until), out);
                }
                if !hold_back {
                    self.streak.reset();
                    self.failed = None;
                    self.close_breaker(now, out);
                    return self.ask_gate(now, out);
                }
                let failure = std::mem::take(&mut self.failure);
                let failure = Failure { weight: failure.weight.max(1), ..failure };
                let delay = self.streak.next_delay(&self.plan.restart.backoff, now, failure, &mut self.rng);
                let delay = match self.response() {
                    Some((_, Response::After(delay))) => delay,
                    _ => delay,
                };
                self.start_late(now, delay, out);
            }
            // Adopted: it runs already.
            State::Active => {
                self.is_up = true;
                out.push(Effect::Started);
            }
            State::Activating => self.watch_readiness(now, out),
            State::Cleaning => self.start_wanted = true,
            // An earlier brain has asked it to end.
            State::Stopping | State::Killing => (self.start_wanted, self.verdict) = (true, Some(Verdict::Silent)),
            // The supervisor asks once and waits for the answer.
            State::Backoff | State::Waiting | State::Spawning => {}
        }
    }

    pub(super) fn start_late(&mut self, now: Mono, delay: Duration, out: &mut Vec<Effect>) {
        if self.state != State::Stopped || self.held_until.is_some() {
            return self.start(now, false, out);
        }
        self.failed = None;
        if delay.is_zero() {
            return self.ask_gate(now, out);
        }
        out.push(Effect::HeldBack(delay));
        self.enter(State::Backoff, Some(now + delay), out);
    }

    pub(super) fn ask_gate(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if !self.passes_breaker(now, out) {
            return;
        }
        self.enter(State::Waiting, None, out);
        out.push(Effect::AskGate);
    }

    fn watch_readiness(&mut self, now: Mono, out: &mut Vec<Effect>) {
        // One that was adopted begins anew.
        let (timeout, begun) = (self.start_timeout(), self.begun.take().unwrap_or(now));
        out.push(Effect::WatchReadiness);
        // Startup probes have a time of their own.
        let is_probed = self.plan.probes.iter().any(|probe| probe.role == ProbeRole::Startup);
        let deadline = if self.is_paused() || is_probed { None } else { Some(begun + timeout) };
        self.enter(State::Activating, deadline, out);
    }

    /// How long it may take to become ready.
    pub(super) fn start_timeout(&self) -> Duration {
        let declared = self.plan.readiness.timeout;
        if self.plan.readiness.learned { self.start_times.deadline(declared) } else { declared }
    }

    pub(super) fn spawned(&mut self, now: Mono, out: &mut Vec<Effect>) {
        if self.state != State::Spawning {
            return;
        }
        self.spawned = Some(now);
        if std::mem::take(&mut self.stop_wanted) {
            self.ask_to_end(now, Verdict::Ended(ExitReason::Shutdown), out);
        } else if self.plan.readiness.kind == ReadinessKind::None && !Health::gates_readiness(&self.plan.probes) {
            self.active(now, out);
        } else {
            self.watch_readiness(now, out);
        }
    }

    pub(super) fn active(&mut self, now: Mono, out: &mut Vec<Effect>) {
        self.enter(State::Active, None, out);
        self.is_up = true;
        if let Some(spawned) = self.spawned {
            self.start_times.came_up(now - spawned);
        }
        self.try_out(now);
        out.extend([Effect::LeaveGate, Effect::Started]);
    }
}

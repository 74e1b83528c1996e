//! What starts, failed starts and exits lead to.

use super::child::{Child, ChildKey, Goal, Standing};
use super::core::{Phase, Supervisor, reply_all};
use super::request::{Reply, RequestError};
use super::{AtLimit, AutoShutdown, Effect, FirstStart, Report, Run, StartCause};
use crate::base::choice::{RestartType, Strategy};
use crate::base::exit::ExitReason;
use crate::base::time::Mono;

impl Supervisor {
    pub(super) fn started(&mut self, run: Run, out: &mut Vec<Effect>) {
        let Some(child) = self.live(run).filter(|child| child.standing == Standing::Starting) else { return };
        out.push(Effect::Report(Report::ChildStarted { child: child.spec.id.clone(), incarnation: run.incarnation }));
        let waiting = self.change(run.child, |child| {
            child.standing = Standing::Up;
            child.was_up = run.incarnation;
            child.free = false;
            child.fresh = false;
            std::mem::take(&mut child.on_up)
        });
        reply_all(waiting, &Reply::Started(run), out);
    }

    pub(super) fn ignored(&mut self, run: Run, out: &mut Vec<Effect>) {
        if self.live(run).is_none() {
            return;
        }
        let dynamic = self.flags.dynamic;
        let waiting = self.change(run.child, |child| {
            child.goal = if dynamic || child.spec.restart == RestartType::Temporary { Goal::Remove } else { Goal::Rest };
            child.fresh = false;
            std::mem::take(&mut child.on_up)
        });
        reply_all(waiting, &Reply::Ignored, out);
        self.down(run.child, out);
    }

    pub(super) fn start_failed(&mut self, now: Mono, run: Run, reason: ExitReason, out: &mut Vec<Effect>) {
        let Some(child) = self.live(run) else { return };
        let stopped = child.standing == Standing::Stopping;
        let (id, cause, fresh) = (child.spec.id.clone(), child.cause, child.fresh);
        let waiting = self.change(run.child, |child| {
            if fresh {
                child.goal = Goal::Remove;
            }
            std::mem::take(&mut child.on_up)
        });
        reply_all(waiting, &Reply::Error(RequestError::StartFailed(reason.clone())), out);
        self.down(run.child, out);
        if stopped || self.terminating() || !self.children.contains_key(&run.child) {
            return;
        }
        if cause != StartCause::Request {
            out.push(Effect::Report(Report::StartError { child: id.clone(), reason: reason.clone() }));
        }
        if self.phase == Phase::Starting && self.flags.first_start == FirstStart::RollBack {
            self.terminate(ExitReason::ShutdownWith(format!("failed to start child {id}: {reason}").into()));
        } else if !self.sequential() {
            self.start_again(now, run, reason, out);
        } else if cause == StartCause::Request {
            self.change(run.child, |child| child.goal = Goal::Rest);
        } else {
            self.wait_for_retry(run, reason, out);
        }
    }

    /// A failed restart is tried again behind what is queued. Whoever was to be started after it in the same round stays without a
    /// process until then.
    fn wait_for_retry(&mut self, run: Run, reason: ExitReason, out: &mut Vec<Effect>) {
        self.change(run.child, |child| {
            child.standing = Standing::Restarting;
            child.ended = Some(reason);
        });
        for (_, key) in self.schedule.to_start.clone() {
            self.change(key, |child| child.goal = Goal::Rest);
        }
        out.push(Effect::Retry(run));
    }

    /// A concurrent supervisor tries again at once: its children take their time themselves.
    fn start_again(&mut self, now: Mono, run: Run, reason: ExitReason, out: &mut Vec<Effect>) {
        if self.children[&run.child].spec.restart == RestartType::Temporary {
            self.change(run.child, |child| child.gave_up = Some(reason));
        } else if self.counts(now, run.child, reason, out) {
            self.restart(run.child, StartCause::Retry);
        }
    }

    pub(super) fn try_again(&mut self, now: Mono, run: Run, out: &mut Vec<Effect>) {
        let due = |child: &&Child| child.standing == Standing::Restarting && child.incarnation == run.incarnation;
        let Some(child) = self.children.get(&run.child).filter(due) else { return };
        let reason = child.ended.clone().unwrap_or(ExitReason::Normal);
        if self.counts(now, run.child, reason, out) {
            self.restart(run.child, StartCause::Retry);
        }
    }

    pub(super) fn exited(&mut self, now: Mono, run: Run, reason: ExitReason, out: &mut Vec<Effect>) {
        let Some(child) = self.live(run) else { return };
        if child.standing == Standing::Starting && !child.to_stop() {
            return self.start_failed(now, run, reason, out);
        }
        if child.standing != Standing::Up || child.to_stop() || self.terminating() {
            if child.standing == Standing::Stopping {
                self.report_end(run.child, reason, out);
            }
            return self.down(run.child, out);
        }
        let (id, kind, significant) = (child.spec.id.clone(), child.spec.restart, child.spec.significant);
        self.down(run.child, out);
        let again = match kind {
            RestartType::Permanent => true,
            RestartType::Transient => !reason.is_clean(),
            RestartType::Temporary => false,
        };
        if again || !reason.is_clean() {
            out.push(Effect::Report(Report::ChildTerminated { child: id, reason: reason.clone(), restart: again }));
        }
        if again {
            if self.counts(now, run.child, reason, out) {
                self.restart(run.child, StartCause::Exit);
            }
            return;
        }
        // What a file declares stays to be seen; OTP forgets a temporary child, and an instance of a template.
        let forgotten = self.sequential() && (kind == RestartType::Temporary || self.flags.dynamic);
        self.change(run.child, |child| child.goal = if forgotten { Goal::Remove } else { Goal::Rest });
        self.forget_if_removed(run.child, out);
        if significant {
            self.shut_down_if_due();
        }
    }

    /// A significant child has ended by itself and is not started again.
    fn shut_down_if_due(&mut self) {
        let remains = |child: &Child| child.spec.significant && (child.has_process() || child.standing == Standing::Restarting);
        let due = match self.flags.auto_shutdown {
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self.children.values().any(remains),
        };
        if due {
            self.terminate(ExitReason::Shutdown);
        }
    }

    /// Counts a restart; false if it was one too many, which is then dealt with.
    fn counts(&mut self, now: Mono, key: ChildKey, reason: ExitReason, out: &mut Vec<Effect>) -> bool {
        if self.history.allows(now, self.flags.intensity, self.flags.period) {
            return true;
        }
        let child = self.children[&key].spec.id.clone();
        out.push(Effect::Report(Report::ReachedMaxRestartIntensity { child, reason: reason.clone() }));
        match self.flags.at_limit {
            AtLimit::Terminate => self.terminate(ExitReason::Shutdown),
            AtLimit::Keep => {
                self.change(key, |child| {
                    child.standing = Standing::Down;
                    child.gave_up = Some(reason);
                });
                self.history.clear();
            }
            AtLimit::RetryAfter(delay) => {
                self.history.clear();
                self.restart(key, StartCause::Late(delay));
            }
        }
        false
    }

    /// Begins a restart of a child that is down, and of those whom its end concerns.
    fn restart(&mut self, key: ChildKey, cause: StartCause) {
        let concerned = match self.flags.strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::OneForAll => self.in_order(),
            Strategy::RestForOne => {
                let order = self.children[&key].order;
                self.in_order().into_iter().filter(|other| self.children[other].order > order).collect()
            }
        };
        let alone = self.flags.strategy == Strategy::OneForOne;
        // As where one ends by itself: OTP forgets it, what a file declares stays to be seen, and started again on request.
        let forgotten = self.sequential();
        self.change(key, |child| {
            child.standing = Standing::Down;
            child.ended = None;
            child.goal = Goal::Run;
            child.cause = cause;
            child.free = alone;
        });
        for other in concerned.into_iter().filter(|other| *other != key) {
            self.change(other, |child| {
                let never_started = child.incarnation == 0 && child.goal == Goal::Run;
                if child.spec.restart == RestartType::Temporary {
                    child.goal = match (never_started, forgotten) {
                        // One that still waits for its first start is not restarted, but started.
                        (true, _) => Goal::Run,
                        (false, true) => Goal::Remove,
                        (false, false) => Goal::Rest,
                    };
                } else {
                    child.goal = Goal::Run;
                    child.cycle = child.has_process();
                    child.cause = StartCause::Sibling;
                    child.free = false;
                    if child.standing == Standing::Restarting {
                        child.standing = Standing::Down;
                        child.ended = None;
                    }
                }
            });
        }
    }
}
